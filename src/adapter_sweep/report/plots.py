"""The data of the interactive panels: plain JSON for plotly.js, colours left to the page's theme."""

import html
import json

from adapter_sweep.records import StudyView, TrialView
from adapter_sweep.report.answer import score_text
from adapter_sweep.report.picture import Panel, Picture, Point, axis_title
from adapter_sweep.report.wording import describe, metric_name, number, one_line, ratio_text, short_keys

__all__ = ["panels_json", "text_alternative"]

_HOVER_LIMIT = 240  # characters of configuration in one hover text


def panels_json(study: StudyView, shown: Picture) -> str:
    """The panels as JSON that may stand inside a script element.

    Each hover text is stored once and shared by the panels. Texts are escaped twice over: for plotly, which
    reads pseudo-HTML in them, and for the page, where no `<` or `&` of the data remains.
    """
    trials: dict[int, TrialView] = {p.trial.number: p.trial for panel in shown.panels for p in panel.points}
    words = short_keys(study)
    places = {trial: index for index, trial in enumerate(trials)}
    document = {
        "groups": [{"shape": group.shape, "light": group.light, "dark": group.dark} for group in shown.groups],
        "hover": [_hover(study, shown, words, trial) for trial in trials.values()],
        "trials": list(trials),
        "y": {"title": html.escape(axis_title(study, shown.y)), "range": shown.y_range},
        "band": shown.band,
        "anchors": [[html.escape(f"{name} {number(shown.y, v)}"), v] for name, v in shown.anchors.items()],
        "beyond": [
            [
                html.escape(f"{'↓' if v < shown.y_range[0] else '↑'} {name} {number(shown.y, v)}"),
                v < shown.y_range[0],
            ]
            for name, v in shown.beyond.items()
        ],
        "picks": [
            [trial.number, why]
            for trial, why in ((shown.answer.best, "best"), (shown.answer.near, "cheapest within 1 SE"))
            if trial is not None
        ],
        "panels": [_panel(study, panel, places) for panel in shown.panels],
    }
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def text_alternative(shown: Picture, panel: Panel) -> str:
    """A panel in words, for those who do not see it."""
    members = [point for point in panel.points if point.on_front]
    axes = f"{metric_name(shown.y)} over {metric_name(panel.x)}"
    words = f"Scatter chart of {len(panel.points):,} complete trials: {axes}"
    if members:
        low, high = min(members, key=lambda p: p.x), max(members, key=lambda p: p.x)
        ends = [f"{number(shown.y, p.y)} at {number(panel.x, p.x)} ({p.label})" for p in (low, high)]
        words += f"; the {len(members):,} on the front go from {ends[0]} to {ends[1]}"
    return words + ". The tables below hold the same numbers."


def _panel(study: StudyView, panel: Panel, places: dict[int, int]) -> dict[str, object]:
    members = [point for point in panel.points if point.on_front]
    return {
        "title": html.escape(axis_title(study, panel.x)),
        "log": panel.log,
        "range": panel.x_range,
        "step": "hv" if panel.step == "post" else "vh",
        "line": [[x for x, _ in panel.line], [y for _, y in panel.line]],
        "noise": panel.noise,
        "quiet": _columns([point for point in panel.points if not point.on_front], places),
        "front": _columns(members, places) | {
            "label": [html.escape(point.label) for point in members],
            "low": [None if point.low is None else max(0.0, point.x - point.low) for point in members],
            "high": [None if point.high is None else max(0.0, point.high - point.x) for point in members],
        },
    }  # fmt: skip


def _columns(points: list[Point], places: dict[int, int]) -> dict[str, object]:
    """Points column by column: position, group, and the place of the trial's hover text."""
    return {
        "x": [float(f"{point.x:.7g}") for point in points],
        "y": [float(f"{point.y:.7g}") for point in points],
        "g": [point.group for point in points],
        "t": [places[point.trial.number] for point in points],
    }


def _hover(study: StudyView, shown: Picture, words: dict[str, str], trial: TrialView) -> str:
    """A trial's hover text, a line for each thing."""
    lines = [f"trial {trial.number}", one_line(describe(words, trial), _HOVER_LIMIT)]
    lines.append(f"{metric_name(shown.y)} {score_text(study, trial, shown.y)}")
    for key in dict.fromkeys([*(panel.x for panel in shown.panels), "trainable_params", "latency_ratio"]):
        value = ratio_text(trial, key) if key.endswith("latency_ratio") else number(key, trial.metrics.get(key))
        if value and key != shown.y:
            lines.append(f"{metric_name(key)} {value}")
    return "<br>".join(html.escape(line) for line in lines if line)
