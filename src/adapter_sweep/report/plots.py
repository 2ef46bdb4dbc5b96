"""The data of the page's charts: plain JSON for its script, colours left to the page's theme."""

import json

from adapter_sweep.records import StudyView, TrialState
from adapter_sweep.report.columns import trial_columns
from adapter_sweep.report.front import front
from adapter_sweep.report.hypervolume import Hypervolume
from adapter_sweep.report.picture import Panel, Picture, axis_title
from adapter_sweep.report.runs import runs_address
from adapter_sweep.report.slices import Slice
from adapter_sweep.report.wording import label, metric_name, number, plain, short_keys

__all__ = ["page_json", "text_alternative"]


def page_json(study: StudyView, shown: Picture, cuts: tuple[Slice, ...], volume: Hypervolume | None) -> str:
    """All that the page's script shows, as JSON that may stand inside a script element: no `<` or `&` is left in it.

    Texts are as they came, but for control characters: the script writes them as text, and escapes those it gives to
    plotly, which reads pseudo-HTML.
    """
    words, members = short_keys(study), front(study)
    places = {trial.number: place for place, trial in enumerate(study.trials)}
    chosen = ((shown.answer.best, "best"), (shown.answer.near, "cheapest within 1 SE"))
    document = {
        "trials": trial_columns(study),
        "complete": TrialState.COMPLETE.value,
        "runs": runs_address(study),
        "groups": [{"name": g.name, "shape": g.shape, "light": g.light, "dark": g.dark} for g in shown.groups],
        "group": [shown.grouping[trial.number] for trial in study.trials],
        "front": [places[trial.number] for trial in members],
        "labels": [label(words, trial) for trial in members],
        "picks": [[places[trial.number], why] for trial, why in chosen if trial is not None],
        "y": {
            "key": plain(shown.y),
            "title": axis_title(study, shown.y),
            "range": shown.y_range,
            "objectives": [plain(key) for key in study.objectives],
        },
        "band": shown.band,
        "anchors": [[f"{name} {number(shown.y, v)}", v] for name, v in shown.anchors.items()],
        "beyond": [
            [f"{'↓' if v < shown.y_range[0] else '↑'} {name} {number(shown.y, v)}", v < shown.y_range[0]]
            for name, v in shown.beyond.items()
        ],
        "panels": [_panel(study, panel) for panel in shown.panels],
        "slices": [{"key": plain(cut.key), "name": cut.name, "log": cut.log} for cut in cuts],
        "volume": None
        if volume is None
        else {
            "x": [trial for trial, _ in volume.over_trials],
            "y": [float(f"{share:.6g}") for _, share in volume.over_trials],
        },
    }
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def text_alternative(study: StudyView, shown: Picture, panel: Panel) -> str:
    """A panel in words, for those who do not see it."""
    members = [point for point in panel.points if point.on_front]
    axes = f"{metric_name(shown.y, study)} over {metric_name(panel.x, study)}"
    words = f"Scatter chart of {len(panel.points):,} complete trials: {axes}"
    if members:
        low, high = min(members, key=lambda p: p.x), max(members, key=lambda p: p.x)
        ends = [f"{number(shown.y, p.y)} at {number(panel.x, p.x)} ({p.label})" for p in (low, high)]
        words += f"; the {len(members):,} on the front go from {ends[0]} to {ends[1]}"
    return words + ". The tables below hold the same numbers."


def _panel(study: StudyView, panel: Panel) -> dict[str, object]:
    return {
        "key": plain(panel.x),
        "title": axis_title(study, panel.x),
        "log": panel.log,
        "range": panel.x_range,
        "step": "hv" if panel.step == "post" else "vh",
        "line": [[x for x, _ in panel.line], [y for _, y in panel.line]],
        "noise": panel.noise,
    }
