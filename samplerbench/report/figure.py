"""Charts as figures for papers, by matplotlib: vector files, read in grey, one or two columns wide."""

from __future__ import annotations

import io
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal

from ..errors import UserError, unknown
from .styles import COLOURS, GREY, styles
from .view import Axis, Chart, Floor
from .words import error_of
from .words import figure as number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .styles import Style

__all__ = ["FORMATS", "Width", "drawn", "format_of"]

Width = Literal["one", "two"]
FORMATS = ("pdf", "svg", "png")
INCHES: dict[Width, float] = {"one": 3.35, "two": 6.9}  # of a column, and of two with the gap between them
HEIGHT: dict[Width, float] = {"one": 2.3, "two": 3.0}  # of the plot and its axes, without the legend
LEFT, BOTTOM, RIM = 0.52, 0.4, 0.06  # inches that the axes' numbers and titles take, and what is left free elsewhere
MOST_COLUMNS = 4  # of the legend
POINTS = 7.0  # of the text
MARKERS = {
    "circle": "o",
    "square": "s",
    "triangle": "^",
    "diamond": "D",
    "nabla": "v",
    "hexagon": "h",
    "star": "*",
}


def format_of(path: PurePath) -> str:
    """The format that a file's ending names. Raises UserError for one that is not there."""
    ending = path.suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        if not ending:
            raise UserError(f"--out {path} has no ending that says a format; expected .{', .'.join(FORMATS)}")
        raise unknown("format of a plot", ending, FORMATS)
    return ending


def drawn(chart: Chart, format: str, width: Width = "one") -> bytes:
    """The chart as a file of that format. The same chart makes the same bytes, with the same matplotlib.

    Raises UserError where matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise UserError("samplerbench plot needs matplotlib; install it, or samplerbench with the extra plot") from None
    rules: Any = {
        "font.size": POINTS,
        "axes.linewidth": 0.6,
        "pdf.fonttype": 42,  # letters stay letters
        "svg.fonttype": "none",
        "svg.hashsalt": chart.name,
        "savefig.dpi": 300,
    }
    with matplotlib.rc_context(rules):
        whole = _figure(chart, width)
        buffer = io.BytesIO()
        dated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(format, {})
        whole.savefig(buffer, format=format, metadata=dated)
    return buffer.getvalue()


def _figure(chart: Chart, width: Width) -> Figure:
    from matplotlib.figure import Figure

    wide = INCHES[width]
    whole = Figure(figsize=(wide, HEIGHT[width]))
    axes = whole.add_axes((0, 0, 1, 1))
    _axes(axes, chart)
    for floor in chart.floors:
        _floor(axes, chart.y, floor)
    (_front if chart.kind == "front" else _curves)(axes, chart)
    if chart.published:
        x, y = [one.x for one in chart.published], [one.y for one in chart.published]
        axes.plot(x, y, "D", mfc="none", mec="black", mew=0.6, ms=4, ls="none", label="published, of other conditions")
    legend = _legend_below(whole, axes)
    tall = HEIGHT[width] + legend
    whole.set_size_inches(wide, tall)
    axes.set_position(
        (LEFT / wide, (legend + BOTTOM) / tall, 1 - (LEFT + RIM) / wide, (HEIGHT[width] - BOTTOM - RIM) / tall)
    )
    return whole


def _legend_below(whole: Figure, axes: Axes) -> float:
    """The legend at the lower edge, in as many columns as the width has room for; its height in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    handles, labels = axes.get_legend_handles_labels()
    renderer = FigureCanvasAgg(whole).get_renderer()  # type: ignore[no-untyped-call]
    for columns in range(min(len(handles), MOST_COLUMNS), 0, -1):
        legend = whole.legend(
            handles,
            labels,
            loc="lower center",
            ncols=columns,
            frameon=False,
            handlelength=3.2,
            columnspacing=1.2,
            labelspacing=0.25,
            borderaxespad=0.1,
            fontsize=POINTS - 0.5,
        )
        box = legend.get_window_extent(renderer)
        if box.width <= whole.bbox.width or columns == 1:
            break
        legend.remove()
    return float(box.height) / whole.dpi


def _axes(axes: Axes, chart: Chart) -> None:
    for name, axis in (("x", chart.x), ("y", chart.y)):
        if axis.log:
            axes.set(**{f"{name}scale": "log"})
        axes.set(**{f"{name}lim": (axis.low, axis.high), f"{name}label": axis.title})
        axes.set(**{f"{name}ticks": _thinned(axis)})
        getattr(axes, f"{name}axis").set_ticklabels([f"{tick:g}" for tick in _thinned(axis)])
        getattr(axes, f"{name}axis").set_minor_locator(_no_ticks())
    axes.grid(color="0.87", linewidth=0.4)
    axes.set_axisbelow(True)
    axes.tick_params(width=0.5, length=2, pad=2)
    axes.spines[["top", "right"]].set_visible(False)


def _thinned(axis: Axis) -> list[float]:
    """Ticks whose numbers do not touch in a narrow figure."""
    kept: list[float] = []
    for tick in axis.ticks:
        if not kept or axis.place(tick) - axis.place(kept[-1]) > 0.06:
            kept.append(tick)
    return kept


def _no_ticks() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()


def _line(style: Style) -> dict[str, Any]:
    colour = GREY if style.colour is None else COLOURS[style.colour]
    return {
        "color": colour,
        "marker": MARKERS[style.marker],
        "markersize": 4.6 if style.marker == "star" else 3.4,
        "markeredgewidth": 0.7,
        "markerfacecolor": {"full": colour, "none": "white", "pale": "0.85"}[style.fill],
        "linewidth": 0.5 if style.thin else 0.9,
        "linestyle": (0, style.dash) if style.dash else "-",
    }


def _curves(axes: Axes, chart: Chart) -> None:
    for one, style in zip(chart.series, styles(chart.series), strict=True):
        look = _line(style)
        label = one.label
        if one.slope:
            error = "" if one.slope.se is None else f" ±{error_of(one.slope.se)}"
            label += f": slope {one.slope.exponent:.2f}{error}".replace(" -", " −")
            ends = [one.points[k].x for k in (0, -1)]
            axes.plot(ends, [one.slope.at(x) for x in ends], color=look["color"], lw=0.5, alpha=0.7)
        axes.plot([p.x for p in one.points], [p.y for p in one.points], label=label, **look)
        known = [(p.x, max(p.low, chart.y.low), p.high) for p in one.points if p.low is not None and p.high is not None]
        if known:
            x, low, high = zip(*known, strict=True)
            axes.vlines(x, low, high, color=look["color"], lw=0.7, zorder=1.8)  # behind hollow markers


def _front(axes: Axes, chart: Chart) -> None:
    """The staircase over the faded rest; the legend names whatever is not faded."""
    lower = chart.y.title.endswith("(lower is better)")
    ahead = sorted((p.x, p.y) for one in chart.series for p in one.points if p.front)
    x = [ahead[0][0], *(at for at, _ in ahead), chart.x.high]
    y = [chart.y.high if lower else chart.y.low, *(value for _, value in ahead), ahead[-1][1]]
    axes.step(x, y, where="post", color="black", lw=0.9)
    for one, style in zip(chart.series, styles(chart.series), strict=True):
        look = {**_line(style), "linestyle": "none"}
        parts = {
            1.0: [p for p in one.points if p.front],
            0.75: [p for p in one.points if not p.front and not p.behind],
            0.18: [p for p in one.points if p.behind],
        }
        named = next((alpha for alpha in (1.0, 0.75) if parts[alpha]), None)
        for alpha, points in parts.items():
            label = one.label if alpha == named else None
            if points:
                axes.plot([p.x for p in points], [p.y for p in points], alpha=alpha, label=label, **look)


def _floor(axes: Axes, axis: Axis, floor: Floor) -> None:
    below = axis.place(floor.value) < 0
    at = axis.low if below else floor.value
    if not below:
        axes.axhline(floor.value, color="black", lw=0.6, ls=(0, (6, 3)))
    text = f"{'↓ ' if below else ''}{floor.label}: {number(floor.value)}"
    axes.annotate(text, (0.01, at), xycoords=("axes fraction", "data"), xytext=(0, 2), textcoords="offset points")
