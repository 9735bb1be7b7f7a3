"""How curves are told apart without colour: a colour a family, a dash an order, a marker each, open where stochastic.

The colours are Okabe and Ito's (2008), told apart by people with any kind of colour vision, without yellow, which is
not seen on white. Their markers and dashes differ too, so a chart is read in grey.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .view import Series

__all__ = ["COLOURS", "MARKERS", "Style", "styles"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # the last is white on black
GREY = "#8a8a8a"  # of families for which there is no colour left
MARKERS = ("circle", "square", "triangle", "diamond", "nabla", "hexagon", "star")


@dataclass(frozen=True)
class Style:
    """colour: its place in `COLOURS`; None for grey. dash: lengths of strokes and gaps in line widths; () for a line
    without gaps. fill: of the marker; pale, and a thin line, where what the sampler claims is not known.
    """

    colour: int | None
    marker: str
    dash: tuple[float, ...]
    fill: Literal["full", "none", "pale"]
    thin: bool = False


def styles(series: Sequence[Series]) -> list[Style]:
    """One a series. No two of a family have the same marker as long as there are markers, and those that are used less
    are taken first.
    """
    families = list(dict.fromkeys(one.family for one in series))
    colour = {family: i if i < len(COLOURS) else None for i, family in enumerate(families)}
    used: Counter[str] = Counter()
    taken: dict[str, Counter[str]] = {family: Counter() for family in families}
    found = []
    for one in series:
        marker = min(MARKERS, key=lambda name: (taken[one.family][name], used[name], MARKERS.index(name)))
        used[marker] += 1
        taken[one.family][marker] += 1
        fill: Literal["full", "none", "pale"] = "pale"
        if one.claims:
            fill = "none" if one.claims.stochastic else "full"
        found.append(Style(colour[one.family], marker, _dash(one), fill, thin=one.claims is None))
    return found


def _dash(one: Series) -> tuple[float, ...]:
    """By the order that is claimed: dots for the first, a whole line for the second, strokes above; strokes and dots
    where none is; a whole line, but a thin one, where nothing is known.
    """
    if one.claims is None:
        return ()
    order = one.claims.order
    if order is None:
        return (6.0, 2.0, 1.5, 2.0)
    return (1.5, 2.5) if order < 1.5 else () if order < 2.5 else (7.0, 2.5)
