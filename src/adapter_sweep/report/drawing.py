"""What the report's static pictures have in common: the style, the marks, the axes."""

import io
import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["MARKERS", "draw_images", "log_ticks"]

MARKERS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "triangle-up": "^",
    "triangle-down": "v",
    "pentagon": "p",
    "star": "*",
    "hexagon": "h",
    "triangle-left": "<",
    "triangle-right": ">",
    "cross": "X",
}


def draw_images(draw: "Callable[[Figure], None]") -> tuple[bytes, bytes]:
    """What `draw` draws, as (PNG, SVG); the same drawing gives the same bytes, whatever the user's own style."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "svg.hashsalt": "adapter-sweep",
        "svg.fonttype": "path",
        "text.parse_math": False,  # a dollar sign in a user's words is a dollar sign
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": "#888888",
        "axes.unicode_minus": False,
    }
    defaults: dict[Any, Any] = {**mpl.rcParamsDefault, **style, "backend": "agg"}
    with mpl.rc_context(defaults), warnings.catch_warnings():
        # A user's words may hold characters the font lacks: they are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(11, 4.9), dpi=150, facecolor="white")
        FigureCanvasAgg(figure)
        draw(figure)
        png, svg = io.BytesIO(), io.BytesIO()
        figure.savefig(png, format="png", metadata={"Software": None})
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    return png.getvalue(), svg.getvalue()


def log_ticks(axes: "Axes", x_range: tuple[float, float]) -> None:
    """Few, readable ticks on a logarithmic x axis: `20k`, `50k`, `100k`."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = x_range
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high / low < 300 else (1,)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))


def _short(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
