"""trials.csv, front.csv and front.json: the study as data, for other programs."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from adapter_sweep.records import METRIC_HELP, ParamValue, StudyView, TrialView
from adapter_sweep.report.checks import checks
from adapter_sweep.report.evidence import Evidence
from adapter_sweep.report.front import front
from adapter_sweep.report.hypervolume import hypervolume
from adapter_sweep.report.wording import command, is_count, plain, swept_keys, task_metric
from adapter_sweep.scores import METRICS

__all__ = ["columns", "csv_metric", "csv_param", "csv_text", "front_json", "trial_document", "trials_csv"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_LAST = ("reason", "started", "ended", "mlflow_run_id", "command")


def columns(study: StudyView) -> list[str]:
    """The columns of both CSV files: the same for each report of a study, whatever was measured so far."""
    return ["trial", "state", *swept_keys(study), *_metric_keys(study), *_LAST]


def trials_csv(study: StudyView, trials: Sequence[TrialView]) -> str:
    """`trials` as CSV, by the order given.

    Absent and non-finite values are empty cells. Text that a spreadsheet would read as a formula starts with
    a single quote; numbers are left alone.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([csv_text(name) for name in columns(study)])
    params, metrics = swept_keys(study), _metric_keys(study)
    for trial in trials:
        last = (
            trial.reason,
            _time(trial.started),
            _time(trial.ended),
            trial.mlflow_run_id,
            command(trial) if trial.overrides else None,
        )
        writer.writerow(
            [
                trial.number,
                trial.state.value,
                *(csv_param(trial.params[key]) if key in trial.params else "" for key in params),
                *(csv_metric(key, trial.metrics.get(key)) for key in metrics),
                *("" if value is None else csv_text(value) for value in last),
            ]
        )
    return out.getvalue()


def front_json(study: StudyView, found: Evidence | None = None) -> str:
    """The front with what it takes to understand and reproduce it, as strict JSON.

    Args:
        study: the study.
        found: what its confirmation shows, where it has one.
    """
    document = {
        "study": plain(study.name),
        "created": _time(study.created),
        "n_trials": study.n_trials,
        "objectives": {plain(key): way for key, way in study.objectives.items()},
        "search_space": {plain(key): plain(value) for key, value in study.search_space.items()},
        "front": [trial_document(trial) for trial in front(study)],
        "anchors": {plain(name): _numbers(metrics) for name, metrics in study.anchors.items()},
        "confirmed": None if found is None else _cleaned(asdict(found)),
        "hypervolume": _volume(study),
        "importance": {
            plain(key): {plain(k): v for k, v in shares.items()} for key, shares in study.importance.items()
        },
        "importance_within_methods": {
            plain(method): {plain(key): {plain(k): v for k, v in own.items()} for key, own in shares.items()}
            for method, shares in study.importance_within.items()
        },
        "checks": [{"check": c.name, "verdict": c.verdict, "sentence": plain(c.sentence)} for c in checks(study)],
        "provenance": {plain(key): plain(value) for key, value in study.provenance.items()},
        "mlflow_run_id": study.mlflow_run_id,
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _cleaned(value: Any) -> Any:
    """Plain values whose texts are fit to be shown."""
    if isinstance(value, Mapping):
        return {plain(key) if isinstance(key, str) else key: _cleaned(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(each) for each in value]
    return plain(value) if isinstance(value, str) else value


def _volume(study: StudyView) -> dict[str, object] | None:
    found = hypervolume(study)
    if found is None:
        return None
    return {
        "value": found.value,
        "reference": {plain(key): value for key, value in found.box.reference.items()},
        "best": {plain(key): value for key, value in found.box.best.items()},
        "logarithmic": [plain(key) for key in found.box.log],
        "over_trials": [{"trial": trial, "value": value} for trial, value in found.gains()],
    }


def trial_document(trial: TrialView) -> dict[str, object]:
    """A trial as plain values for strict JSON, with the command that reproduces it."""
    return {
        "trial": trial.number,
        "params": {plain(key): _json_param(value) for key, value in trial.params.items()},
        "metrics": _numbers(trial.metrics),
        "overrides": [plain(override) for override in trial.overrides],
        "command": command(trial),
        "started": _time(trial.started),
        "ended": _time(trial.ended),
        "weights_path": None if trial.weights_path is None else plain(trial.weights_path),
        "mlflow_run_id": trial.mlflow_run_id,
        "provenance": {plain(key): plain(value) for key, value in trial.provenance.items()},
    }


def _metric_keys(study: StudyView) -> list[str]:
    """Those that every record may have, the metric that the task is scored by, then what else was recorded."""
    usual = [key for key in METRIC_HELP if key not in METRICS or key in ("accuracy", task_metric(study))]
    return usual + sorted({key for trial in study.trials for key in trial.metrics} - set(usual))


def _numbers(metrics: Mapping[str, float]) -> dict[str, float]:
    return {plain(key): _whole(key, value) for key, value in metrics.items() if math.isfinite(value)}


def _json_param(value: ParamValue) -> ParamValue:
    if isinstance(value, str):
        return plain(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _whole(key: str, value: float) -> float:
    return int(value) if is_count(key) and float(value).is_integer() else value


def csv_metric(key: str, value: float | None) -> str:
    """A recorded number as a CSV cell; empty where it is absent or not finite."""
    return "" if value is None or not math.isfinite(value) else str(_whole(key, value))


def csv_param(value: ParamValue) -> str:
    """A swept value as a CSV cell, as Hydra writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return csv_text(value)
    return str(value) if math.isfinite(value) else ""


def csv_text(value: str) -> str:
    """Foreign text as a CSV cell that no spreadsheet takes for a formula."""
    # The text as it came is tested too: `plain` turns a leading carriage return into a replacement mark.
    cleaned = plain(value)
    return "'" + cleaned if value.startswith(_FORMULA) or cleaned.startswith(_FORMULA) else cleaned


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")
