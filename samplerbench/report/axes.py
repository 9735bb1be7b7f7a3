"""Axes that fit what is drawn on them: where they begin and end, whether they are logarithmic, and their ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from .view import Axis, Floor, Point

__all__ = ["axis_of_costs", "axis_of_values"]

PAD = 0.05  # of the axis, left free at either end
NEAR = 4  # a floor that lies lower than the lowest figure by more than this factor does not stretch the axis
GAP = 0.042  # of the axis, between two ticks
STEPS = (1, 2, 5)


def axis_of_costs(title: str, values: Sequence[float], asked: Iterable[float] = ()) -> Axis:
    """A logarithmic axis for costs above 0, with ticks at those that were asked for, as far as there is room."""
    low, high = _padded(min(values), max(values))
    wanted = sorted({value for value in asked if low <= value <= high})
    axis = Axis(title, True, low, high, ())
    ticks = _apart(axis, wanted) if wanted else _round(low, high)
    return Axis(title, True, low, high, tuple(ticks))


def axis_of_values(
    title: str, points: Sequence[Point], floors: Sequence[Floor] = (), also: Sequence[float] = ()
) -> Axis:
    """An axis for a metric with its intervals: logarithmic where all values are above 0 and the largest is more than
    three times the smallest. An interval that reaches below half of its value is cut off there on a logarithmic axis.
    """
    values = [*(point.y for point in points), *also]
    log = min(values) > 0 and max(values) > 3 * min(values)
    lows = [max(p.low, p.y / 2) if log else p.low for p in points if p.low is not None]
    highs = [p.high for p in points if p.high is not None]
    near = [one.value for one in floors if not log or one.value * NEAR >= min(values)]
    low, high = min([*values, *lows, *near]), max([*values, *highs, *near])
    if log:
        low, high = _padded(low, high)
        return Axis(title, True, low, high, tuple(_round(low, high)))
    room = (high - low or abs(high) or 1.0) * PAD
    low, high = low - room, high + room
    return Axis(title, False, low, high, tuple(_even(low, high)))


def _padded(low: float, high: float) -> tuple[float, float]:
    factor = max((high / low) ** PAD, 1.08)
    return low / factor, high * factor


def _apart(axis: Axis, values: Sequence[float]) -> list[float]:
    """Those that are far enough from the one before, the last one always."""
    kept: list[float] = []
    for value in values:
        while kept and axis.place(value) - axis.place(kept[-1]) < GAP:
            if value != values[-1]:
                break
            kept.pop()
        else:
            kept.append(value)
    return kept


def _round(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, … between two numbers, or the powers of ten alone where those are enough; even ones between two
    that are near each other.
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [step * 10.0**power for power in powers for step in STEPS]
    inside = [value for value in every if low <= value <= high]
    tens = inside[:0] if len(inside) <= 10 else [v for v in inside if math.isclose(math.log10(v) % 1, 0, abs_tol=1e-9)]
    return tens or inside or _even(low, high)


def _even(low: float, high: float) -> list[float]:
    """Four to eight round numbers."""
    rough = (high - low) / 7
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step)
    return [float(f"{k * step:.10g}") for k in range(first, math.floor(high / step) + 1)]
