"""Scoring a cohort of adapted models on a split."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from adapter_sweep.engine.activations import Stored
from adapter_sweep.engine.adapters import AdaptedModel
from adapter_sweep.engine.batches import Encoded, scoring_batches
from adapter_sweep.engine.cohort import Cohort
from adapter_sweep.engine.latency import training_step

__all__ = ["Scores", "score", "score_cohort"]


@dataclass(frozen=True)
class Scores:
    """One pass over a split: the predicted class of each row, in the split's order, and the wall seconds."""

    predictions: tuple[int, ...]
    seconds: float


def score(
    model: AdaptedModel, split: Encoded, *, batch_size: int, max_tokens: int, below: Stored | None = None
) -> Scores:
    """Predict the class of every row of a split."""
    return score_cohort([model], split, batch_size=batch_size, max_tokens=max_tokens, below=below)[0]


@torch.inference_mode()
def score_cohort(
    models: Sequence[AdaptedModel], split: Encoded, *, batch_size: int, max_tokens: int, below: Stored | None = None
) -> list[Scores]:
    """Predict the class of every row of a split with each model.

    On a CPU the bounds are of a pass, all models counted: a larger one leaves the processor's cache. On a GPU, which
    more rows fill, they are of each model's part of it.

    Returns:
        Each model's scores; `seconds` is its equal share.
    """
    seconds = 0.0
    cohort = Cohort(models)
    count = len(models)
    predictions = torch.full((count, len(split)), -1)
    shared = count if cohort.device.type == "cpu" else 1
    bounds = {"batch_size": max(1, batch_size // shared), "max_tokens": max(1, max_tokens // shared)}
    for batch in scoring_batches(split, **bounds):
        with training_step():
            started = time.perf_counter()  # here: waiting for another process's reading is not scoring
            predictions[:, list(batch.rows)] = cohort.logits(batch, below).argmax(dim=-1).cpu()
            seconds += time.perf_counter() - started
    return [Scores(tuple(own), seconds / count) for own in predictions.tolist()]
