"""What the front's pictures show, before anything is drawn: for the static and the interactive figures."""

import math
import statistics
from dataclasses import dataclass

from adapter_sweep.config.naming import METHOD
from adapter_sweep.config.space import Choices
from adapter_sweep.records import Direction, StudyView, TrialState, TrialView
from adapter_sweep.report.answer import Answer, answer
from adapter_sweep.report.front import candidates, front, non_dominated, primary_objective
from adapter_sweep.report.intervals import score_interval
from adapter_sweep.report.scales import dimension
from adapter_sweep.report.wording import label, metric_name, one_line, param, short_keys

__all__ = ["STYLES", "Group", "Panel", "Picture", "Point", "axis_title", "picture", "span"]

PLACEMENT = "method.placement"
# Okabe-Ito, told apart by colour-blind readers; a light and a dark variant of each, and a shape of its own.
STYLES = (
    ("circle", "#0072B2", "#56B4E9"),
    ("square", "#D55E00", "#FF8A3D"),
    ("diamond", "#009E73", "#35D0A2"),
    ("triangle-up", "#B0578D", "#E59BC8"),
    ("triangle-down", "#8A6D00", "#F0E442"),
    ("pentagon", "#333333", "#E6E6E6"),
)
# Methods are told apart beyond those: there are more of them than a reader compares of anything else.
_MORE = (
    ("star", "#6A4C9C", "#B79BEA"),
    ("hexagon", "#A3282E", "#FF8A8F"),
    ("triangle-left", "#2F6B6B", "#7FD1D1"),
    ("triangle-right", "#5E6B00", "#C9DC4A"),
)
_REST = ("cross", "#666666", "#AAAAAA")
_ABSENT = "not set"  # of a parameter that not every trial has


@dataclass(frozen=True)
class Group:
    """Trials drawn alike: a value of the grouping parameter, a shape, and its colour on light and on dark."""

    name: str
    shape: str
    light: str
    dark: str


@dataclass(frozen=True)
class Point:
    """One complete trial in a panel.

    Attributes:
        label: its configuration in short; empty where it is not on the front.
        low: lower end of x, where an interval was recorded; `high` likewise.
        y_interval: the 95 % interval of y, where it is known and the trial is on the front.
    """

    trial: TrialView
    x: float
    y: float
    group: int
    on_front: bool
    label: str
    low: float | None = None
    high: float | None = None
    y_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Panel:
    """The score over one cost.

    Attributes:
        x: the recorded number on the x axis.
        log: whether x is on a logarithmic axis.
        points: every complete trial that has both numbers, by number.
        line: the panel's own two-number front as (x, y), x ascending; empty where x is no objective.
        step: where the line steps: `post` (y holds until the next x) or `pre`.
        x_range: the axis limits that show every point.
        noise: half-width of the noise band around 1; None where not recorded.
    """

    x: str
    log: bool
    points: tuple[Point, ...]
    line: tuple[tuple[float, float], ...]
    step: str
    x_range: tuple[float, float]
    noise: float | None = None


@dataclass(frozen=True)
class Picture:
    """All that the pictures of one study show.

    Attributes:
        y: the recorded number on every y axis.
        group_by: the parameter that shape and colour stand for, in short; None where there is one group.
        band: the scores within one standard error of the best one; None where not known.
        anchors: label -> score, those inside `y_range`.
        beyond: the anchors that lie outside `y_range`.
        grouping: trial number -> its place in `groups`, for every trial of the study.
    """

    y: str
    group_by: str | None
    groups: tuple[Group, ...]
    panels: tuple[Panel, ...]
    answer: Answer
    y_range: tuple[float, float]
    band: tuple[float, float] | None
    anchors: dict[str, float]
    beyond: dict[str, float]
    grouping: dict[int, int]


def picture(study: StudyView) -> Picture:
    """What to draw for a study; without panels where no complete trial has two numbers to show."""
    y, said = primary_objective(study), answer(study)
    key, values = _grouping(study)
    known = [*STYLES, *_MORE] if key == METHOD else STYLES
    told = [value for value in values if value != _ABSENT]
    styles = [*known[: len(told)], *[_REST] * (len(values) - min(len(told), len(known)))] or [STYLES[0]]
    names = values or ["complete trial"]
    groups = tuple(Group(name, *style) for name, style in zip(names, styles, strict=True))
    members = {trial.number for trial in front(study)}
    words = short_keys(study)
    grouping = {trial.number: _group(trial, key, values) for trial in study.trials}
    panels = []
    for x in _costs(study, y):
        trials = candidates(study, [y, x])
        points = tuple(
            _point(study, words, trial, x, y, grouping[trial.number], trial.number in members) for trial in trials
        )
        if points:
            panels.append(_panel(study, x, y, points))
    best = said.best.metrics[y] if said.best else None
    band = None
    if best is not None and said.error is not None:
        edge = best - said.error if study.objectives[y] == "maximize" else best + said.error
        band = (min(edge, best), max(edge, best))
    scores = [point.y for panel in panels for point in panel.points]
    for point in (point for panel in panels for point in panel.points if point.on_front):
        scores += point.y_interval or ()
    references = {
        one_line(name, 40): metrics[y]
        for name, metrics in study.anchors.items()
        if math.isfinite(metrics.get(y, math.nan))
    }
    low, high = span([*scores, *(band or ())])
    # An anchor far from the trials would press them together: it is named at the edge instead.
    near = {name: v for name, v in references.items() if low - 1.2 * (high - low) <= v <= high + 1.2 * (high - low)}
    low, high = span([*scores, *(band or ()), *near.values()])
    margin = 0.10 * (high - low)
    beyond = {name: value for name, value in references.items() if name not in near}
    short = None if key is None else one_line(key.rsplit(".", 1)[-1], 40)
    return Picture(y, short, groups, tuple(panels), said, (low - margin, high + margin), band, near, beyond, grouping)


def _grouping(study: StudyView) -> tuple[str | None, list[str]]:
    """The parameter to tell apart by shape: the method where it was searched, else placement, else the first with 2 to
    6 words for values. Trials that have none of it come last, under a word of their own."""
    complete = study.in_state(TrialState.COMPLETE)
    methods = dimension(study, METHOD)
    if isinstance(methods, Choices):
        # As they were given: a method keeps its colour whichever trials are complete.
        return METHOD, [param(value) for value in methods.values]
    for key in [PLACEMENT, *study.search_space]:
        found = [trial.params[key] for trial in complete if key in trial.params]
        absent = [_ABSENT] if len(found) < len(complete) else []
        values = sorted({param(value) for value in found})
        if key == PLACEMENT and values:
            order = ["post_attention", "post_ffn", "both"]
            # A fixed order keeps a placement's colour the same from study to study.
            extra = [value for value in values if value not in order]
            return key, (order + extra if set(values) & set(order) else extra) + absent
        if 2 <= len(values) <= len(STYLES) and all(isinstance(value, str) for value in found):
            return key, values + absent
    return None, []


def _costs(study: StudyView, y: str) -> list[str]:
    """The two x axes: the other objectives in the user's order, then parameters and latency."""
    wanted = [*study.objectives, "trainable_params", "latency_ratio"]
    return [key for key in dict.fromkeys(wanted) if key != y and candidates(study, [y, key])][:2]


def _group(trial: TrialView, key: str | None, values: list[str]) -> int:
    value = param(trial.params[key]) if key is not None and key in trial.params else _ABSENT
    return values.index(value) if value in values else max(0, len(values) - 1)


def _point(
    study: StudyView, words: dict[str, str], trial: TrialView, x: str, y: str, group: int, on_front: bool
) -> Point:
    ends = (trial.metrics.get(f"{x}_low"), trial.metrics.get(f"{x}_high"))
    low, high = (end if end is not None and math.isfinite(end) else None for end in ends)
    return Point(
        trial,
        trial.metrics[x],
        trial.metrics[y],
        group,
        on_front,
        # Of ten thousand trials only those on the front are named.
        label(words, trial) if on_front else "",
        low,
        high,
        score_interval(study, trial, y) if on_front else None,
    )


def _panel(study: StudyView, x: str, y: str, points: tuple[Point, ...]) -> Panel:
    log = x.endswith("_params") and min(point.x for point in points) > 0
    line: tuple[tuple[float, float], ...] = ()
    ways: dict[str, Direction] = {key: way for key, way in study.objectives.items() if key in (x, y)}
    if len(ways) == 2:
        edge = non_dominated([point.trial for point in points], ways)
        line = tuple(sorted({(trial.metrics[x], trial.metrics[y]) for trial in edge}))
    noise = None
    floor_key = x.removesuffix("ratio") + "noise_floor"
    if x.endswith("latency_ratio"):
        floors = [p.trial.metrics[floor_key] for p in points if math.isfinite(p.trial.metrics.get(floor_key, math.nan))]
        noise = statistics.median(floors) if floors else None
    xs = [point.x for point in points]
    if noise is not None:
        xs += [1 - noise, 1 + noise]
    xs += [end for point in points if point.on_front for end in (point.low, point.high) if end is not None]
    if log:
        low, high = span([math.log10(value) for value in xs])
        x_range = (10 ** (low - 0.08 * (high - low)), 10 ** (high + 0.08 * (high - low)))
    else:
        low, high = span(xs)
        x_range = (low - 0.06 * (high - low), high + 0.06 * (high - low))
    return Panel(x, log, points, line, "pre" if ways.get(x) == "maximize" else "post", x_range, noise)


def span(values: list[float]) -> tuple[float, float]:
    """Lowest and highest of some values; never of zero length."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    if high - low > 1e-9 * max(abs(low), abs(high)):
        return low, high
    pad = 0.05 * (abs(high) or 1.0)
    return low - pad, high + pad


def axis_title(study: StudyView, key: str, *others: StudyView) -> str:
    """An axis's words, with the direction that is better where the study says so."""
    better = {"maximize": " (higher is better)", "minimize": " (lower is better)"}
    way = study.objectives.get(key)
    return metric_name(key, study, *others) + (better[way] if way else "")
