"""What each hyperparameter is worth to each task: how much a wrong value costs where the rest is chosen well."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from adapter_sweep.records import ParamValue
from adapter_sweep.report.front import primary_objective
from adapter_sweep.report.scales import as_number
from adapter_sweep.report.scores import unpaired_error
from adapter_sweep.report.several.tasks import Regret, Setting, TaskGroup
from adapter_sweep.report.wording import param

__all__ = ["Worth", "worths"]

_VALUES = 8  # more distinct numbers than this are put together in ranges
_RANGES = 3


@dataclass(frozen=True)
class Worth:
    """What one hyperparameter is worth.

    Attributes:
        key: its Hydra key.
        values: its values, or ranges of them, as they are read.
        best: the best value of each task, as its place in `values`.
        worst: the worst one, likewise.
        loss: what each task loses by the worst value, with the best configuration that each value allows.
    """

    key: str
    values: tuple[str, ...]
    best: tuple[int, ...]
    worst: tuple[int, ...]
    loss: tuple[Regret, ...]


def worths(group: TaskGroup) -> list[Worth]:
    """What each hyperparameter with two values or more is worth, over the shared configurations, on validation.

    For each value, the best score that any configuration with it reaches: what the value costs where the others are
    free. Many numbers are put together in three ranges of as many configurations each, so that none has more tries
    than another; words with more than eight values are left out. So is a hyperparameter one of whose values was tried
    in one configuration only: what that loses may be another hyperparameter's doing.
    """
    sign = 1 if group.studies[0].objectives.get(primary_objective(group.studies[0]), "maximize") == "maximize" else -1
    found = []
    for key in dict.fromkeys(key for setting in group.settings for key in setting.params):
        values = _values(key, [setting for setting in group.settings if key in setting.params])
        if len(values) > 1 and all(len(tried) > 1 for _, tried in values):
            found.append(_worth(group, key, values, sign))
    return found


def _worth(group: TaskGroup, key: str, values: Sequence[tuple[str, list[Setting]]], sign: int) -> Worth:
    best, worst, losses = [], [], []
    for task in range(len(group.studies)):
        reached = [max((s.scores[task] for s in settings), key=lambda s: sign * s.value) for _, settings in values]
        top = max(range(len(reached)), key=lambda i: sign * reached[i].value)
        bottom = min(range(len(reached)), key=lambda i: sign * reached[i].value)
        loss = sign * (reached[top].value - reached[bottom].value)
        best.append(top)
        worst.append(bottom)
        losses.append(Regret(loss, unpaired_error(reached[top], reached[bottom]), False, "validation"))
    return Worth(key, tuple(name for name, _ in values), tuple(best), tuple(worst), tuple(losses))


def _values(key: str, settings: Sequence[Setting]) -> list[tuple[str, list[Setting]]]:
    """The settings by value, or by range of values."""
    distinct: dict[ParamValue, list[Setting]] = {}
    for setting in settings:
        distinct.setdefault(setting.params[key], []).append(setting)
    numbers = {value: as_number(value) for value in distinct}
    if len(distinct) <= _VALUES:
        order = sorted(distinct, key=lambda v: (_or_infinite(numbers[v]), param(v)))
        return [(param(value), distinct[value]) for value in order]
    if None in numbers.values():
        return []
    ordered = sorted(settings, key=lambda s: _or_infinite(numbers[s.params[key]]))
    cuts = [round(len(ordered) * part / _RANGES) for part in range(_RANGES + 1)]
    ranges = [ordered[start:end] for start, end in itertools.pairwise(cuts)]
    return [(f"{param(part[0].params[key])} to {param(part[-1].params[key])}", part) for part in ranges]


def _or_infinite(value: float | None) -> float:
    return math.inf if value is None else value
