"""The label of each finalist, from the joint draws of the scores and the exact costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adapter_sweep.records import Direction
from adapter_sweep.report.evidence.findings import Label
from adapter_sweep.report.evidence.labels import compare_costs, front_probabilities, surely_higher
from adapter_sweep.report.noise import noise_floor

__all__ = ["Standing", "standings"]

Floats = npt.NDArray[np.float64]

_CLAIMED = 0.95  # the least probability at which a finalist is said to be on the front


@dataclass(frozen=True)
class Standing:
    """Where one finalist stands; see the fields of `Finalist`, but `dominated_by` holds positions."""

    label: Label | None
    probability: float | None
    dominated_by: tuple[int, ...] = ()


def standings(
    scores: Floats,
    draws: Floats | None,
    costs: Sequence[Mapping[str, float]],
    objectives: Mapping[str, Direction],
    score_names: Sequence[str],
) -> list[Standing]:
    """Where each finalist stands, by the definition of `Label`.

    Args:
        scores: [finalists], expected scores, higher is better.
        draws: [draws, finalists], joint draws of them; None where nothing is known of seeds, so that nobody can be
            said to dominate or not to, but by costs alone.
        costs: per finalist, recorded number -> value.
        objectives: the study's.
        score_names: the objectives that are the score; if the study has none of them, costs alone decide.
    """
    ways = {key: way for key, way in objectives.items() if key not in score_names}
    floors = [{key: noise_floor(each, key) for key in ways} for each in costs]
    no_worse, better = compare_costs(costs, floors, ways)
    known = [all(key in each for key in ways) for each in costs]
    if len(ways) == len(objectives):
        return [_by_costs(better[:, one]) if known[one] else Standing(None, None) for one in range(len(costs))]
    if draws is None:
        probabilities, beaten = None, np.zeros_like(no_worse)
    else:
        probabilities = front_probabilities(draws, no_worse)
        beaten = surely_higher(scores, draws, no_worse)
    found = []
    for one in range(len(costs)):
        probability = None if probabilities is None else float(probabilities[one])
        if not no_worse[:, one].any():
            probability = 1.0
        by = sorted(np.flatnonzero(beaten[:, one]).tolist(), key=lambda other: -scores[other])
        found.append(Standing(_label(probability, by), probability, tuple(by)) if known[one] else Standing(None, None))
    return found


def _by_costs(better: npt.NDArray[np.bool_]) -> Standing:
    if better.any():
        return Standing(Label.DOMINATED, 0.0, tuple(np.flatnonzero(better).tolist()))
    return Standing(Label.ON_FRONT, 1.0)


def _label(probability: float | None, by: Sequence[int]) -> Label:
    if by:
        return Label.DOMINATED
    return Label.ON_FRONT if probability is not None and probability >= _CLAIMED else Label.INDISTINGUISHABLE
