"""What the pictures of a comparison show, before anything is drawn: for the static and the interactive figures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from adapter_sweep.records import Direction, StudyView, TrialView
from adapter_sweep.report.front import candidates, non_dominated, primary_objective
from adapter_sweep.report.picture import STYLES, span

__all__ = ["Chart", "Line", "Mark", "Panel", "chart"]

_SHAPES = tuple(shape for shape, _, _ in STYLES)
_POINTS = 2_000  # trials of a study drawn in a panel at most, besides its front


@dataclass(frozen=True)
class Mark:
    """How a study is drawn: a shape, and its colour on light and on dark."""

    name: str
    shape: str
    light: str
    dark: str


@dataclass(frozen=True)
class Line:
    """One study in a panel.

    Attributes:
        front: the trials that none of the same study beats on the panel's two numbers, by x.
        quiet: the others, by number; at most the first 2,000.
        steps: the front as (x, y) in x order, each once; empty where x is no objective.
    """

    front: tuple[TrialView, ...]
    quiet: tuple[TrialView, ...]
    steps: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Panel:
    """The score over one cost: a line for each study, and the range of x that holds them all."""

    x: str
    log: bool
    lines: tuple[Line, ...]
    x_range: tuple[float, float]


@dataclass(frozen=True)
class Chart:
    """All that the pictures of a comparison show; without panels where no study has two numbers to show."""

    y: str
    marks: tuple[Mark, ...]
    panels: tuple[Panel, ...]
    y_range: tuple[float, float]


def chart(studies: Sequence[StudyView], labels: Sequence[str]) -> Chart:
    """What to draw for studies of the same objectives."""
    y = primary_objective(studies[0])
    wanted = dict.fromkeys([*(key for key in studies[0].objectives if key != y), "trainable_params", "latency_ratio"])
    panels = [_panel(studies, x, y) for x in wanted if x != y and any(candidates(study, [x, y]) for study in studies)]
    drawn = [t.metrics[y] for panel in panels[:2] for line in panel.lines for t in (*line.front, *line.quiet)]
    low, high = span(drawn)
    margin = 0.08 * (high - low)
    marks = tuple(_mark(index, label) for index, label in enumerate(labels))
    return Chart(y, marks, tuple(panels[:2]), (low - margin, high + margin))


def _mark(index: int, label: str) -> Mark:
    """Shape and colour move on together, and against each other once all were used."""
    _, light, dark = STYLES[(index + index // len(STYLES)) % len(STYLES)]
    return Mark(label, _SHAPES[index % len(_SHAPES)], light, dark)


def _panel(studies: Sequence[StudyView], x: str, y: str) -> Panel:
    found = [candidates(study, [x, y]) for study in studies]
    log = x.endswith("_params") and min(trial.metrics[x] for trials in found for trial in trials) > 0
    aims = studies[0].objectives
    ways: dict[str, Direction] = {y: aims.get(y, "maximize"), x: aims.get(x, "minimize")}
    lines = tuple(_line(trials, ways, x, y, stepped=x in aims and y in aims) for trials in found)
    xs = [trial.metrics[x] for line in lines for trial in (*line.front, *line.quiet)]
    low, high = span([math.log10(value) for value in xs] if log else xs)
    low, high = low - 0.07 * (high - low), high + 0.07 * (high - low)
    return Panel(x, log, lines, (10**low, 10**high) if log else (low, high))


def _line(trials: Sequence[TrialView], ways: dict[str, Direction], x: str, y: str, *, stepped: bool) -> Line:
    edge = sorted(non_dominated(trials, ways), key=lambda t: (t.metrics[x], t.number))
    on_it = {trial.number for trial in edge}
    quiet = tuple(trial for trial in trials if trial.number not in on_it)[:_POINTS]
    steps = tuple(sorted({(t.metrics[x], t.metrics[y]) for t in edge})) if stepped else ()
    return Line(tuple(edge), quiet, steps)
