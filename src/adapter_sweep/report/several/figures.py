"""front.png and front.svg of a comparison: the fronts over one another, in two panels."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from adapter_sweep.records import StudyView
from adapter_sweep.report.drawing import MARKERS, draw_images, log_ticks
from adapter_sweep.report.picture import axis_title
from adapter_sweep.report.several.chart import Chart, Panel
from adapter_sweep.report.wording import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["comparison_images"]


def comparison_images(studies: Sequence[StudyView], shown: Chart, title: str) -> tuple[bytes, bytes]:
    """The fronts as (PNG, SVG)."""
    return draw_images(lambda figure: _draw(figure, studies, shown, title))


def _draw(figure: "Figure", studies: Sequence[StudyView], shown: Chart, title: str) -> None:
    figure.text(0.012, 0.975, one_line(title, 90), va="top", fontsize=12, fontweight="bold")
    if not shown.panels:
        figure.text(0.5, 0.5, "No study has a front yet.", ha="center", fontsize=11, color="#444444")
        return
    all_axes = figure.subplots(1, len(shown.panels), sharey=True, squeeze=False)[0]
    figure.subplots_adjust(left=0.07, right=0.985, top=0.80, bottom=0.125, wspace=0.06)
    for index, (axes, panel) in enumerate(zip(all_axes, shown.panels, strict=True)):
        _axes(axes, studies, shown, panel, first=index == 0)
    _legend(figure, shown)


def _axes(axes: "Axes", studies: Sequence[StudyView], shown: Chart, panel: Panel, *, first: bool) -> None:
    if panel.log:
        axes.set_xscale("log")
        log_ticks(axes, panel.x_range)
    axes.set_xlim(*panel.x_range)
    axes.set_ylim(*shown.y_range)
    axes.set_xlabel(axis_title(studies[0], panel.x))
    if first:
        axes.set_ylabel(axis_title(studies[0], shown.y, *studies))
    axes.grid(color="#EEEEEE", lw=0.8)
    axes.set_axisbelow(True)
    step: Literal["pre", "post"] = "pre" if studies[0].objectives.get(panel.x) == "maximize" else "post"
    for mark, line in zip(shown.marks, panel.lines, strict=True):
        for trials, size, alpha in ((line.quiet, 16, 0.25), (line.front, 52, 1.0)):
            axes.scatter(
                [trial.metrics[panel.x] for trial in trials],
                [trial.metrics[shown.y] for trial in trials],
                s=size,
                marker=MARKERS[mark.shape],
                color=mark.light,
                edgecolors="white" if alpha == 1 else "none",
                linewidths=0.8,
                alpha=alpha,
                zorder=3 + alpha,
                rasterized=len(trials) > 500,  # many points as pixels, to keep the SVG small
            )
        if line.steps:
            xs, ys = zip(*line.steps, strict=True)
            axes.step(xs, ys, where=step, color=mark.light, lw=1.3, zorder=3)


def _legend(figure: "Figure", shown: Chart) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], marker=MARKERS[mark.shape], color=mark.light, markersize=7, label=one_line(mark.name, 40))
        for mark in shown.marks
    ]
    handles.append(
        Line2D([], [], linestyle="none", marker="o", color="#888888", alpha=0.3, markersize=5, label="not on its front")
    )
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.004, 0.935),
        ncols=min(7, len(handles)),
        frameon=False,
        fontsize=8,
        handletextpad=0.4,
        columnspacing=1.6,
    )
