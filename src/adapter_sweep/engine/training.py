"""Training a cohort of adapted models: a plain loop, on a CPU bit for bit the same on every run of the same seeds.

On a GPU the sums of its kernels may be taken in another order each time.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch
from torch import Tensor

from adapter_sweep.engine.activations import Stored
from adapter_sweep.engine.adapters import AdaptedModel
from adapter_sweep.engine.batches import Batch, count_batches, epoch_batches, moved, split_batch
from adapter_sweep.engine.cohort import Cohort
from adapter_sweep.engine.encoded import Encoded
from adapter_sweep.engine.guards import check_finite_loss
from adapter_sweep.engine.latency import training_step
from adapter_sweep.engine.memory import free_memory, is_out_of_memory
from adapter_sweep.engine.optimizer import FlatAdamW
from adapter_sweep.engine.problems import LossSpec, Problem
from adapter_sweep.engine.train_spec import TrainSpec, warmup_then_decay

__all__ = ["Progress", "Training", "train", "train_cohort"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """Where training stands after a step, for whoever watches."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float


@dataclass
class Training:
    """What training leaves of one model.

    Attributes:
        losses: of every step, 1-based.
        seconds: wall time spent in steps; in a cohort, its equal share of each.
        error: what ended it early; the other members of its cohort went on. Whoever sets it ends it.
        stopped: whether it ended before its last epoch, and well. Whoever sets it ends it.
        micro_batches: how many passes an update's batch was computed in at the end.
        together: how many models its passes held, itself included: the most since passes were last made smaller for
            want of memory or for a failure. 0 before any.
    """

    losses: list[tuple[int, float]] = field(default_factory=list)
    epoch_losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    error: Exception | None = None
    stopped: bool = False
    micro_batches: int = 1
    together: int = 0


def train(
    model: AdaptedModel,
    split: Encoded,
    spec: TrainSpec,
    *,
    below: Stored | None = None,
    on_step: Callable[[Progress], None] = lambda _: None,
    on_epoch: Callable[[int, float], None] = lambda _epoch, _loss: None,
) -> Training:
    """Train one model: a cohort of one.

    `on_epoch` is called after each epoch with its number (from 1) and mean loss, and may score the model; its time is
    not counted.

    Raises:
        GuardError: a loss is not finite.
    """

    def ended(epoch: int, trained: dict[int, Training]) -> None:
        on_epoch(epoch, trained[0].epoch_losses[-1])

    result = train_cohort(
        [model], split, [spec], below=below, on_step=lambda _, progress: on_step(progress), on_epoch=ended
    )[0]
    if result.error is not None:
        raise result.error
    return result


def train_cohort(
    models: Sequence[AdaptedModel],
    split: Encoded,
    specs: Sequence[TrainSpec],
    *,
    below: Stored | None = None,
    on_step: Callable[[int, Progress], None] = lambda _member, _progress: None,
    on_epoch: Callable[[int, dict[int, Training]], None] = lambda _epoch, _trained: None,
) -> list[Training]:
    """Train models together: each one's adapters, layer norms and head in place; the backbone stays bit-identical.

    Guarantees: every model ends as it would alone, up to the rounding of a larger batch. A model whose training breaks
    leaves the cohort with its error, and so does one whose epochs are done. Where memory runs out, the pass is done
    again with half as many models at a time, and for a model that does not fit alone in twice as many micro-batches;
    one that does not even fit with a single row leaves with that error. Where a pass fails of anything else, each model
    goes alone, and the one it fails of leaves. Every model is updated once a batch.

    Args:
        models: on one backbone.
        split: what they are trained on.
        specs: each one's; they may differ in all but what decides the batches and their passes.
        below: what lies below all models' trained layers, computed before.
        on_step: told of each model's each step.
        on_epoch: called after each epoch with its number (from 1) and the models still in training, by position; may
            score them. Its time is not counted.

    Raises:
        ValueError: the specs' batches or passes differ, or the models' backbones or heads.
    """
    return _Training(models, split, specs, below).run(on_step, on_epoch)


class _Member:
    """A model in training."""

    def __init__(self, position: int, model: AdaptedModel, spec: TrainSpec, batches: Sequence[int]) -> None:
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
        self.result = Training()
        self.epoch_total = 0.0

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


class _Training:
    """One run of `train_cohort`."""

    def __init__(
        self, models: Sequence[AdaptedModel], split: Encoded, specs: Sequence[TrainSpec], below: Stored | None
    ) -> None:
        Cohort(models)  # raises where they cannot be one
        orders = {(spec.order, spec.micro_batches, spec.checkpointing) for spec in specs}
        if len(orders) != 1:
            raise ValueError(f"the members of a cohort share their batches and passes; theirs are {sorted(orders)}")
        order, self._parts, self._checkpointing = orders.pop()
        self._split, self._below = split, below
        self._order = order._asdict()
        self._epochs = max(spec.epochs for spec in specs)
        batches = [count_batches(split, **self._order, epoch=epoch) for epoch in range(self._epochs)]
        pairs = zip(models, specs, strict=True)
        self._members = [_Member(i, model, spec, batches) for i, (model, spec) in enumerate(pairs)]
        self._together = len(self._members)  # how many go through the backbone at once

    def run(
        self, on_step: Callable[[int, Progress], None], on_epoch: Callable[[int, dict[int, Training]], None]
    ) -> list[Training]:
        try:
            for epoch in range(self._epochs):
                for batch in epoch_batches(self._split, **self._order, epoch=epoch):
                    if not self._training(epoch):
                        break
                    self._step(epoch, batch, on_step)
                ended = self._training(epoch)
                for member in ended:
                    member.result.epoch_losses.append(member.epoch_total / len(self._split))
                    member.epoch_total = 0.0
                if not ended:
                    break
                on_epoch(epoch + 1, {member.position: member.result for member in ended})
        finally:
            for member in self._members:
                member.optimizer.release()
                member.result.micro_batches = self._parts
        return [member.result for member in self._members]

    def _training(self, epoch: int) -> list[_Member]:
        return [m for m in self._members if not m.ended and epoch < m.spec.epochs]

    def _step(self, epoch: int, batch: Batch, on_step: Callable[[int, Progress], None]) -> None:
        """One step of every member still in training."""
        waiting = members = self._training(epoch)
        together, failure = self._together, None
        parts = self._parts
        while waiting:
            part = waiting[:together]
            try:
                with training_step():
                    started = time.perf_counter()  # here: waiting for another process's reading is not training
                    losses = self._update(part, batch)
                    seconds = (time.perf_counter() - started) / len(part)
            except Exception as error:
                free_memory(error)
                if len(part) == 1 and is_out_of_memory(error) and self._parts < len(batch.rows):
                    self._parts = min(2 * self._parts, len(batch.rows))
                    _log.warning("memory ran out: each batch is computed in %d micro-batches from here", self._parts)
                elif len(part) == 1:
                    part[0].result.error = error
                    waiting = waiting[1:]
                    self._parts = parts  # what did not help it is no reason to slow down the others
                elif is_out_of_memory(error):
                    self._together = together = len(part) // 2
                    for member in members:  # those that wait are counted anew
                        member.result.together = 0 if member in waiting else min(member.result.together, together)
                else:  # alone, each shows whether it is the one
                    together, failure = 1, error
                continue
            waiting = waiting[len(part) :]
            for member, loss in zip(part, losses, strict=True):
                member.result.together = max(member.result.together, len(part))
                self._record(member, epoch, batch, loss, seconds, on_step)
        if failure is not None and self._training(epoch) == members:
            _log.warning("these models cannot share a pass, and each goes alone: %s", failure)
            self._together = 1
            for member in members:
                member.result.together = 1

    def _update(self, members: Sequence[_Member], batch: Batch) -> list[float]:
        """One update of each; their losses. Until all passes are over nothing is changed but gradients."""
        for member in members:
            member.optimizer.zero_grad()
        cohort = Cohort([member.model for member in members])
        problem, specs = self._split.problem, [member.spec.loss for member in members]
        parts = split_batch(self._split, batch, self._parts)
        # First: on a GPU the copies would wait for the whole pass.
        targets = [moved(part.targets, cohort.device) for part in parts]
        shares = _shares(problem, targets, specs)
        losses = []
        for part, wanted, share in zip(parts, targets, shares, strict=True):
            with ExitStack() as held:
                logits = cohort.logits(part, self._below, held=held if self._checkpointing else None)
                own = torch.stack([problem.loss(each, wanted, spec) for each, spec in zip(logits, specs, strict=True)])
                # The sum's gradient of each member's parameters is that of its own loss: no parameter is in two.
                (own if share is None else own * share).sum().backward()  # type: ignore[no-untyped-call]
            losses.append(own.detach() if share is None else own.detach() * share)
        for member in members:
            member.update()
        values: list[float] = torch.stack(losses).sum(dim=0).tolist()
        return values

    def _record(
        self,
        member: _Member,
        epoch: int,
        batch: Batch,
        loss: float,
        seconds: float,
        on_step: Callable[[int, Progress], None],
    ) -> None:
        result = member.result
        if result.error is not None:
            return
        step = len(result.losses) + 1
        result.seconds += seconds
        try:
            check_finite_loss(loss, step)
        except Exception as error:
            result.error = error
            return
        member.epoch_total += loss * len(batch.rows)
        result.losses.append((step, loss))
        on_step(member.position, Progress(epoch + 1, member.spec.epochs, step, member.steps, loss))


def _shares(problem: Problem, targets: Sequence[Tensor], specs: Sequence[LossSpec]) -> Sequence[Tensor | None]:
    """By how much each part of a batch counts in each member's loss, [K]; None where the batch is whole."""
    if len(targets) == 1:
        return [None]
    weights = torch.stack([torch.stack([problem.weight(part, spec) for spec in specs]) for part in targets])
    return list((weights / weights.sum(dim=0).clamp(min=torch.finfo(weights.dtype).tiny)).unbind())
