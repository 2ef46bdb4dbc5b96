"""Whether the search space was wide enough for its optimum, and the trials enough for the space."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from adapter_sweep.config.naming import METHOD, applying, key_of, owner_of
from adapter_sweep.config.space import Choices, grid_points, parse_space
from adapter_sweep.errors import UserInputError
from adapter_sweep.records import StudyView, TrialState, TrialView
from adapter_sweep.report.answer import answer
from adapter_sweep.report.front import front
from adapter_sweep.report.scales import as_number, dimension
from adapter_sweep.report.scores import SEEDS
from adapter_sweep.report.wording import one_line, param, short_keys

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
    for name in study.search_space:
        key, owner = key_of(name), owner_of(name)
        ends = None if key in SEEDS else _ends(study, name)
        if ends is None or best is None:
            continue
        low, high, outer, log = ends
        own = [trial for trial in members if applying(study.search_space, trial.params.get(METHOD)).get(key) == name]
        placed = [(trial, where) for trial in own if (where := _where(trial, key, low, high, log)) is not None]
        known |= bool(placed)
        for end, side in ((low, "low"), (high, "high")):
            at = [trial for trial, where in placed if (where <= outer if side == "low" else where >= 1 - outer)]
            whose = f"{one_line(owner, 60)}'s {names[key]}" if owner else names[key]
            words = f"the {side} end of {whose} ({param(end if end % 1 else int(end))})"
            if best in at:
                remarks.append(f"The best trial, {best.number}, lies at {words}.")
            elif len(placed) > 2 and len(at) > len(placed) / 2:
                which = f"{one_line(owner, 60)} trials" if owner else "trials"
                remarks.append(f"{len(at)} of the {len(placed)} {which} on the front lie at {words}.")
    return known, remarks


def size_remark(study: StudyView) -> tuple[bool | None, str]:
    """Whether there are trials enough for the search space, by the sampler's own ways; None where that is not known."""
    complete = len(study.in_state(TrialState.COMPLETE))
    searched = len(_searched(study, study.search_space))
    settings = study.config.get("study")
    sampler = str(settings.get("sampler")) if isinstance(settings, Mapping) else ""
    if not searched and METHOD not in study.search_space:
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
    if METHOD in study.search_space:
        return _methods_remark(study, have)
    if complete < _TRIALS_PER_KEY * searched:
        wanted = _TRIALS_PER_KEY * searched
        return False, f"{have} for {keys}: {wanted} or more ({_TRIALS_PER_KEY} for each) would cover the space better."
    return True, f"{have} for {keys}, {_TRIALS_PER_KEY} or more for each."


def _methods_remark(study: StudyView, have: str) -> tuple[bool | None, str]:
    """Whether each method has trials enough for what is searched of it alone."""
    methods = dimension(study, METHOD)
    if not isinstance(methods, Choices):
        return None, f"{have}; which methods were searched is not known."
    counts = Counter(trial.params.get(METHOD) for trial in study.in_state(TrialState.COMPLETE))
    few = []
    for method in methods.values:
        keys = len(_searched(study, applying(study.search_space, method).values()))
        # A method of which nothing is searched is one configuration, and one trial tells what it is.
        if counts[method] < max(1, _TRIALS_PER_KEY * keys):
            few.append(f"{one_line(method, 40)} ({counts[method]} for {keys})")
    start = f"{have} of {len(methods.values)} methods"
    if few:
        wanted = f"fewer than {_TRIALS_PER_KEY} for each parameter searched of a method would leave its space uncovered"
        return False, f"{start}; {wanted}, as of {', '.join(few)}."
    return True, f"{start}, {_TRIALS_PER_KEY} or more for each parameter searched of each."


def _searched(study: StudyView, names: Iterable[str]) -> list[str]:
    """Of some ranges those in which something is chosen, seeds and the method left out."""
    known = {name: dimension(study, name) for name in names if key_of(name) not in SEEDS and name != METHOD}
    return [name for name, own in known.items() if not (isinstance(own, Choices) and len(own.values) == 1)]


def _grid_remark(study: StudyView, complete: int) -> tuple[bool | None, str]:
    try:
        points = len(grid_points(parse_space(study.search_space)))
    except UserInputError:
        return None, "The size of the grid is not known."
    done = f"{complete:,} of the grid's {points:,} points are complete."
    return complete >= points, done


def _ends(study: StudyView, name: str) -> tuple[float, float, float, bool] | None:
    """A range's lowest and highest value, the share of the range that each end takes, and whether its scale is
    logarithmic; None where it has no two ends."""
    known = dimension(study, name)
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
