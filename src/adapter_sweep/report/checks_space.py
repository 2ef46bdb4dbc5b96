"""Whether the search space was wide enough for its optimum, and the trials enough for the space."""

import math
from collections.abc import Mapping

from adapter_sweep.config.space import Choices, grid_points, parse_space
from adapter_sweep.errors import UserInputError
from adapter_sweep.records import StudyView, TrialState, TrialView
from adapter_sweep.report.answer import answer
from adapter_sweep.report.front import front
from adapter_sweep.report.scales import as_number, dimension
from adapter_sweep.report.scores import SEEDS
from adapter_sweep.report.wording import param, short_keys

__all__ = ["edge_remarks", "size_remark"]

_OUTER = 0.05  # of a range, at either end
_FEW_CHOICES = 3  # below, every choice is at an end
# D. Jones, M. Schonlau, W. Welch, Efficient global optimization of expensive black-box functions, 1998; J. Loeppky,
# J. Sacks, W. Welch, Choosing the sample size of a computer experiment, 2009.
_TRIALS_PER_KEY = 10
# Trials that Optuna's sampler draws at random before it learns from them, by their names in `study.sampler`.
_BLIND = {"tpe": 10, "gp": 10, "nsga2": 50}


def edge_remarks(study: StudyView) -> tuple[bool, list[str]]:
    """Whether any best trial has a parameter with two ends, and a sentence for each end that is suspect.

    An end is suspect where the best trial, or more than half of a front of three or more, lies within the outer 5 % of
    the range on its own scale, or at its last value.
    """
    members, best = front(study), answer(study).best
    names, known, remarks = short_keys(study), False, []
    for key in study.search_space:
        ends = None if key in SEEDS else _ends(study, key)
        if ends is None or best is None:
            continue
        low, high, outer, log = ends
        placed = [(trial, where) for trial in members if (where := _where(trial, key, low, high, log)) is not None]
        known |= bool(placed)
        for end, side in ((low, "low"), (high, "high")):
            at = [trial for trial, where in placed if (where <= outer if side == "low" else where >= 1 - outer)]
            words = f"the {side} end of {names[key]} ({param(end if end % 1 else int(end))})"
            if best in at:
                remarks.append(f"The best trial, {best.number}, lies at {words}.")
            elif len(placed) > 2 and len(at) > len(placed) / 2:
                remarks.append(f"{len(at)} of the {len(placed)} trials on the front lie at {words}.")
    return known, remarks


def size_remark(study: StudyView) -> tuple[bool | None, str]:
    """Whether there are trials enough for the search space, by the sampler's own ways; None where that is not known."""
    complete = len(study.in_state(TrialState.COMPLETE))
    searched = len([key for key in study.search_space if key not in SEEDS])
    settings = study.config.get("study")
    sampler = str(settings.get("sampler")) if isinstance(settings, Mapping) else ""
    if not searched:
        return None, "Nothing was searched."
    if sampler == "grid":
        return _grid_remark(study, complete)
    have = f"{complete:,} complete {'trial' if complete == 1 else 'trials'}"
    keys = f"{searched} searched {'parameter' if searched == 1 else 'parameters'}"
    blind = _BLIND.get(sampler, 0)
    if complete <= blind:
        return (
            False,
            f"{have}: the {sampler} sampler draws its first {blind} at random, so nothing was learnt from any.",
        )
    if complete < _TRIALS_PER_KEY * searched:
        wanted = _TRIALS_PER_KEY * searched
        return False, f"{have} for {keys}: {wanted} or more ({_TRIALS_PER_KEY} for each) would cover the space better."
    return True, f"{have} for {keys}, {_TRIALS_PER_KEY} or more for each."


def _grid_remark(study: StudyView, complete: int) -> tuple[bool | None, str]:
    try:
        points = len(grid_points(parse_space(study.search_space)))
    except UserInputError:
        return None, "The size of the grid is not known."
    done = f"{complete:,} of the grid's {points:,} points are complete."
    return complete >= points, done


def _ends(study: StudyView, key: str) -> tuple[float, float, float, bool] | None:
    """A parameter's lowest and highest value, the share of the range that each end takes, and whether its scale is
    logarithmic; None where it has no two ends."""
    known = dimension(study, key)
    if known is None:
        return None
    if isinstance(known, Choices):
        values = [as_number(value) for value in known.values]
        kept = sorted(value for value in values if value is not None)
        return (kept[0], kept[-1], 0.0, False) if len(kept) == len(values) >= _FEW_CHOICES else None
    return float(known.low), float(known.high), _OUTER, known.log


def _where(trial: TrialView, key: str, low: float, high: float, log: bool) -> float | None:
    """A trial's place in a range, 0 to 1 on its own scale."""
    value = as_number(trial.params.get(key))
    if value is None or high <= low:
        return None
    if log and min(value, low) > 0:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return (value - low) / (high - low)
