"""Training a cohort of adapted models: a plain loop, on a CPU bit for bit the same on every run of the same seeds.

On a GPU the sums of its kernels may be taken in another order each time.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor

from adapter_sweep.engine.activations import Stored
from adapter_sweep.engine.adapters import AdaptedModel
from adapter_sweep.engine.batches import Batch, count_batches, epoch_batches, moved, split_batch
from adapter_sweep.engine.cohort import Cohort
from adapter_sweep.engine.encoded import Encoded
from adapter_sweep.engine.guards import check_finite_loss
from adapter_sweep.engine.latency import training_step
from adapter_sweep.engine.members import Member
from adapter_sweep.engine.memory import free_memory, is_out_of_memory
from adapter_sweep.engine.problems import LossSpec, Problem
from adapter_sweep.engine.progress import Keeper, Progress, Standing, Training
from adapter_sweep.engine.train_spec import TrainSpec
from adapter_sweep.interrupts import held

__all__ = ["Progress", "Training", "train", "train_cohort"]

_log = logging.getLogger(__name__)


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
    starts: Sequence[Standing | None] | None = None,
    keeper: Keeper | None = None,
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
        starts: where each goes on from, all from one place, which they reached in one cohort; None where they begin.
            On a CPU they end bit for bit as if they had never stopped.
        keeper: keeps where they stand. An interrupt that comes between two steps finds it kept; see `interrupts`.

    Raises:
        ValueError: the specs' batches or passes differ, or the models' backbones or heads, or their starts' places.
    """
    return _Training(models, split, specs, below, starts or [None] * len(models), keeper).run(on_step, on_epoch)


class _Training:
    """One run of `train_cohort`."""

    def __init__(
        self,
        models: Sequence[AdaptedModel],
        split: Encoded,
        specs: Sequence[TrainSpec],
        below: Stored | None,
        starts: Sequence[Standing | None],
        keeper: Keeper | None,
    ) -> None:
        Cohort(models)  # raises where they cannot be one
        orders = {(spec.order, spec.micro_batches, spec.checkpointing) for spec in specs}
        if len(orders) != 1:
            raise ValueError(f"the members of a cohort share their batches and passes; theirs are {sorted(orders)}")
        if len({start and start.place for start in starts}) != 1:
            raise ValueError("the members of a cohort begin at one place")
        order, self._parts, self._checkpointing = orders.pop()
        self._split, self._below, self._keeper = split, below, keeper
        self._order = order._asdict()
        self._epochs = max(spec.epochs for spec in specs)
        batches = [count_batches(split, **self._order, epoch=epoch) for epoch in range(self._epochs)]
        each = zip(models, specs, starts, strict=True)
        self._members = [Member(i, model, spec, batches, start) for i, (model, spec, start) in enumerate(each)]
        self._together = len(self._members)  # how many go through the backbone at once
        self._epoch = self._batches = 0  # epochs that are over, and batches of the next that are done
        self._between = True  # no member is in the middle of a step, or a step ahead of another
        if (start := starts[0]) is not None:
            self._epoch, self._batches = start.epochs, start.batches
            self._together = min(self._together, start.at_once)
            self._parts = start.training.micro_batches

    def run(
        self, on_step: Callable[[int, Progress], None], on_epoch: Callable[[int, dict[int, Training]], None]
    ) -> list[Training]:
        try:
            while self._training():
                self._run_epoch(on_step, on_epoch)
        except KeyboardInterrupt:
            if self._between:
                self._keep()
            raise
        finally:
            for member in self._members:
                member.optimizer.release()
                member.result.micro_batches = self._parts
        return [member.result for member in self._members]

    def _run_epoch(
        self, on_step: Callable[[int, Progress], None], on_epoch: Callable[[int, dict[int, Training]], None]
    ) -> None:
        for batch in epoch_batches(self._split, **self._order, epoch=self._epoch, done=self._batches):
            if not self._training():
                break
            with held():
                steps = self._step(batch)
                self._batches += 1
                self._between = True
                for position, progress in steps:  # here: whoever is told may interrupt, and finds the step done
                    on_step(position, progress)
                if self._keeper is not None and self._keeper.due():
                    self._keep()
        ended = self._training()
        for member in ended:
            member.result.epoch_losses.append(member.epoch_total / len(self._split))
        if ended:
            on_epoch(self._epoch + 1, {member.position: member.result for member in ended})
        with held():
            for member in ended:
                member.end_epoch()
            self._epoch += 1
            self._batches = 0

    def _training(self) -> list[Member]:
        return [m for m in self._members if not m.ended and self._epoch < m.spec.epochs]

    def _keep(self) -> None:
        if self._keeper is None:
            return
        standings = {
            member.position: member.standing(self._epoch, self._batches, self._together, self._parts)
            for member in self._members
            if member.result.losses and member.result.error is None
        }
        if standings:
            self._keeper.keep(standings)

    def _step(self, batch: Batch) -> list[tuple[int, Progress]]:
        """One step of every member still in training; where each that goes on stands now, by position."""
        steps: list[tuple[int, Progress]] = []
        waiting = members = self._training()
        together, failure = self._together, None
        parts = self._parts
        while waiting:
            part = waiting[:together]
            try:
                with training_step():
                    self._between = False
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
                if (progress := self._record(member, batch, loss, seconds)) is not None:
                    steps.append((member.position, progress))
        if failure is not None and self._training() == members:
            _log.warning("these models cannot share a pass, and each goes alone: %s", failure)
            self._together = 1
            for member in members:
                member.result.together = 1
        return steps

    def _update(self, members: Sequence[Member], batch: Batch) -> list[float]:
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

    def _record(self, member: Member, batch: Batch, loss: float, seconds: float) -> Progress | None:
        result = member.result
        if result.error is not None:
            return None
        step = len(result.losses) + 1
        result.seconds += seconds
        try:
            check_finite_loss(loss, step)
        except Exception as error:
            result.error = error
            return None
        member.epoch_total += loss * len(batch.rows)
        result.losses.append((step, loss))
        return Progress(self._epoch + 1, member.spec.epochs, step, member.steps, loss)


def _shares(problem: Problem, targets: Sequence[Tensor], specs: Sequence[LossSpec]) -> Sequence[Tensor | None]:
    """By how much each part of a batch counts in each member's loss, [K]; None where the batch is whole."""
    if len(targets) == 1:
        return [None]
    weights = torch.stack([torch.stack([problem.weight(part, spec) for spec in specs]) for part in targets])
    return list((weights / weights.sum(dim=0).clamp(min=torch.finfo(weights.dtype).tiny)).unbind())
