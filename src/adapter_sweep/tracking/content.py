"""What MLflow shows of a study and of a trial, as plain data: pure functions of the ledger's views.

Names: tags of ours start with `adapter_sweep.`, provenance with `provenance.`; parameters and metrics keep
the names that they have in the ledger and in the CSV.
"""

import hashlib
import json
import math
import re
import shlex
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path

import yaml

from adapter_sweep.credentials import mask_credentials
from adapter_sweep.records import ParamValue, StudyView, TrialState, TrialView

__all__ = [
    "CONFIRMED",
    "DIGEST",
    "KIND",
    "OWN_PREFIXES",
    "PUBLISHED",
    "REPORT",
    "SEARCHED",
    "STATUS",
    "STUDY_CREATED",
    "STUDY_IDENTITY",
    "TRIAL",
    "Point",
    "anchor_metrics",
    "config_yaml",
    "dataset",
    "digest",
    "end_ms",
    "files_digest",
    "fit",
    "is_run_of",
    "key",
    "millis",
    "now_ms",
    "params",
    "points",
    "shown",
    "study_params",
    "study_tags",
    "trial_tags",
    "weights_files",
]

KIND = "adapter_sweep.kind"
SEARCHED, CONFIRMED = "trial", "confirmed"  # kinds of runs beside the study's own
TRIAL = "adapter_sweep.trial"
DIGEST = "adapter_sweep.digest"
PUBLISHED = "adapter_sweep.published"
REPORT = "adapter_sweep.report"
STUDY_CREATED = "adapter_sweep.study_created"
STUDY_IDENTITY = "adapter_sweep.study_identity"
OWN_PREFIXES = ("adapter_sweep.", "provenance.")

# Refused and pruned trials are no failures, and not results either: "killed" is MLflow's word for a run that
# was ended early. The tag `adapter_sweep.state` tells the three apart.
STATUS = {
    TrialState.COMPLETE: "FINISHED",
    TrialState.FAILED: "FAILED",
    TrialState.PRUNED: "KILLED",
    TrialState.REFUSED: "KILLED",
    TrialState.INTERRUPTED: "KILLED",
    TrialState.RUNNING: "RUNNING",
}

_LAYOUT = 3  # raised when the same view is to be shown otherwise, so that older runs count as stale
_MAX_KEY, _MAX_PARAM, _MAX_TAG = 250, 6000, 8000


@dataclass(frozen=True)
class Point:
    """One value of one metric; `time_ms` is milliseconds since the epoch."""

    key: str
    value: float
    step: int
    time_ms: int


def millis(moment: datetime) -> int:
    """Milliseconds since the epoch; a time without a zone is read as local time."""
    return round(moment.timestamp() * 1000)


def now_ms() -> int:
    """Milliseconds since the epoch, now."""
    return time.time_ns() // 1_000_000


def key(name: str) -> str:
    """Return `name` as MLflow takes it: other characters become `_`, and 250 characters are the most.

    MLflow reads names as paths and refuses one that would be another path: `a//b`, `../a`, `/a`.
    """
    parts = (part for part in re.sub(r"[^\w\-. /]", "_", name)[:_MAX_KEY].split("/") if part)
    return "/".join("_" * len(part) if part in (".", "..") else part for part in parts) or "_"


def fit(value: object, limit: int) -> str:
    """Return `value` as text of at most `limit` characters, credentials masked; a cut one says how long it was."""
    text = mask_credentials(str(value))
    if len(text) <= limit:
        return text
    note = f" … ({len(text)} characters in all)"
    return text[: limit - len(note)] + note


def params(values: Mapping[str, ParamValue]) -> dict[str, str]:
    """Swept parameters under their Hydra keys, values as Python prints them."""
    return {key(name): fit(value, _MAX_PARAM) for name, value in values.items()}


def study_params(study: StudyView) -> dict[str, str]:
    """What defines a study and never changes: its search space and its objectives."""
    space = {f"search_space.{name}": text for name, text in study.search_space.items()}
    return params(space | {f"objectives.{name}": way for name, way in study.objectives.items()})


def trial_tags(study: StudyView, trial: TrialView, parent_run_id: str, kind: str = SEARCHED) -> dict[str, str]:
    """Tags of a trial's run: what it is, how it stands and why, and where it was made."""
    tags = {
        "mlflow.parentRunId": parent_run_id,
        "mlflow.source.name": "adapter-sweep",
        KIND: kind,
        TRIAL: str(trial.number),
        "adapter_sweep.study": study.name,
        "adapter_sweep.state": str(trial.state),
    }
    if trial.reason is not None:
        tags["adapter_sweep.reason"] = trial.reason
    if trial.overrides:
        tags["adapter_sweep.overrides"] = shlex.join(trial.overrides)
    return _tags(tags, trial.provenance)


def study_tags(study: StudyView) -> dict[str, str]:
    """Tags of a study's run: its definition, how many trials stand how, and where it was made."""
    tags = {
        "mlflow.source.name": "adapter-sweep",
        KIND: "study",
        "adapter_sweep.study": study.name,
        "adapter_sweep.objectives": json.dumps(dict(study.objectives)),
        "adapter_sweep.search_space": json.dumps(dict(study.search_space), ensure_ascii=False),
        "adapter_sweep.n_trials": str(study.n_trials),
    }
    if isinstance(sweep := study.config.get("sweep"), str):
        tags["adapter_sweep.sweep"] = sweep
    for state in TrialState:
        if number := len(study.in_state(state)):
            tags[f"adapter_sweep.trials.{state}"] = str(number)
    if study.created is not None:
        tags[STUDY_CREATED] = str(millis(study.created))
    if study.identity is not None:
        tags[STUDY_IDENTITY] = study.identity
    return _tags(tags, study.provenance)


def is_run_of(study: Mapping[str, str], run: Mapping[str, str]) -> bool:
    """Whether a study's run is this very study's, by the tags of both: several of one name may share a server.

    A study of an earlier version is told by the time of its first trial; before that, none is known to be its own.
    """
    if STUDY_IDENTITY in study or STUDY_IDENTITY in run:
        return study.get(STUDY_IDENTITY) == run.get(STUDY_IDENTITY)
    return STUDY_CREATED in study and study[STUDY_CREATED] == run.get(STUDY_CREATED)


def _tags(own: Mapping[str, str], provenance: Mapping[str, str]) -> dict[str, str]:
    everything = {**own, **{f"provenance.{name}": value for name, value in provenance.items()}}
    return {key(name): fit(value, _MAX_TAG) for name, value in everything.items()}


def points(trial: TrialView, now_ms: int) -> list[Point]:
    """Every value of a trial, each curve in step order.

    A curve's times are spread between the trial's start and end in proportion to its steps. A record number
    is one point at the trial's end. Where a curve has the name of a record number (`train_loss`), the record
    number is the last point, on the curve's last step, so the value that MLflow lists is the ledger's; while
    the trial runs there is the curve alone. A value that is not finite is shown as NaN: MLflow would write
    ±1.8e308 for an infinity.
    """
    start = millis(trial.started) if trial.started else now_ms
    end = max(start, millis(trial.ended) if trial.ended else now_ms)
    last_step = max((curve[-1][0] for curve in trial.curves.values() if curve), default=0)
    found: list[Point] = []
    for name, curve in trial.curves.items():
        for step, value in curve:
            time_ms = start + (end - start) * max(step, 0) // (max(last_step, 0) + 1)
            found.append(Point(key(name), _finite(value), step, time_ms))
    for name, value in trial.metrics.items():
        curve = trial.curves.get(name, [])
        if not curve:
            found.append(Point(key(name), _finite(value), 0, end))
        elif trial.state is not TrialState.RUNNING and curve[-1][1] != value:
            found.append(Point(key(name), _finite(value), curve[-1][0], end + 1))
    return found


def _finite(value: float) -> float:
    return float(value) if math.isfinite(value) else math.nan


def end_ms(trial: TrialView) -> int | None:
    """When the run ended; None while it runs. A dead process left no end: then the last time known."""
    if trial.state is TrialState.RUNNING:
        return None
    moment = trial.ended or trial.started
    return millis(moment) if moment else 0


def dataset(view: TrialView | StudyView) -> tuple[str, str, dict[str, object]] | None:
    """Name, digest and source of the data set; None where its fingerprint was not recorded."""
    fingerprint = view.provenance.get("data_fingerprint")
    if not fingerprint:
        return None
    task = view.config.get("task")
    source: dict[str, object] = {"fingerprint": fingerprint}
    if isinstance(task, Mapping):
        source["task"] = _plain(task)
    name = task.get("name") if isinstance(task, Mapping) else task
    return str(name or "data")[:500], fingerprint, source


def anchor_metrics(study: StudyView) -> dict[str, float]:
    """The reference points of a study, as `anchors/<label>/<number>`."""
    return {
        key(f"anchors/{label.replace('/', '_')}/{name}"): _finite(value)
        for label, record in study.anchors.items()
        for name, value in record.items()
    }


def config_yaml(config: Mapping[str, object]) -> str:
    """The resolved configuration as YAML, keys in their own order, credentials masked."""
    text: str = yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True)
    return text


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, str):
        return mask_credentials(str(value))
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Iterable):
        return [_plain(inner) for inner in value]
    return mask_credentials(str(value))


def weights_files(trial: TrialView) -> list[Path]:
    """The trained weights and the JSON beside them (of their name, or `adapter*.json`), where they exist."""
    if trial.weights_path is None or not (weights := Path(trial.weights_path)).is_file():
        return []
    beside = dict.fromkeys([weights.with_suffix(".json"), *sorted(weights.parent.glob("adapter*.json"))])
    return [weights, *(path for path in beside if path.is_file())]


def digest(view: TrialView | StudyView, *extra: object) -> str:
    """A fingerprint of what is published of `view`: equal digests mean that there is nothing to send.

    A trial's curves and configuration are left out: they are in files or made from the study's, they are whole before
    the trial has ended and never change after, and so what is up to date is known without reading them. A study's
    identity is what its run is found by.
    """
    apart = {"mlflow_run_id", "identity", *(("curves", "config") if isinstance(view, TrialView) else ())}
    shown = {field.name: getattr(view, field.name) for field in fields(view) if field.name not in apart}
    if isinstance(view, StudyView):
        shown["trials"] = [(trial.number, str(trial.state)) for trial in view.trials]
    else:
        stats = [(path.name, path.stat()) for path in weights_files(view)]
        shown["files"] = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    text = json.dumps([_LAYOUT, _plain(shown), *extra], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def shown(study: StudyView, trial: TrialView) -> tuple[str, str]:
    """Digest and status of a run that shows `trial` as it is."""
    return digest(trial, study.name), STATUS[trial.state]


def files_digest(paths: Iterable[Path]) -> str:
    """A fingerprint of files by their names, sizes and times."""
    stats = [(path.name, path.stat()) for path in paths]
    text = json.dumps([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])
    return hashlib.sha256(text.encode()).hexdigest()[:32]
