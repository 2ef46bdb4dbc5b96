"""Labels beside points without overlap: tries places around each point and leaves out what fits nowhere."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

__all__ = ["place_labels"]

# Offsets in points, horizontal and vertical alignment: above left first, where a front leaves room.
_PLACES: tuple[tuple[float, float, str, str], ...] = (
    (-5, 6, "right", "bottom"),
    (5, 6, "left", "bottom"),
    (0, 8, "center", "bottom"),
    (8, 0, "left", "center"),
    (6, -7, "left", "top"),
    (0, -9, "center", "top"),
    (-8, 0, "right", "center"),
    (-10, 18, "right", "bottom"),
    (10, 18, "left", "bottom"),
    (14, -18, "left", "top"),
    (-6, -9, "right", "top"),
    (-10, 32, "right", "bottom"),
    (16, -32, "left", "top"),
)


def place_labels(
    axes: "Axes",
    labels: Sequence[tuple[float, float, str, bool]],
    marks: Sequence[tuple[float, float]],
    taken: "Sequence[Bbox]" = (),
) -> int:
    """Write labels beside their points.

    Args:
        axes: a drawn axes whose limits are final.
        labels: (x, y, text, bold), the most important first.
        marks: points no label may cover.
        taken: boxes in display pixels no label may cover.

    Returns:
        How many labels found a place.
    """
    figure = axes.figure
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    scale = figure.dpi / 72
    window = axes.get_window_extent(renderer)
    points = [tuple(axes.transData.transform(mark)) for mark in marks]
    boxes: list[Bbox] = list(taken)
    placed = 0
    for x, y, text, bold in labels:
        for dx, dy, horizontal, vertical in _PLACES:
            note: Annotation = axes.annotate(
                text,
                (x, y),
                xytext=(dx, dy),
                textcoords="offset points",
                ha=horizontal,
                va=vertical,
                fontsize=8.5 if bold else 7.5,
                fontweight="bold" if bold else "normal",
                color="#111111" if bold else "#444444",
                zorder=6,
                arrowprops={"arrowstyle": "-", "color": "#777777", "lw": 0.6} if abs(dy) > 10 else None,
                bbox={"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.75},
            )
            # The words' own box: an arrow to the point would make every far label overlap its neighbours.
            note.update_positions(renderer)
            box = super(type(note), note).get_window_extent(renderer).padded(1.5 * scale)
            inside = window.x0 <= box.x0 and box.x1 <= window.x1 and window.y0 <= box.y0 and box.y1 <= window.y1
            clear = not any(box.overlaps(other) for other in boxes)
            if inside and clear and not any(box.contains(px, py) for px, py in points):
                boxes.append(box)
                placed += 1
                break
            note.remove()
    return placed
