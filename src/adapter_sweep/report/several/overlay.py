"""Fronts of several studies over one another."""

from collections.abc import Sequence
from dataclasses import dataclass

from adapter_sweep.records import StudyView, TrialView
from adapter_sweep.report.front import candidates, cost_objective, front, non_dominated, primary_objective
from adapter_sweep.report.hypervolume import Box, box, hypervolume
from adapter_sweep.report.scores import Score, validation_score

__all__ = ["Overlay", "Standing", "overlay"]


@dataclass(frozen=True)
class Standing:
    """One study among the others.

    Attributes:
        study: the study.
        label: its short name.
        front: its own front, cheapest first.
        hypervolume: the share of the common box that its front dominates, 0 to 1; None where it has no front.
        combined: those of its front that no trial of any study dominates, by number; None across different data.
        best: its best trial, the cheapest of equals; None without a front.
        score: the validation score of `best`.
    """

    study: StudyView
    label: str
    front: tuple[TrialView, ...]
    hypervolume: float | None
    combined: frozenset[int] | None
    best: TrialView | None
    score: Score | None


@dataclass(frozen=True)
class Overlay:
    """All of them, in the order given, and the box in which their hypervolumes were measured."""

    standings: tuple[Standing, ...]
    box: Box | None


def overlay(studies: Sequence[StudyView], labels: Sequence[str], *, same_data: bool) -> Overlay:
    """Lay the fronts of studies of the same objectives over one another."""
    common = box(studies)
    pool = [trial for study in studies for trial in candidates(study)]
    kept = {id(trial) for trial in non_dominated(pool, studies[0].objectives)}
    standings = []
    for study, label in zip(studies, labels, strict=True):
        members = front(study)
        measured = hypervolume(study, common) if members else None
        best = _best(study, members)
        standings.append(
            Standing(
                study,
                label,
                tuple(members),
                measured.value if measured else None,
                frozenset(trial.number for trial in members if id(trial) in kept) if same_data else None,
                best,
                validation_score(study, best) if best else None,
            )
        )
    return Overlay(tuple(standings), common)


def _best(study: StudyView, members: Sequence[TrialView]) -> TrialView | None:
    key, cost = primary_objective(study), cost_objective(study)
    sign = 1 if study.objectives.get(key) == "maximize" else -1
    return min(members, key=lambda t: (-sign * t.metrics[key], t.metrics.get(cost, 0.0), t.number), default=None)
