"""How a study presents itself in MLflow's UI: names of runs, descriptions, and a saved view of its trials.

Descriptions are Markdown, which MLflow renders with HTML in it: whatever is not ours is escaped.
"""

import hashlib
import html
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from urllib.parse import quote, urlencode

from adapter_sweep.config.naming import key_of
from adapter_sweep.credentials import mask_credentials
from adapter_sweep.records import ParamValue, StudyView, TrialState, TrialView
from adapter_sweep.tracking.content import KIND, SEARCHED, fit, key, millis

__all__ = ["VIEW_TAG", "saved_view", "study_note", "trial_name", "trial_note", "unless_edited", "view_address"]

NOTE = "mlflow.note.content"
NOTE_DIGEST = "adapter_sweep.note_digest"
_VIEW_ID = "adapter-sweep"
VIEW_TAG = f"mlflow.sharedViewState.{_VIEW_ID}"  # where MLflow's UI keeps the views that its "Views" menu lists

_MAX_NAME, _MAX_NOTE, _MAX_VIEW = 250, 5000, 5000  # MLflow's limits
_MAX_AXES = 8  # more are not readable in one chart of parallel coordinates


def trial_name(study: StudyView, trial: TrialView, kind: str = SEARCHED) -> str:
    """The name of a trial's run, e.g. `003 width=48 placement=both lr=0.001`: names sort as numbers do.

    Finalists on the test split are `confirmed 003 width=48 …`.
    """
    ends = [name.rpartition(".")[2] for name in {*map(key_of, study.search_space), *trial.params}]
    shown = (
        f"{end if ends.count(end) == 1 else name}={_value(value)}"
        for name, value in trial.params.items()
        for end in [name.rpartition(".")[2]]
    )
    return mask_credentials(" ".join([*([kind] if kind != SEARCHED else []), f"{trial.number:03d}", *shown]))[
        :_MAX_NAME
    ]


def trial_note(study: StudyView, trial: TrialView) -> dict[str, str]:
    """Tags that describe a trial's run: how it ended or why not, and the command that repeats it."""
    numbers = ", ".join(
        f"{name} = {_number(trial.metrics[name])}" for name in study.objectives if name in trial.metrics
    )
    said = (
        f"**{trial.state}**: {_escaped(trial.reason or numbers)}" if trial.reason or numbers else f"**{trial.state}**"
    )
    parts = [said]
    if trial.overrides:
        lines = shlex.join(["adapter-sweep", "trial", *trial.overrides]).splitlines()
        parts += ["Repeat it with", "\n".join(f"    {line}" for line in lines)]
    return _note(parts)


def study_note(study: StudyView, experiment_id: str, run_id: str) -> dict[str, str]:
    """Tags that describe a study's experiment and its run: what it is, and where to look first.

    Args:
        study: the study.
        experiment_id: MLflow's, for the link to the trials.
        run_id: the study's run, for the link to the report.
    """
    counts = ", ".join(f"{number} {state}" for state in TrialState if (number := len(study.in_state(state))))
    facts = study.provenance
    what = [f"task {facts['data_name']}"] if "data_name" in facts else []
    what += [f"backbone {facts['model']}"] if "model" in facts else []
    report = f"#/experiments/{quote(experiment_id)}/runs/{quote(run_id)}/artifacts"
    steps = [
        f"[Trials with their parameters and costs]({view_address(experiment_id)}), best first; the second button above "
        "the table shows them as charts: parallel coordinates and trade-offs",
        "Tick trials there and press *Compare* to see them side by side",
        f"[The report]({report}): `report.html` among the files of the study's own run",
    ]
    wanted = _escaped(", ".join(f"{direction} {name}" for name, direction in study.objectives.items()))
    ranges = (f"{_escaped(name)}: {_escaped(text)}" for name, text in study.search_space.items())
    return _note(
        [
            f"**Study {_escaped(study.name)}**: {_escaped('; '.join([counts or 'no trial yet', *what]))}.",
            _list(steps),
            f"Objectives: {wanted}",
            "Searched:",
            _list(ranges),
        ]
    )


def view_address(experiment_id: str) -> str:
    """The part of an address after the server's: the saved view of an experiment's trials."""
    state = urlencode({"workflowType": "machine_learning", "viewStateShareKey": _VIEW_ID})
    return f"#/experiments/{quote(experiment_id)}/runs?{state}"


def saved_view(study: StudyView) -> dict[str, str]:
    """The tag of an experiment that makes MLflow's UI offer a view of the study's trials.

    It lists the trials without the study's own run, the best by the first objective on top, with the objectives,
    the swept parameters and the state as columns; its charts are parallel coordinates of these, and the first
    objective over each other one. Empty where MLflow would not take it, as names are too long.
    """
    objectives = [key(name) for name in study.objectives]
    swept = list(dict.fromkeys(key(key_of(name)) for name in study.search_space))[:_MAX_AXES]
    first, *others = objectives
    columns = [
        *(f"metrics.`{name}`" for name in objectives),
        *(f"params.`{name}`" for name in swept),
        "tags.`adapter_sweep.state`",
    ]
    parallel = {
        **_chart("PARALLEL", "parallel"),
        "selectedParams": swept,
        "selectedMetrics": [*others, first],  # the last one colours the lines
        "showAllRuns": True,
    }
    fronts = [
        _chart("SCATTER", f"front-{place}")
        | {"xaxis": {"key": name, "type": "METRIC"}, "yaxis": {"key": first, "type": "METRIC"}}
        for place, name in enumerate(others)
    ]
    state = {
        "searchFilter": f"tags.`{KIND}` = '{SEARCHED}'",
        "orderByKey": f"metrics.`{first}`",
        "orderByAsc": next(iter(study.objectives.values())) == "minimize",
        "selectedColumns": columns,
        "columnOrder": ["attributes.`Run Name`", *columns],
        "columnWidths": {"attributes.`Run Name`": 340, **dict.fromkeys(columns, 140)},
        "runsHiddenMode": "SHOW_ALL",
        "compareRunSections": [
            _section("parallel", "All trials", columns=1, height=420),
            *([_section("front", "Trade-offs", columns=2, height=420)] if fronts else []),
        ],
        "compareRunCharts": [parallel, *fronts],
    }
    created = millis(study.created) if study.created else 0
    view = {"name": f"Trials by {first}", "createdAt": created, "updatedAt": created, "state": json.dumps(state)}
    text = json.dumps(view)
    return {VIEW_TAG: text} if len(text) <= _MAX_VIEW else {}


def unless_edited(known: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    """`wanted` tags, but for the description where the one that is there is not the one we wrote last."""
    there = known.get(NOTE)
    ours = there is None or _fingerprint(there) == known.get(NOTE_DIGEST)
    return {name: value for name, value in wanted.items() if ours or name not in (NOTE, NOTE_DIGEST)}


def _chart(kind: str, name: str) -> dict[str, object]:
    section = name.partition("-")[0]
    return {"type": kind, "uuid": name, "metricSectionId": section, "deleted": False, "isGenerated": False}


def _section(uuid: str, name: str, *, columns: int, height: int) -> dict[str, object]:
    return {
        "uuid": uuid,
        "name": name,
        "display": True,
        "isReordered": True,
        "columns": columns,
        "cardHeight": height,
    }


def _note(parts: Iterable[str]) -> dict[str, str]:
    text = fit("\n\n".join(part for part in parts if part), _MAX_NOTE)
    return {NOTE: text, NOTE_DIGEST: _fingerprint(text)}


def _fingerprint(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _escaped(text: str) -> str:
    """`text` as Markdown with HTML in it shows it: on one line, as nothing but text, no address made a link."""
    plain = html.escape(" ".join(mask_credentials(text).split()), quote=False)
    marked = re.sub(r"([\\`*_{}\[\]()#+\-.!|~])", r"\\\1", plain)
    return marked.replace(":", "&#58;").replace("@", "&#64;")


def _value(value: ParamValue) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) and abs(value) >= 1000 else f"{value:.4g}"
