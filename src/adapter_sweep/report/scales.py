"""The scale of a swept parameter, as the search space has it."""

import math

from adapter_sweep.config.naming import key_of
from adapter_sweep.config.space import Choices, Dimension, parse_dimension
from adapter_sweep.errors import UserInputError
from adapter_sweep.records import ParamValue, StudyView, TrialState

__all__ = ["as_number", "dimension", "is_log", "numeric_keys", "searched_keys"]

_FAR_APART = 10  # choices that span more than this are read by their ratio


def searched_keys(study: StudyView) -> list[str]:
    """The Hydra keys that the search space has a range for, of whatever method, in its order."""
    return list(dict.fromkeys(map(key_of, study.search_space)))


def dimension(study: StudyView, name: str) -> Dimension | None:
    """A range by its name; None where the search space does not hold it, or holds what is not of the grammar."""
    text = study.search_space.get(name)
    try:
        return None if text is None else parse_dimension(name, text)
    except UserInputError:
        return None


def as_number(value: ParamValue) -> float | None:
    """A swept value as a finite number; None for words, switches and null."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def numeric_keys(study: StudyView) -> list[str]:
    """The searched parameters that are numbers in every complete trial that has them, and take two values or more."""
    complete = study.in_state(TrialState.COMPLETE)
    found = []
    for key in searched_keys(study):
        values = [as_number(trial.params[key]) for trial in complete if key in trial.params]
        if None not in values and len(set(values)) > 1:
            found.append(key)
    return found


def is_log(study: StudyView, key: str) -> bool:
    """Whether a numeric parameter belongs on a logarithmic axis: its range does, or its choices lie far apart.

    Where methods have ranges of their own for it, one of those is enough.
    """
    values = [as_number(trial.params.get(key)) for trial in study.trials]
    if any(value is not None and value <= 0 for value in values):
        return False
    return any(_is_log(dimension(study, name)) for name in study.search_space if key_of(name) == key)


def _is_log(known: Dimension | None) -> bool:
    if known is None:
        return False
    if not isinstance(known, Choices):
        return known.log
    numbers = [as_number(value) for value in known.values]
    kept = [number for number in numbers if number is not None]
    return len(kept) == len(numbers) and min(kept) > 0 and max(kept) >= _FAR_APART * min(kept)
