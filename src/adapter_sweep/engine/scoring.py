"""Scoring a cohort of adapted models on a split."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from adapter_sweep.engine.activations import Stored
from adapter_sweep.engine.adapters import AdaptedModel
from adapter_sweep.engine.batches import scoring_batches
from adapter_sweep.engine.cohort import Cohort
from adapter_sweep.engine.encoded import Encoded
from adapter_sweep.engine.latency import training_step

__all__ = ["Scores", "score", "score_cohort"]


@dataclass(frozen=True)
class Scores:
    """One pass over a split: what is predicted for each example, in the split's order, and the wall seconds."""

    predictions: tuple[Any, ...]
    seconds: float


def score(
    model: AdaptedModel, split: Encoded, *, batch_size: int, max_tokens: int, below: Stored | None = None
) -> Scores:
    """Predict every example of a split."""
    return score_cohort([model], split, batch_size=batch_size, max_tokens=max_tokens, below=below)[0]


@torch.inference_mode()
def score_cohort(
    models: Sequence[AdaptedModel], split: Encoded, *, batch_size: int, max_tokens: int, below: Stored | None = None
) -> list[Scores]:
    """Predict every example of a split with each model.

    On a CPU the bounds are of a pass, all models counted: a larger one leaves the processor's cache. On a GPU, which
    more rows fill, they are of each model's part of it.

    Returns:
        Each model's scores; `seconds` is its equal share.
    """
    seconds = 0.0
    cohort = Cohort(models)
    count = len(models)
    found: list[list[Any]] = [[None] * len(split) for _ in models]
    shared = count if cohort.device.type == "cpu" else 1
    bounds = {"batch_size": max(1, batch_size // shared), "max_tokens": max(1, max_tokens // shared)}
    for batch in scoring_batches(split, **bounds):
        with training_step():
            started = time.perf_counter()  # here: waiting for another process's reading is not scoring
            logits = cohort.logits(batch, below).cpu()
            for own, part in zip(found, logits, strict=True):
                for row, each in zip(batch.rows, split.problem.predictions(part, batch.rows), strict=True):
                    own[row] = each
            seconds += time.perf_counter() - started
    return [Scores(split.predictions(own), seconds / count) for own in found]
