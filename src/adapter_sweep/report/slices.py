"""The score over each swept number: what the slices show, before anything is drawn."""

from dataclasses import dataclass

from adapter_sweep.records import StudyView, TrialState
from adapter_sweep.report.front import primary_objective
from adapter_sweep.report.scales import as_number, is_log, numeric_keys
from adapter_sweep.report.wording import metric_name, number, param, short_keys

__all__ = ["Slice", "slices"]


@dataclass(frozen=True)
class Slice:
    """One swept number.

    Attributes:
        key: its Hydra key.
        name: the key in short.
        log: whether its axis is logarithmic.
        words: the slice for those who do not see it.
    """

    key: str
    name: str
    log: bool
    words: str


def slices(study: StudyView) -> tuple[Slice, ...]:
    """A slice for every swept parameter that is a number and was varied, in the search space's order."""
    names, primary = short_keys(study), primary_objective(study)
    found = []
    for key in numeric_keys(study):
        points = [
            (value, trial.metrics[primary])
            for trial in study.in_state(TrialState.COMPLETE)
            if primary in trial.metrics and (value := as_number(trial.params.get(key))) is not None
        ]
        if not points:
            continue
        pick = max if study.objectives.get(primary) == "maximize" else min
        at, score = pick(points, key=lambda point: point[1])
        low, high = min(points)[0], max(points)[0]
        words = (
            f"Scatter chart of {len(points):,} complete trials: {metric_name(primary, study)} over {names[key]}, "
            f"from {param(low)} to {param(high)}; the best, {number(primary, score)}, is at {param(at)}. "
            "The table of all trials holds the same numbers."
        )
        found.append(Slice(key, names[key], is_log(study, key), words))
    return tuple(found)
