"""Charts as SVG. Colours are classes, which the page's style sheet fills in for light, dark and print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from ..styles import MARKERS, Style, styles
from ..view import Axis, Chart, Floor, Point, Series
from ..words import error_of, figure

__all__ = ["chart_svg", "marker_defs", "swatch"]

WIDTH, HEIGHT = 600, 400
LEFT, RIGHT, TOP, BOTTOM = 62, 10, 12, 52
LINE = 13  # between two names at the ends of curves, which stand right of the chart where the page has the room
LONGEST = 36  # characters of such a name


def chart_svg(chart: Chart) -> str:
    """A chart. Points are `<use>` elements in the order of the series, each with its number as `data-i`; published
    figures have theirs as `data-p`.
    """
    plot = _Plot(chart)
    about = f"{chart.title}. The same figures are in the table of results."
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(about)}"',
        f' data-chart="{escape(chart.name)}">',
        plot.frame(),
        *(plot.floor(floor) for floor in chart.floors),
        plot.front() if chart.kind == "front" else plot.curves(),
        *(plot.published(number) for number in range(len(chart.published))),
        "</svg>",
    ]
    return "".join(part for part in parts if part)


def marker_defs() -> str:
    """The markers, drawn once and used everywhere."""
    shapes = "".join(f'<path id="m{i}" d="{SHAPES[name]}"/>' for i, name in enumerate(MARKERS))
    return f'<svg class="defs" aria-hidden="true" width="0" height="0"><defs>{shapes}</defs></svg>'


def swatch(style: Style) -> str:
    """A short piece of a curve with its marker, for a legend."""
    return (
        f'<svg class="swatch {series_class(style)}" viewBox="0 0 36 12" aria-hidden="true">'
        f'<path class="l" d="M1 6H35"/><use href="#m{MARKERS.index(style.marker)}" x="18" y="6"/></svg>'
    )


def series_class(style: Style) -> str:
    """The classes that say a series' colour, dash and kind of marker."""
    colour = "x" if style.colour is None else str(style.colour)
    fill = {"full": "", "none": " o", "pale": " p"}[style.fill]
    return f"c{colour} d{DASHES.index(style.dash)}{fill}{' n' if style.thin else ''}"


DASHES = ((), (1.5, 2.5), (7.0, 2.5), (6.0, 2.0, 1.5, 2.0))  # those of `styles`, by the number of their class
SHAPES = {
    "circle": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "square": "M-3.5-3.5h7v7h-7z",
    "triangle": "M0-4.6L4.4 3.4h-8.8z",
    "diamond": "M0-5L4.4 0 0 5-4.4 0z",
    "nabla": "M0 4.6L-4.4-3.4h8.8z",
    "hexagon": "M-4.4 0L-2.2-3.8h4.4L4.4 0 2.2 3.8h-4.4z",
    "star": "M0-5.4L1.4-1.7 5.2-1.7 2.2.7 3.3 4.4 0 2.2-3.3 4.4-2.2.7-5.2-1.7-1.4-1.7z",
}


class _Plot:
    """One chart's coordinates and what is drawn in them."""

    def __init__(self, chart: Chart) -> None:
        self.chart = chart
        self.styles = styles(chart.series)

    def x(self, value: float) -> float:
        return LEFT + self.chart.x.place(value) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Within the plot: what lies outside is put on its edge."""
        place = min(max(self.chart.y.place(value), 0.0), 1.0)
        return HEIGHT - BOTTOM - place * (HEIGHT - TOP - BOTTOM)

    def frame(self) -> str:
        """Lines at the ticks, their numbers, and what the axes are."""
        x, y = self.chart.x, self.chart.y
        right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
        lines = "".join(f"M{LEFT} {_n(self.y(tick))}H{right}" for tick in y.ticks)
        lines += "".join(f"M{_n(self.x(tick))} {TOP}V{bottom}" for tick in x.ticks)
        numbers = "".join(
            f'<text x="{LEFT - 6}" y="{_n(self.y(tick) + 4)}" class="e">{_tick(tick)}</text>' for tick in y.ticks
        )
        rare = _rare(x)
        numbers += "".join(
            f'<text x="{_n(self.x(tick))}" y="{bottom + 17}" class="m{"" if tick in rare else " often"}">'
            f"{_tick(tick)}</text>"
            for tick in x.ticks
        )
        middle = (TOP + bottom) / 2
        titles = (
            f'<text class="m t" x="{_n((LEFT + right) / 2)}" y="{HEIGHT - 12}">{escape(x.title)}</text>'
            f'<text class="m t" transform="translate(15 {_n(middle)}) rotate(-90)">{escape(y.title)}</text>'
        )
        return f'<g class="axes"><path d="{lines}"/>{numbers}{titles}</g>'

    def floor(self, floor: Floor) -> str:
        """A dashed line with its short name below, where few curves are; where it lies below the axis, the name alone,
        with an arrow.
        """
        below = self.chart.y.place(floor.value) < 0
        at = self.y(floor.value)
        name = f"{'↓ ' if below else ''}{floor.label.partition(',')[0]}: {figure(floor.value)}"
        text = at + 13 if at < HEIGHT - BOTTOM - 18 else at - 5
        line = "" if below else f'<path d="M{LEFT} {_n(at)}H{WIDTH - RIGHT}"/>'
        return f'<g class="floor">{line}<text x="{LEFT + 6}" y="{_n(text)}">{escape(name)}</text></g>'

    def curves(self) -> str:
        """Every series: its line, its whiskers, its points, its name at its end."""
        room = len(self.chart.series) <= HEIGHT // LINE
        ends = _apart([self.y(one.points[-1].y) for one in self.chart.series])
        groups, number = [], 0
        for i, (one, style) in enumerate(zip(self.chart.series, self.styles, strict=True)):
            line = "L".join(f"{_n(self.x(p.x))} {_n(self.y(p.y))}" for p in one.points)
            marker = MARKERS.index(style.marker)
            points = self._points(one.points, number, marker)
            fit = self._fit(one) if one.slope else ""
            name = f'<text x="{WIDTH + 14}" y="{_n(ends[i] + 3.5)}">{escape(_end(one))}</text>'
            end = f'<g class="end"><use href="#m{marker}" x="{WIDTH + 6}" y="{_n(ends[i])}"/>{name}</g>' if room else ""
            groups.append(
                f'<g class="s {series_class(style)}" data-s="{i}"><path class="l" d="M{line}"/>{fit}'
                f"{self._whiskers(one.points)}{points}{end}</g>"
            )
            number += len(one.points)
        return "".join(groups)

    def _points(self, points: Iterable[Point], number: int, marker: int) -> str:
        return "".join(
            f'<use href="#m{marker}" x="{_n(self.x(p.x))}" y="{_n(self.y(p.y))}" data-i="{number + k}"/>'
            for k, p in enumerate(points)
        )

    def _whiskers(self, points: Iterable[Point]) -> str:
        path = "".join(
            f"M{_n(self.x(p.x))} {_n(self.y(p.low))}V{_n(self.y(p.high))}"
            for p in points
            if p.low is not None and p.high is not None
        )
        return f'<path class="w" d="{path}"/>' if path else ""

    def _fit(self, one: Series) -> str:
        """The fitted line, from the first point to the last."""
        assert one.slope is not None
        ends = [(one.points[k].x, one.slope.at(one.points[k].x)) for k in (0, -1)]
        return '<path class="fit" d="M' + "L".join(f"{_n(self.x(x))} {_n(self.y(y))}" for x, y in ends) + '"/>'

    def front(self) -> str:
        """The staircase of the front over the faded rest. What may be the best of its column is not faded."""
        ahead: list[Point] = []
        groups, number = [], 0
        for i, (one, style) in enumerate(zip(self.chart.series, self.styles, strict=True)):
            marker = MARKERS.index(style.marker)
            classes = series_class(style)
            parts = []
            for k, point in enumerate(one.points):
                kind = "" if point.front else ' class="faded"' if point.behind else ' class="tie"'
                use = self._points([point], number + k, marker).replace("<use", f"<use{kind}", 1)
                parts.append(use if point.behind else self._whiskers([point]) + use)
                if point.front:
                    ahead.append(point)
            groups.append(f'<g class="s {classes}" data-s="{i}">{"".join(parts)}</g>')
            number += len(one.points)
        ahead.sort(key=lambda point: point.x)
        return f"{self._staircase(ahead)}{''.join(groups)}{self._places(ahead)}"

    def _staircase(self, ahead: Sequence[Point]) -> str:
        first, *rest = ahead
        lower = self.chart.y.title.endswith("(lower is better)")
        path = f"M{_n(self.x(first.x))} {TOP if lower else HEIGHT - BOTTOM}V{_n(self.y(first.y))}"
        path += "".join(f"H{_n(self.x(point.x))}V{_n(self.y(point.y))}" for point in rest)
        return f'<path class="stairs" d="{path}H{WIDTH - RIGHT}"/>'

    def _places(self, ahead: Sequence[Point]) -> str:
        """The number of each point on the front in the list below the chart."""
        texts = "".join(
            f'<text x="{_n(self.x(point.x) + 4)}" y="{_n(self.y(point.y) - 6)}">{number}</text>'
            for number, point in enumerate(ahead, 1)
        )
        return f'<g class="places" aria-hidden="true">{texts}</g>'

    def published(self, number: int) -> str:
        """A figure of the literature, as a hollow diamond."""
        one = self.chart.published[number]
        shape = MARKERS.index("diamond")
        return f'<use class="pub" href="#m{shape}" x="{_n(self.x(one.x))}" y="{_n(self.y(one.y))}" data-p="{number}"/>'


def _apart(wanted: Sequence[float]) -> list[float]:
    """Heights for names, as near to those that are wanted as leaves a line for each, and none above the plot."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed = list(wanted)
    lowest = float(TOP)
    for i in order:
        placed[i] = max(wanted[i], lowest)
        lowest = placed[i] + LINE
    highest = float(HEIGHT)
    for i in reversed(order):
        placed[i] = min(placed[i], highest)
        highest = placed[i] - LINE
    return placed


def _end(one: Series) -> str:
    """The name at the end of a curve, cut where it is too long; the legend has it whole."""
    if one.slope is None:
        return one.label if len(one.label) <= LONGEST else f"{one.label[: LONGEST - 1]}…"
    error = "" if one.slope.se is None else f" ±{error_of(one.slope.se)}"
    return f"{one.label}: slope {one.slope.exponent:.2f}{error}".replace(" -", " −")


def _rare(axis: Axis) -> set[float]:
    """The ticks that a narrow screen has room for."""
    kept: list[float] = []
    for tick in axis.ticks:
        if not kept or axis.place(tick) - axis.place(kept[-1]) > 0.085:
            kept.append(tick)
    return set(kept)


def _tick(value: float) -> str:
    return f"{value:g}" if abs(value) < 1e5 else f"{value:.0e}"


def _n(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")
