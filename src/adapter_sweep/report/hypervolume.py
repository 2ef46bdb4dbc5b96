"""How much of what could be won a study has won: the hypervolume of its front, trial by trial."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adapter_sweep.records import Direction, StudyView
from adapter_sweep.report.front import candidates

__all__ = ["Box", "Hypervolume", "box", "hypervolume"]

_MARGIN = 0.1  # of the range, between the worst value and the reference: else the outermost trials would not count
_MOST_OBJECTIVES = 4  # beyond, an exact hypervolume takes hours where a front is large


@dataclass(frozen=True)
class Box:
    """Where hypervolume is measured: between the best values seen and the reference point.

    Attributes:
        objectives: recorded number -> direction.
        best: objective -> the best value seen.
        reference: objective -> the reference point's value.
        log: the objectives taken by their logarithm: whole numbers of parameters, where none is zero.
    """

    objectives: Mapping[str, Direction]
    best: Mapping[str, float]
    reference: Mapping[str, float]
    log: tuple[str, ...]


@dataclass(frozen=True)
class Hypervolume:
    """The share of the box that the front dominates, 0 to 1.

    Attributes:
        box: where it was measured.
        over_trials: (trial number, share after that trial), ascending in both; one for each trial that could be on the
            front.
    """

    box: Box
    over_trials: tuple[tuple[int, float], ...]

    @property
    def value(self) -> float:
        """The share at the end."""
        return self.over_trials[-1][1]

    def gains(self) -> list[tuple[int, float]]:
        """The part of `over_trials` where the share grew."""
        before = [0.0, *(share for _, share in self.over_trials)]
        return [step for step, last in zip(self.over_trials, before, strict=False) if step[1] > last]


def box(studies: Sequence[StudyView]) -> Box | None:
    """The box of studies that share their objectives; None where there is nothing to measure.

    Deterministic: for each objective, the reference is the worst value of any complete trial or anchor, moved away
    from the best by a tenth of the range between them, so that the outermost trials count too (H. Ishibuchi et al.,
    How to specify a reference point in hypervolume calculation for fair performance comparison, Evolutionary
    Computation 26(3), 2018). A study that goes on may get a further one: compare values of one box only.
    """
    objectives = dict(studies[0].objectives) if studies else {}
    trials = [trial for study in studies for trial in candidates(study, list(objectives))]
    if not trials or not 1 <= len(objectives) <= _MOST_OBJECTIVES:
        return None
    best, reference, log = {}, {}, []
    for key, way in objectives.items():
        seen = [trial.metrics[key] for trial in trials]
        known = seen + [numbers[key] for study in studies for numbers in study.anchors.values() if key in numbers]
        known = [value for value in known if math.isfinite(value)]
        if key.endswith("_params") and min(known) > 0:
            log.append(key)
            seen, known = [math.log10(value) for value in seen], [math.log10(value) for value in known]
        top, bottom = (max(seen), min(known)) if way == "maximize" else (min(seen), max(known))
        # Trials that are all alike differ by nothing: any distance makes the same of them.
        bottom += _MARGIN * (bottom - top) or (-1.0 if way == "maximize" else 1.0)
        best[key], reference[key] = (10**top, 10**bottom) if key in log else (top, bottom)
    return Box(objectives, best, reference, tuple(log))


def hypervolume(study: StudyView, within: Box | None = None) -> Hypervolume | None:
    """The hypervolume over a study's trials, by number; None where there is nothing to measure.

    Each objective is scaled to 0 at the best value seen and 1 at the reference point, so the whole box is 1 and no
    objective weighs more for its unit.

    Args:
        study: the study.
        within: a box to measure in, e.g. of several studies; default: the study's own.
    """
    import moocore
    import numpy as np

    within = box([study]) if within is None else within
    trials = candidates(study, list(within.objectives)) if within else []
    if within is None or not trials:
        return None
    losses = np.array([[_loss(within, key, t.metrics[key]) for key in within.objectives] for t in trials])
    corner = np.ones(losses.shape[1])
    front = np.empty((0, losses.shape[1]))
    value, course = 0.0, []
    for trial, loss in zip(trials, losses, strict=True):
        if not np.any(np.all(front <= loss, axis=1)):
            front = np.vstack([front[~np.all(front >= loss, axis=1)], loss])
            value = max(value, float(moocore.hypervolume(front, ref=corner)))
        course.append((trial.number, value))
    return Hypervolume(within, tuple(course))


def _loss(within: Box, key: str, value: float) -> float:
    best, reference = within.best[key], within.reference[key]
    if key in within.log:
        value, best, reference = (math.log10(number) for number in (value, best, reference))
    return (value - best) / (reference - best)
