"""Every trial for the page's script, column by column: small enough for ten thousand of them."""

import math
import shlex
from collections.abc import Callable, Hashable, Sequence

from adapter_sweep.records import ParamValue, StudyView, TrialView
from adapter_sweep.report.front import primary_objective
from adapter_sweep.report.intervals import score_interval
from adapter_sweep.report.rows import shown_metrics
from adapter_sweep.report.scales import as_number, is_log
from adapter_sweep.report.wording import is_count, is_score, metric_name, one_line, param, plain, short_keys

__all__ = ["trial_columns"]

_REASONS = 2_000  # distinct reasons kept at most; trials.csv holds all
_EXACT = 2**53  # a browser's numbers are whole up to here
_RUN_ID_LIMIT = 64

Encoded = dict[str, object]


def trial_columns(study: StudyView) -> Encoded:
    """All trials, in the study's order.

    Returns:
        `number`, `state`, `reason`, `run` (MLflow run ids), `params` and `metrics` (one column for each, in the order
        of the tables), and `commands`. A column is either `v`, one value a trial, or `d` and `at`: the distinct values,
        and for each trial its place among them, -1 for none. A command is a list of words in which a number stands
        for the parameter in that place.
    """
    trials, names = study.trials, short_keys(study)
    params = [_param_column(study, trials, key, name) for key, name in names.items()]
    told = {key: (index, same) for index, (key, (_, same)) in enumerate(zip(names, params, strict=True))}
    reasons = list(dict.fromkeys(_reason(trial) for trial in trials))[:_REASONS]
    return {
        "number": [trial.number for trial in trials],
        "state": _distinct([trial.state.value for trial in trials]),
        "reason": {"d": reasons, "at": _places(reasons, [_reason(trial) for trial in trials])},
        "run": [one_line(trial.mlflow_run_id or "", _RUN_ID_LIMIT) for trial in trials],
        "params": [column for column, _ in params],
        "metrics": [_metric_column(study, trials, key) for key in shown_metrics(study, every=True)],
        "commands": _commands(trials, told),
    }


def _param_column(
    study: StudyView, trials: Sequence[TrialView], key: str, name: str
) -> tuple[Encoded, Callable[[TrialView, str], bool]]:
    """A parameter's column, and whether it says what an override of a trial says."""
    values = [trial.params[key] for trial in trials if key in trial.params]
    column: Encoded = {"key": plain(key), "name": name, "log": is_log(study, key)}
    numbers = [as_number(value) for value in values]
    if values and all(number is not None and abs(number) < _EXACT for number in numbers):
        column |= _distinct([trial.params.get(key) for trial in trials])
        bare = plain(key) == key == shlex.quote(key)  # else the shell needs quotes around it
        return column, lambda trial, override: bare and _is_number(override.partition("=")[2], trial.params[key])
    # By their text: 1 and true are one value to Python's dictionaries.
    tokens: dict[str, str] = {}
    for trial in trials:
        for override in trial.overrides:
            if override.partition("=")[0] == key and key in trial.params:
                tokens.setdefault(repr(trial.params[key]), override)
    words = {repr(value): param(value) for value in values}
    places = {word: place for place, word in enumerate(words)}
    column |= {
        "words": list(words.values()),
        "tokens": [shlex.quote(plain(tokens.get(word, ""))) for word in words],
        "at": [places.get(repr(trial.params[key]), -1) if key in trial.params else -1 for trial in trials],
    }
    return column, lambda trial, override: tokens.get(repr(trial.params[key])) == override


def _metric_column(study: StudyView, trials: Sequence[TrialView], key: str) -> Encoded:
    column: Encoded = {
        "key": plain(key),
        "name": metric_name(key, study),
        "count": is_count(key),
        "score": is_score(key),
        "log": key.endswith("_params"),
        **_distinct([_number(trial.metrics.get(key)) for trial in trials]),
    }
    bounds: list[tuple[float | None, float | None]]
    if key == primary_objective(study):
        bounds = [score_interval(study, trial, key) or (None, None) for trial in trials]
    else:
        bounds = [(trial.metrics.get(f"{key}_low"), trial.metrics.get(f"{key}_high")) for trial in trials]
    if any(low is not None and high is not None for low, high in bounds):
        column["low"] = _distinct([_number(low) for low, _ in bounds])
        column["high"] = _distinct([_number(high) for _, high in bounds])
    return column


def _commands(trials: Sequence[TrialView], columns: dict[str, tuple[int, Callable[[TrialView, str], bool]]]) -> Encoded:
    commands = []
    for trial in trials:
        words: list[int | str] = []
        for override in trial.overrides:
            key = override.partition("=")[0]
            index, same = columns.get(key, (-1, None))
            told = same is not None and key in trial.params and same(trial, override)
            words.append(index if told else shlex.quote(plain(override)))
        commands.append(tuple(words))
    return _distinct(commands)


def _distinct(values: Sequence[object]) -> Encoded:
    """A column as it takes the least room: its values, or the distinct ones and their places."""
    found = list(dict.fromkeys(value for value in values if value is not None))
    if len(found) > len(values) / 2 and all(not isinstance(value, tuple) for value in found):
        return {"v": list(values)}
    return {"d": found, "at": _places(found, values)}


def _places(found: Sequence[object], values: Sequence[object]) -> list[int]:
    places: dict[Hashable, int] = {value: place for place, value in enumerate(found)}
    return [places.get(value, -1) for value in values]


def _number(value: float | None) -> float | None:
    """Seven digits: more than a screen has pixels."""
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.7g}")
    return int(short) if short.is_integer() and abs(short) < _EXACT else short


def _is_number(text: str, value: ParamValue) -> bool:
    try:
        return float(text) == value and not text.startswith("+")
    except ValueError:
        return False


def _reason(trial: TrialView) -> str:
    return one_line(trial.reason or "", 200)
