"""Training and scoring one adapted model: a plain loop, the same on every run of the same seed."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from adapter_sweep.engine.adapters import AdaptedModel
from adapter_sweep.engine.batches import Encoded, count_batches, epoch_batches, scoring_batches
from adapter_sweep.engine.guards import check_finite_loss
from adapter_sweep.engine.latency import training_step

__all__ = ["Progress", "Scores", "TrainSpec", "Training", "score", "train"]


@dataclass(frozen=True)
class TrainSpec:
    """How to train.

    Attributes:
        lr: peak learning rate of AdamW, after a linear warm-up over `warmup_fraction` of the steps and before a linear
            decay to 0 (Houlsby et al. 2019, section 3.1: warm-up over the first 10 %).
        weight_decay: on weight matrices only, not on biases and layer norms.
        max_tokens: bound of a batch, padding counted.
        max_grad_norm: gradients are clipped to this norm; 0 leaves them as they are.
        seed: of the batches' order.
    """

    epochs: int
    lr: float
    batch_size: int
    max_tokens: int = 4096
    weight_decay: float = 0.0
    warmup_fraction: float = 0.1
    max_grad_norm: float = 1.0
    seed: int = 0


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
    """What training leaves: the loss of every step (1-based) and the wall seconds spent in steps."""

    losses: list[tuple[int, float]] = field(default_factory=list)
    epoch_losses: list[float] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Scores:
    """One pass over a split: the predicted class of each row, in the split's order, and the wall seconds."""

    predictions: tuple[int, ...]
    seconds: float


def train(
    model: AdaptedModel,
    split: Encoded,
    spec: TrainSpec,
    *,
    on_step: Callable[[Progress], None] = lambda _: None,
    on_epoch: Callable[[int, float], None] = lambda _epoch, _loss: None,
) -> Training:
    """Train the model's adapters, layer norms and head in place; the backbone stays bit-identical.

    `on_epoch` is called after each epoch with its number (from 1) and mean loss, and may score the model; its time is
    not counted.

    Raises:
        GuardError: a loss is not finite.
    """
    steps = sum(count_batches(split, **_order(spec, epoch)) for epoch in range(spec.epochs))
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = _optimizer(model, spec)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warmup_then_decay(steps, spec.warmup_fraction))
    result = Training()
    device = parameters[0].device
    for epoch in range(spec.epochs):
        started = time.perf_counter()
        total = 0.0
        for batch in epoch_batches(split, **_order(spec, epoch)):
            with training_step():
                optimizer.zero_grad(set_to_none=True)
                logits = model(*batch.inputs(device))
                loss: Tensor = nn.functional.cross_entropy(logits, batch.labels.to(device))
                loss.backward()  # type: ignore[no-untyped-call]
                if spec.max_grad_norm:
                    nn.utils.clip_grad_norm_(parameters, spec.max_grad_norm)
                optimizer.step()
                schedule.step()
                value = loss.item()
            step = len(result.losses) + 1
            check_finite_loss(value, step)
            total += value * len(batch.rows)
            result.losses.append((step, value))
            on_step(Progress(epoch + 1, spec.epochs, step, steps, value))
        result.seconds += time.perf_counter() - started
        result.epoch_losses.append(total / len(split))
        on_epoch(epoch + 1, result.epoch_losses[-1])
    return result


@torch.inference_mode()
def score(model: AdaptedModel, split: Encoded, *, batch_size: int, max_tokens: int) -> Scores:
    """Predict the class of every row of a split."""
    started = time.perf_counter()
    device = next(model.parameters()).device
    predictions = [-1] * len(split)
    for batch in scoring_batches(split, batch_size=batch_size, max_tokens=max_tokens):
        with training_step():
            logits = model(*batch.inputs(device))
        for row, label in zip(batch.rows, logits.argmax(dim=-1).tolist(), strict=True):
            predictions[row] = label
    return Scores(tuple(predictions), time.perf_counter() - started)


def warmup_then_decay(steps: int, warmup_fraction: float) -> Callable[[int], float]:
    """The learning rate's factor at a step from 0: up to 1 over the warm-up, then linearly down to 0 at `steps`."""
    warmup = math.ceil(steps * warmup_fraction)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return max(0.0, (steps - step) / max(1, steps - warmup))

    return factor


def _order(spec: TrainSpec, epoch: int) -> dict[str, int]:
    return {"batch_size": spec.batch_size, "max_tokens": spec.max_tokens, "seed": spec.seed, "epoch": epoch}


def _optimizer(model: AdaptedModel, spec: TrainSpec) -> torch.optim.AdamW:
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": spec.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=spec.lr)
