"""Whether studies may stand side by side, what they have in common, and what has to be said of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adapter_sweep.errors import UserInputError
from adapter_sweep.records import Direction, StudyView, TrialState
from adapter_sweep.report.front import primary_objective
from adapter_sweep.report.wording import metric_name, one_line, plain, task_metric

__all__ = ["Together", "put_together", "settings_that_differ"]

_AROUND = ("study", "results_dir", "tracking", "workers", "search_space", "objectives")  # no part of what was tried
_READING = {"device": "devices", "precision": "precisions", "attention": "attention kernels"}


@dataclass(frozen=True)
class Together:
    """Studies that may stand side by side.

    Attributes:
        studies: two or more, of the same objectives.
        labels: a short name of each, all different: the task's where each study has data of its own, else the study's.
        same_data: whether all were searched on the same examples.
        tasks: whether each has data of its own, and all have one search space: a task group.
        warnings: what keeps them from being compared without care, a sentence each.
    """

    studies: tuple[StudyView, ...]
    labels: tuple[str, ...]
    same_data: bool
    tasks: bool
    warnings: tuple[str, ...]


def put_together(studies: Sequence[StudyView]) -> Together:
    """Check that studies may stand side by side.

    Raises:
        UserInputError: there are fewer than two, one is named twice, or they have other objectives, or other metrics
            on the same data.
    """
    names = [study.name for study in studies]
    problems = [f"{plain(name)}: named twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    if len(studies) < 2:
        problems.append("a comparison needs two studies or more")
    for study in studies[1:]:
        if _sought(study) != _sought(studies[0]):
            problems.append(f"{_aims(study)}, but {_aims(studies[0])}: fronts of other objectives cannot be compared")
    if problems:
        raise UserInputError(*problems)
    data = [_data(study) for study in studies]
    metrics = [task_metric(study) for study in studies]
    same_data = len(set(data)) == 1
    if same_data and len(set(metrics)) > 1:
        listed = ", ".join(f"{plain(s.name)} by {metric}" for s, metric in zip(studies, metrics, strict=True))
        raise UserInputError(f"the studies score the same data by different metrics ({listed}): not comparable")
    spaces = [{key: "".join(text.split()) for key, text in study.search_space.items()} for study in studies]
    each_its_own = len(set(data)) == len(studies)
    tasks = each_its_own and bool(spaces[0]) and all(space == spaces[0] for space in spaces)
    labels = _labels(studies, [_task_name(study) for study in studies] if each_its_own else names)
    return Together(tuple(studies), labels, same_data, tasks, tuple(_warnings(studies, labels, data, metrics)))


def settings_that_differ(together: Together) -> list[tuple[str, tuple[str, ...]]]:
    """The settings on which the studies differ, with each study's value; empty text where it has none."""
    flat = [_flat({k: v for k, v in study.config.items() if k not in _AROUND}) for study in together.studies]
    for settings, study in zip(flat, together.studies, strict=True):
        settings |= {key: f"searched: {text}" for key, text in study.search_space.items()}
    keys = dict.fromkeys(key for settings in flat for key in settings)
    rows = [(key, tuple(settings.get(key, "") for settings in flat)) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def _warnings(
    studies: Sequence[StudyView], labels: Sequence[str], data: Sequence[str], metrics: Sequence[str]
) -> list[str]:
    found = []
    if len(set(data)) > 1:
        found.append(
            "The studies are of different data: their scores are not on one scale, and their hypervolumes are not "
            "comparable in absolute terms."
        )
    if len(set(metrics)) > 1:
        found.append(f"They are scored by different metrics: {_listed(labels, metrics)}.")
    models = [study.provenance.get("model_fingerprint", study.provenance.get("model", "")) for study in studies]
    if len(set(models)) > 1:
        shown = [study.provenance.get("model", "unknown") for study in studies]
        found.append(
            f"They are of different backbones ({_listed(labels, shown)}): each latency ratio is over its own backbone."
        )
    for key, words in _READING.items():
        values = [study.provenance.get(key, "unknown") for study in studies]
        if len(set(values)) > 1:
            found.append(f"They ran on different {words} ({_listed(labels, values)}): latencies may differ by that.")
    counts = [len(study.in_state(TrialState.COMPLETE)) for study in studies]
    if len(set(counts)) > 1:
        found.append(
            f"They have different numbers of complete trials ({_listed(labels, counts)}): more trials find a better "
            "front by that alone."
        )
    return found


def _listed(labels: Sequence[str], values: Sequence[object]) -> str:
    return ", ".join(f"{label}: {one_line(value, 80)}" for label, value in zip(labels, values, strict=True))


def _sought(study: StudyView) -> tuple[dict[str, Direction], str]:
    return dict(study.objectives), primary_objective(study)


def _aims(study: StudyView) -> str:
    aims = ", ".join(f"{metric_name(key, study)} {way}d" for key, way in study.objectives.items())
    return f"{plain(study.name)} has {aims or 'no objective'}"


def _data(study: StudyView) -> str:
    """What tells one study's examples from another's."""
    known = study.provenance.get("data_fingerprint")
    return known or json.dumps(study.config.get("task"), sort_keys=True, default=str)


def _task_name(study: StudyView) -> str:
    task = study.config.get("task")
    named = task.get("name") if isinstance(task, Mapping) else None
    return str(named or study.provenance.get("data_name") or study.name)


def _labels(studies: Sequence[StudyView], wanted: Sequence[str]) -> tuple[str, ...]:
    for names in (wanted, [study.name for study in studies]):
        short = tuple(one_line(name, 40) for name in names)
        if len(set(short)) == len(short):
            return short
    return tuple(f"{index}: {one_line(study.name, 40)}" for index, study in enumerate(studies, 1))


def _flat(values: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = one_line(value, 120)
    return flat
