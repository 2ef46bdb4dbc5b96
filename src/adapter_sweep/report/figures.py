"""front.png and front.svg: the front in two panels, for a page that nobody hovers over."""

from typing import TYPE_CHECKING, Any

from adapter_sweep.records import StudyView
from adapter_sweep.report.drawing import MARKERS, draw_images, log_ticks
from adapter_sweep.report.labels import place_labels
from adapter_sweep.report.picture import Panel, Picture, axis_title, picture
from adapter_sweep.report.wording import metric_name, number, one_line

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

__all__ = ["front_images"]

_MANY = 2_000  # quiet points beyond this are drawn as pixels in the SVG, to keep it small
_LABELS = 12  # labels a panel at most


def front_images(study: StudyView) -> tuple[bytes, bytes]:
    """The picture of the front as (PNG, SVG); the same study gives the same bytes."""
    return draw_images(lambda figure: _draw(figure, study, picture(study)))


def _draw(figure: "Figure", study: StudyView, shown: Picture) -> None:
    figure.text(0.012, 0.975, one_line(study.name, 70), va="top", fontsize=12, fontweight="bold")
    if not shown.panels:
        figure.text(0.5, 0.5, one_line(shown.answer.headline), ha="center", fontsize=11, color="#444444")
        return
    all_axes = figure.subplots(1, len(shown.panels), sharey=True, squeeze=False)[0]
    figure.subplots_adjust(left=0.07, right=0.985, top=0.80, bottom=0.125, wspace=0.06)
    for index, (axes, panel) in enumerate(zip(all_axes, shown.panels, strict=True)):
        _axes(axes, study, shown, panel, first=index == 0)
    _legend(figure, study, shown)
    figure.canvas.draw()
    for index, (axes, panel) in enumerate(zip(all_axes, shown.panels, strict=True)):
        _label(axes, shown, panel, first=index == 0)


def _axes(axes: "Axes", study: StudyView, shown: Picture, panel: Panel, *, first: bool) -> None:
    if panel.log:
        axes.set_xscale("log")
        log_ticks(axes, panel.x_range)
    axes.set_xlim(*panel.x_range)
    axes.set_ylim(*shown.y_range)
    axes.set_xlabel(axis_title(study, panel.x))
    if first:
        axes.set_ylabel(axis_title(study, shown.y))
    axes.grid(color="#EEEEEE", lw=0.8)
    axes.set_axisbelow(True)
    if shown.band:
        axes.axhspan(*shown.band, color="#F3EBD3", lw=0, zorder=0.5)
    if panel.noise is not None:
        axes.axvspan(1 - panel.noise, 1 + panel.noise, color="#E3E3E3", lw=0, zorder=0.6)
    for value in shown.anchors.values():
        axes.axhline(value, color="#777777", lw=0.8, ls=(0, (4, 3)), zorder=1)
    if panel.line:
        xs, ys = [x for x, _ in panel.line], [y for _, y in panel.line]
        axes.step(xs, ys, where="post" if panel.step == "post" else "pre", color="#555555", lw=1.1, zorder=2)
    quiet = [point for point in panel.points if not point.on_front]
    for index, group in enumerate(shown.groups):
        marker = MARKERS[group.shape]
        mine = [point for point in quiet if point.group == index]
        axes.scatter(
            [p.x for p in mine],
            [p.y for p in mine],
            s=22 if len(quiet) < 500 else 8,
            marker=marker,
            facecolors=group.light,
            edgecolors="none",
            alpha=0.30 if len(quiet) < 500 else 0.15,
            zorder=3,
            rasterized=len(quiet) > _MANY,
        )
        mine = [point for point in panel.points if point.on_front and point.group == index]
        for point in mine:
            if point.low is not None and point.high is not None:
                axes.hlines(point.y, point.low, point.high, color=group.light, lw=1.2, alpha=0.6, zorder=3.5)
            if point.y_interval is not None:
                axes.vlines(point.x, *point.y_interval, color=group.light, lw=1.2, alpha=0.6, zorder=3.5)
        axes.scatter(
            [p.x for p in mine],
            [p.y for p in mine],
            s=58,
            marker=marker,
            color=group.light,
            edgecolors="white",
            linewidths=0.9,
            zorder=4,
        )
    for trial in (shown.answer.best, shown.answer.near):
        for point in panel.points:
            if trial is not None and point.trial.number == trial.number:
                axes.scatter(point.x, point.y, s=190, facecolors="none", edgecolors="#111111", linewidths=1.3, zorder=5)


def _label(axes: "Axes", shown: Picture, panel: Panel, *, first: bool) -> None:
    """Names of lines and bands at the edges, then as many points as find room, the answer's two first."""
    notes: list[Text] = []
    small: dict[str, Any] = {"fontsize": 7, "color": "#666666"}
    right: dict[str, Any] = {**small, "ha": "right", "zorder": 6}
    if first:
        for name, value in shown.anchors.items():
            words = f"{name} {number(shown.y, value)}"
            notes.append(axes.annotate(words, (0.995, value), xycoords=("axes fraction", "data"), va="bottom", **right))
        for index, (name, value) in enumerate(shown.beyond.items()):
            below = value < shown.y_range[0]
            words = f"{'↓' if below else '↑'} {name} {number(shown.y, value)}"
            height = 0.012 + 0.04 * index if below else 0.96 - 0.04 * index
            notes.append(axes.annotate(words, (0.995, height), xycoords="axes fraction", **right))
    if panel.noise is not None:
        words = f"noise floor ± {panel.noise:.3f}"
        notes.append(
            axes.annotate(
                words,
                (1, 0.985),
                xycoords=("data", "axes fraction"),
                ha="center",
                va="top",
                rotation=90,
                **small,
            )
        )
    boxes = [note.get_window_extent() for note in notes]
    chosen = [trial.number for trial in (shown.answer.best, shown.answer.near) if trial is not None]
    members = [point for point in panel.points if point.on_front]
    members.sort(key=lambda p: (chosen.index(p.trial.number) if p.trial.number in chosen else 2, -p.y))
    # Trials of one architecture and score share a point: one label speaks for them.
    once = {(p.x, p.y, p.label): p for p in reversed(members)}
    members = [p for p in members if once[p.x, p.y, p.label] is p]
    labels = [(p.x, p.y, p.label, p.trial.number in chosen) for p in members[:_LABELS]]
    place_labels(axes, labels, [(p.x, p.y) for p in members], boxes)


def _legend(figure: "Figure", study: StudyView, shown: Picture) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    def dot(marker: str, **look: object) -> Line2D:
        return Line2D([], [], linestyle="none", marker=marker, **look)  # type: ignore[arg-type]

    entries: list[tuple[Artist, str]] = [
        (dot(MARKERS[group.shape], color=group.light, markersize=7), f"{shown.group_by} {group.name}")
        for group in shown.groups
        if shown.group_by
    ]
    entries.append((dot("o", color="#888888", markersize=7), "on the front"))
    entries.append((dot("o", color="#888888", alpha=0.3, markersize=5, markeredgewidth=0), "dominated"))
    if any(point.y_interval for panel in shown.panels for point in panel.points):
        entries.append((Line2D([], [], color="#888888", lw=1.2, alpha=0.6), "95 % interval"))
    if shown.answer.best:
        words = "best" + (", and cheapest within one standard error" if shown.answer.near else "")
        look = {
            "markerfacecolor": "none",
            "markeredgecolor": "#111111",
            "markersize": 11,
            "markeredgewidth": 1.3,
        }
        entries.append((dot("o", **look), words))
    if shown.band:
        entries.append((Patch(color="#F3EBD3"), f"within one standard error of the best {metric_name(shown.y, study)}"))
    figure.legend(
        [handle for handle, _ in entries],
        [words for _, words in entries],
        loc="upper left",
        bbox_to_anchor=(0.004, 0.935),
        ncols=max(4, -(-len(entries) // 3)),  # three rows: more would reach into the panels
        frameon=False,
        fontsize=8,
        handletextpad=0.4,
        columnspacing=1.6,
    )
