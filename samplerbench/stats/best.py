"""The set of the best: every cell that may be the best, with the stated confidence.

Multiple comparisons with the best (Hsu 1984), with the joint errors of the estimates drawn as in `multipliers`. Cell i
is left out where some j is better by more than chance explains: max over j of (θ_i - θ_j) / se_ij > c_i, c_i the
quantile of max over j of (G_i - G_j) / se_ij. The true best is left out with a chance of at most 1 - confidence,
whichever it is. Of more than 1,000 cells each is compared with the leader alone, by Bonferroni's quantile, which keeps
a few more.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .estimate import Estimate
from .multipliers import DRAWS, JointErrors

__all__ = ["best_set"]

Array = NDArray[np.float64]

MANY = 1000


def best_set(
    estimates: Sequence[Estimate],
    direction: Literal["lower", "higher"],
    streams: Sequence[Hashable],
    *,
    extrapolate: bool,
    confidence: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[bool | None]:
    """[K]: whether each may be the best; None where its error is not known, so that nothing can be said.

    direction: whether lower or higher is better. streams: as `simultaneous` has them. extrapolate: compare the values
    at infinitely many samples, where all have halves. Raises ValueError for a confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence lies between 0 and 1, got {confidence}")
    members = [k for k, one in enumerate(estimates) if one.se is not None]
    verdict: list[bool | None] = [None if one.se is None else False for one in estimates]
    if not members:
        return verdict
    known = [estimates[k] for k in members]
    extrapolate = extrapolate and all(one.halves is not None for one in known)
    values = np.array([one.at_infinity if extrapolate else one.value for one in known], dtype=np.float64)
    if direction == "higher":
        values = -values
    joint = JointErrors(known, [streams[k] for k in members], extrapolate)
    # c lies between the quantile for one rival and Bonferroni's for all, so most cells need no draw
    least = NormalDist().inv_cdf(confidence)
    most = NormalDist().inv_cdf(1 - (1 - confidence) / max(len(known) - 1, 1))
    leader = int(np.argmin(values))
    open_rows: list[tuple[int, float, Array]] = []
    everyone = np.arange(len(known))

    def against(i: int) -> Array:
        return joint.of_differences(np.full(len(known), i), everyone)

    near = np.flatnonzero(_errors_behind(values - values[leader], against(leader)) <= most).tolist()
    if len(known) > MANY:
        for i in near:
            verdict[members[i]] = True
        return verdict
    for i in near:
        errors = against(i)
        worst = float(_errors_behind(values[i] - values, errors).max())
        if least < worst <= most:
            open_rows.append((i, worst, np.where(errors > 0, errors, math.inf)))
        verdict[members[i]] = worst <= least
    exceeded = np.zeros(len(open_rows), dtype=np.int64)
    for block in joint.draws(draws, seed) if open_rows else ():
        for row, (i, worst, errors) in enumerate(open_rows):
            exceeded[row] += ((((block[:, [i]] - block) / errors).max(axis=1)) >= worst).sum()
    for (i, _, _), count in zip(open_rows, exceeded, strict=True):
        verdict[members[i]] = bool(count > (1 - confidence) * draws)
    return verdict


def _errors_behind(gaps: Array, errors: Array) -> Array:
    """gaps / errors; where the error is 0, 0 for no gap, else infinitely many in the gap's direction."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(gaps == 0, 0.0, gaps / errors)
