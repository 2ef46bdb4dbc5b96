"""How numbers, parameters and foreign text read, the same in every file of a report."""

import math
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Protocol

from adapter_sweep.config.naming import METHOD, key_of
from adapter_sweep.credentials import mask_credentials
from adapter_sweep.records import METRIC_HELP, ParamValue, StudyView, TrialView
from adapter_sweep.scores import METRICS, metric_and_language

__all__ = [
    "command",
    "costs_text",
    "describe",
    "is_count",
    "is_score",
    "label",
    "metric_name",
    "number",
    "one_line",
    "param",
    "plain",
    "ratio_text",
    "short_keys",
    "swept_keys",
    "task_metric",
]

_NAMES = {
    "trainable_params": "trainable parameters",
    "adapter_params": "adapter parameters",
    "latency_ratio": "latency ratio",
    "batch_latency_ratio": "batch latency ratio",
    "latency_p50_ms": "latency p50 (ms)",
    "latency_p90_ms": "latency p90 (ms)",
}

_COUNTS = {"eval_examples", "test_examples", "latency_noisy", "storage_bytes", "micro_batches", "stopped_epoch"}

# Not for display or XML: controls but tab and newline, surrogates, non-characters, marks that reorder text.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


class Configured(Protocol):
    """Whatever has swept parameters: a trial, a confirmed run, a finalist."""

    @property
    def params(self) -> Mapping[str, ParamValue]:
        """Hydra key -> value."""


def plain(text: object) -> str:
    """Foreign text made safe to write: no control or reordering characters, no password of a URL."""
    cleaned = _UNPRINTABLE.sub("\ufffd", str(text).replace("\r\n", "\n"))
    return mask_credentials(cleaned)


def one_line(text: object, limit: int = 200) -> str:
    """`plain` text on one line of at most `limit` characters."""
    line = " ".join(plain(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def task_metric(study: StudyView) -> str:
    """The task's primary metric, which a record has as `accuracy`, by its own name."""
    task = study.config.get("task")
    return str(task.get("metric", "accuracy")) if isinstance(task, Mapping) else "accuracy"


def metric_name(key: str, *studies: StudyView) -> str:
    """A recorded number's name in prose and on axes.

    `accuracy`, the primary metric whichever it is, has the name of the studies' own metric; `score` where they have
    several. A metric's value on test or for a language says so: `test entity F1`, `accuracy (de)`.
    """
    if key == "accuracy" and studies:
        own = {task_metric(study) for study in studies}
        return "score" if len(own) > 1 else _metric_name(own.pop())
    return _metric_name(key)


def _metric_name(key: str) -> str:
    if key.startswith("test_") and is_score(key):
        return f"test {_metric_name(key.removeprefix('test_'))}"
    found = metric_and_language(key)
    if found is None:
        return _NAMES.get(key, one_line(key.replace("_", " "), 60))
    metric, language = found
    return METRICS[metric].title + (f" ({language})" if language else "")


def is_score(key: str) -> bool:
    """Whether a recorded number is a value of a task's metric: whose differences are told in points, hundredths."""
    return metric_and_language(key.removeprefix("test_")) is not None


def is_count(key: str) -> bool:
    """Whether a recorded number is a whole number of things."""
    return key.endswith("_params") or key in _COUNTS


def number(key: str, value: float | None) -> str:
    """A recorded number as it is read; empty where it is absent or not finite."""
    if value is None or not math.isfinite(value):
        return ""
    if is_count(key):
        return f"{value:,.0f}"
    if key.endswith(("_ms", "_seconds")):
        return f"{value:.2f}"
    if is_score(key) or "_ratio" in key or (key not in METRIC_HELP and 0 <= abs(value) <= 1):
        return f"{value:.3f}"
    return f"{value:.4g}"


def ratio_text(trial: TrialView, key: str = "latency_ratio") -> str:
    """A ratio with its interval, e.g. `1.021 (1.015 to 1.028)`; empty where it was not measured."""
    middle = number(key, trial.metrics.get(key))
    low, high = (number(key, trial.metrics.get(f"{key}_{end}")) for end in ("low", "high"))
    return f"{middle} ({low} to {high})" if middle and low and high else middle


def costs_text(keys: Iterable[str], metrics: Mapping[str, float]) -> str:
    """What something costs, e.g. ` with 597,378 trainable parameters and latency ratio 1.083`; empty if nothing is."""
    known = {key: text for key in keys if (text := number(key, metrics.get(key)))}
    parts = [
        f"{text} {metric_name(key)}" if key.endswith("_params") else f"{metric_name(key)} {text}"
        for key, text in known.items()
    ]
    return f" with {' and '.join(parts)}" if parts else ""


def param(value: ParamValue) -> str:
    """A swept value as it is read."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.3g}"
    return one_line(value, 60)


def swept_keys(study: StudyView) -> list[str]:
    """The swept parameters' Hydra keys: the search space's order, then any other by name."""
    known = list(dict.fromkeys(map(key_of, study.search_space)))
    return known + sorted({key for trial in study.trials for key in trial.params} - set(known))


def short_keys(study: StudyView) -> dict[str, str]:
    """Hydra key -> its last part, or the whole key where two keys end alike."""
    keys = swept_keys(study)
    ends = [key.rsplit(".", 1)[-1] for key in keys]
    return {key: one_line(end if ends.count(end) == 1 else key, 60) for key, end in zip(keys, ends, strict=True)}


def describe(names: Mapping[str, str], trial: Configured) -> str:
    """A trial's configuration in prose (`names`: see `short_keys`), e.g. `placement both, width 64`."""
    return ", ".join(f"{names[key]} {param(trial.params[key])}" for key in _telling(names) if key in trial.params)


def label(names: Mapping[str, str], trial: TrialView) -> str:
    """A trial's configuration beside its point, e.g. `both · 64`: its method where there are several, and at most two
    values, the telling ones."""
    values = [param(trial.params[key]) for key in _telling(names) if key in trial.params]
    return one_line(" · ".join(values[: 3 if METHOD in trial.params else 2]), 36) or f"trial {trial.number}"


def command(trial: TrialView) -> str:
    """The shell command that reproduces a trial."""
    return "adapter-sweep trial " + shlex.join(plain(override) for override in trial.overrides)


def _telling(keys: Iterable[str]) -> list[str]:
    """The keys with the method, placement and width first: they name the adapter.

    Where there are several methods, the other keys of theirs come before those of training.
    """
    known = list(keys)
    first = {METHOD: 0, "method.placement": 1, "method.width": 2}
    several = METHOD in known
    return sorted(known, key=lambda key: first.get(key, 4 if several and key.startswith("train.") else 3))
