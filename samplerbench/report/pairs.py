"""All pairs of samplers at one number of evaluations, judged as one family."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from .compare import Judged, judge
from .shown import Shown
from .view import Matrix, Pair

__all__ = ["LARGEST", "matrices"]

LARGEST = 24  # samplers of a matrix; a larger one is read by nobody


def matrices(rows: Shown) -> list[Matrix]:
    """A matrix a column of the table that has two cells or more, the best sampler first: by what the differences are
    of, so that order and differences agree. All its intervals hold at once with 95 %.
    """
    metric, proof = rows.metric, rows.proof
    labels = rows.known["label"].tolist()
    found = []
    for column in rows.columns:
        places = _ordered(rows, rows.places(column))
        kept = places[:LARGEST]
        if len(kept) < 2:
            continue
        pairs = [(kept[j], kept[i]) for i in range(len(kept)) for j in range(i)]
        judged = judge(proof, pairs, ["all"] * len(pairs), metric)
        lines, at = [], 0
        for i in range(len(kept)):
            lines.append(tuple(_pair(one, proof.estimates[kept[i]].n) for one in judged[at : at + i]))
            at += i
        size = max(one.size for one in judged)
        names = tuple(labels[k] for k in kept)
        found.append(Matrix(column, names, tuple(lines), size, _infinite(judged), len(places) - len(kept)))
    return found


def _ordered(rows: Shown, places: Sequence[int]) -> list[int]:
    """The best first: at infinitely many samples where the metric is decided there and all cells have what it takes."""
    estimates, sign = [rows.proof.estimates[k] for k in places], 1 if rows.metric.direction == "lower" else -1
    values = [one.at_infinity for one in estimates] if rows.metric.extrapolates else []
    if not values or None in values:
        values = [one.value for one in estimates]
    order = sorted(range(len(places)), key=lambda i: sign * (values[i] or 0.0))
    return [places[i] for i in order]


def _infinite(judged: Sequence[Judged]) -> Literal["all", "some", "none"]:
    known = [one.tested.difference.extrapolated for one in judged if one.how != "same"]
    return "all" if known and all(known) else "some" if any(known) else "none"


def _pair(judged: Judged, samples: int) -> Pair:
    half = judged.tested.half_width
    needed = None
    if judged.verdict == "undecided" and half and judged.delta:
        needed = _rounded_up(samples * (half / judged.delta) ** 2)
    return Pair(judged.delta, half, judged.verdict, needed)


def _rounded_up(count: float) -> int:
    """To two digits."""
    unit = 10 ** max(math.floor(math.log10(count)) - 1, 0)
    return math.ceil(count / unit) * unit
