"""The front of a study: the complete trials that no other trial dominates."""

import math
from collections.abc import Mapping, Sequence

from adapter_sweep.records import Direction, StudyView, TrialState, TrialView

__all__ = ["candidates", "cost_objective", "front", "non_dominated", "primary_objective"]


def primary_objective(study: StudyView) -> str:
    """The number the answer speaks about first: the first maximised objective, else the first one."""
    for name, direction in study.objectives.items():
        if direction == "maximize":
            return name
    return next(iter(study.objectives), "accuracy")


def cost_objective(study: StudyView) -> str:
    """What a trial pays for its score: the first minimised objective beside it, else the parameters."""
    primary = primary_objective(study)
    for name, direction in study.objectives.items():
        if name != primary and direction == "minimize":
            return name
    return "trainable_params"


def candidates(study: StudyView, objectives: Sequence[str] | None = None) -> list[TrialView]:
    """Complete trials with a finite value for every one of `objectives` (default: the study's), by number."""
    names = list(study.objectives) if objectives is None else list(objectives)
    return [
        trial
        for trial in sorted(study.in_state(TrialState.COMPLETE), key=lambda trial: trial.number)
        if all(math.isfinite(trial.metrics.get(name, math.nan)) for name in names)
    ]


def non_dominated(trials: Sequence[TrialView], objectives: Mapping[str, Direction]) -> list[TrialView]:
    """The trials that no other dominates, in the order given.

    One trial dominates another if it is at least as good on every objective and better on one. Trials with
    equal values do not dominate each other, so they stay or go together.

    Args:
        trials: trials with a finite value for every objective.
        objectives: recorded number -> direction, none or more.
    """
    if not trials or not objectives:
        return []
    import moocore
    import numpy as np

    signs = {name: -1.0 if direction == "maximize" else 1.0 for name, direction in objectives.items()}
    losses = np.array([[sign * trial.metrics[name] for name, sign in signs.items()] for trial in trials], dtype=float)
    kept = moocore.is_nondominated(losses, keep_weakly=True)
    return [trial for trial, keep in zip(trials, kept, strict=True) if keep]


def front(study: StudyView, objectives: Mapping[str, Direction] | None = None) -> list[TrialView]:
    """The study's front, cheapest first.

    Args:
        study: the study; only its complete trials with every objective measured can be on a front.
        objectives: other objectives than the study's, e.g. two of them for a picture.

    Returns:
        The non-dominated trials, by the cost objective (see `cost_objective`) ascending, then by number.
    """
    chosen = dict(study.objectives if objectives is None else objectives)
    cost = cost_objective(study)
    return sorted(
        non_dominated(candidates(study, list(chosen)), chosen),
        key=lambda trial: (trial.metrics.get(cost, math.inf), trial.number),
    )
