"""All pairs of samplers at one number of evaluations, judged as one family."""

from __future__ import annotations

import math

from .compare import Judged, judge
from .shown import Shown
from .view import Matrix, Pair

__all__ = ["LARGEST", "matrices"]

LARGEST = 24  # samplers of a matrix; a larger one is read by nobody


def matrices(rows: Shown) -> list[Matrix]:
    """A matrix a column of the table that has two cells or more, the best sampler first. All its intervals hold at once
    with 95 %.
    """
    metric, proof = rows.metric, rows.proof
    labels = rows.known["label"].tolist()
    found = []
    for column in rows.columns:
        sign = 1 if metric.direction == "lower" else -1
        places = sorted(rows.places(column), key=lambda k: sign * proof.estimates[k].value)
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
        found.append(Matrix(column, names, tuple(lines), size, len(places) - len(kept)))
    return found


def _pair(judged: Judged, samples: int) -> Pair:
    half = judged.tested.half_width
    verdict = "tie" if judged.verdict == "undecided" else judged.verdict
    needed = None
    if verdict == "tie" and half and judged.delta:
        needed = _rounded_up(samples * (half / judged.delta) ** 2)
    return Pair(judged.delta, half, verdict, needed)


def _rounded_up(count: float) -> int:
    """To two digits."""
    unit = 10 ** max(math.floor(math.log10(count)) - 1, 0)
    return math.ceil(count / unit) * unit
