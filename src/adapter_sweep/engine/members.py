"""One model among those that train together."""

from collections.abc import Sequence
from dataclasses import replace

from adapter_sweep.engine.adapters import AdaptedModel
from adapter_sweep.engine.optimizer import FlatAdamW
from adapter_sweep.engine.progress import Standing, Training
from adapter_sweep.engine.stopping import weights_of
from adapter_sweep.engine.train_spec import TrainSpec, warmup_then_decay

__all__ = ["Member", "fits"]


class Member:
    """A model in training.

    Args:
        position: among the models.
        model: the model.
        spec: how it is trained.
        batches: of each epoch.
        start: where it goes on from; None for a model that begins.
    """

    def __init__(
        self, position: int, model: AdaptedModel, spec: TrainSpec, batches: Sequence[int], start: Standing | None
    ) -> None:
        self.position = position
        self.model = model
        self.spec = spec
        self.steps = sum(batches[: spec.epochs])
        self.optimizer = FlatAdamW(
            model,
            lr=spec.lr,
            weight_decay=spec.weight_decay,
            max_grad_norm=spec.max_grad_norm,
            factor=warmup_then_decay(self.steps, spec.warmup_fraction),
        )
        self.result = Training() if start is None else _copy(start.training)
        self.epoch_total = 0.0 if start is None else start.epoch_total
        self.settled = len(self.result.epoch_losses)
        if start is not None:
            model.load_state_dict(dict(start.weights))
            self.optimizer.recall(start.moments)

    @property
    def ended(self) -> bool:
        """Whether nothing more is to be trained."""
        return self.result.stopped or self.result.error is not None

    def update(self) -> None:
        """One step of the optimizer. What it fails of is the member's own end: it may be half done."""
        try:
            self.optimizer.step()
        except Exception as error:
            self.result.error = error

    def end_epoch(self) -> None:
        """The epoch is over, and scored where it is to be."""
        self.settled = len(self.result.epoch_losses)
        self.epoch_total = 0.0

    def standing(self, epoch: int, batches: int, at_once: int, micro_batches: int) -> Standing:
        """Where it stands, in copies, when its cohort has done so many batches of an epoch, from 0.

        While an epoch is scored it stands before that.
        """
        training = _copy(self.result)
        del training.epoch_losses[self.settled :]
        settled = self.settled == len(self.result.epoch_losses)
        training.stopped = self.result.stopped and settled
        training.micro_batches = micro_batches
        over = settled and (training.stopped or self.settled >= self.spec.epochs)
        return Standing(
            epochs=self.settled if over else epoch,
            batches=0 if over else batches,
            epoch_total=self.epoch_total,
            at_once=at_once,
            training=training,
            weights={name: tensor.cpu() for name, tensor in weights_of(self.model).items()},
            moments=self.optimizer.moments(),
        )


def fits(standing: Standing, model: AdaptedModel) -> bool:
    """Whether a standing is one of such a model."""
    own = {name: (tensor.shape, tensor.dtype) for name, tensor in model.state_dict().items()}
    sizes = {name: tensor.numel() for name, tensor in standing.moments.items()}
    return own == {n: (t.shape, t.dtype) for n, t in standing.weights.items()} and sizes == FlatAdamW.sizes(model)


def _copy(training: Training) -> Training:
    return replace(training, losses=[*training.losses], epoch_losses=[*training.epoch_losses])
