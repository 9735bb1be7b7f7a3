"""Simultaneous intervals for a family of differences: all of them hold at once with the stated confidence.

The half-width of each is c times its standard error, c the quantile of max |G_other - G_base| / se over the family, G a
draw of the estimates' joint errors (`multipliers`). A verdict is read off its interval, so the two never disagree.
(Holm's verdicts beside pointwise intervals, as it was, contradicted each other in 40 % of null tables.) Correlations
are used: 20 samplers against one base cost less than 20 independent differences.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from .difference import Difference, difference
from .estimate import Estimate
from .multipliers import DRAWS, JointErrors, groups

__all__ = ["Simultaneous", "Tested", "simultaneous"]

MANY = 10_000


@dataclass(frozen=True)
class Tested:
    """A difference of a family.

    Attributes:
        difference: what is tested, its `delta`.
        half_width: of its simultaneous interval, delta ± half_width; None where its error is not known.
        p: adjusted for the family: the chance that any difference of a family without any is as many errors from 0.
    """

    difference: Difference
    half_width: float | None
    p: float | None

    @property
    def interval(self) -> tuple[float, float] | None:
        """(low, high)."""
        if self.half_width is None:
            return None
        return self.difference.delta - self.half_width, self.difference.delta + self.half_width

    @property
    def sign(self) -> int | None:
        """-1 where the interval lies below 0, 1 where it lies above, 0 where it does not exclude 0; None where there is
        no interval.
        """
        if self.half_width is None:
            return None
        delta = self.difference.delta
        return 0 if abs(delta) <= self.half_width else (1 if delta > 0 else -1)


@dataclass(frozen=True)
class Simultaneous:
    """A family of differences.

    Attributes:
        tested: in the order of the pairs.
        size: how many differences the confidence is shared by: those with an error above 0.
        critical: how many standard errors a half-width is; 1.96 for one difference at 95 %.
    """

    tested: tuple[Tested, ...]
    size: int
    critical: float
    confidence: float


def simultaneous(
    estimates: Sequence[Estimate],
    pairs: Sequence[tuple[int, int]],
    streams: Sequence[Hashable],
    *,
    extrapolate: bool,
    confidence: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Simultaneous:
    """Intervals for the differences `estimates[other] - estimates[base]` of all pairs (base, other), as one family.

    streams: of each estimate, whatever names its noise (for instance (seed, samples, reference)); two estimates of one
    name are paired, None is paired with nothing. extrapolate: as `difference` has it.

    A difference without an error has no interval. One of error 0 (the same result, or one that no sample changes) has
    an interval of width 0. Neither counts in the family. Raises ValueError for a confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence lies between 0 and 1, got {confidence}")
    group = groups(estimates, streams)
    differences = [
        difference(estimates[base], estimates[other], paired=group[base] == group[other], extrapolate=extrapolate)
        for base, other in pairs
    ]
    family = [i for i, d in enumerate(differences) if d.se]
    maxima = _maxima(estimates, streams, [pairs[i] for i in family], extrapolate, draws, seed)
    # the smallest order statistic that at most a share 1 - confidence of the draws exceed
    critical = float(maxima[max(math.ceil(confidence * draws - 1e-9), 1) - 1]) if family else math.nan
    tested = []
    for d in differences:
        if d.se is None:
            tested.append(Tested(d, None, None))
        elif d.se == 0:
            tested.append(Tested(d, 0.0, 1.0 if d.delta == 0 else 0.0))
        else:
            exceeding = draws - np.searchsorted(maxima, abs(d.delta) / d.se, side="left")
            tested.append(Tested(d, critical * d.se, float(exceeding) / draws))
    return Simultaneous(tuple(tested), len(family), critical, confidence)


def _maxima(
    estimates: Sequence[Estimate],
    streams: Sequence[Hashable],
    pairs: Sequence[tuple[int, int]],
    extrapolate: bool,
    draws: int,
    seed: int,
) -> NDArray[np.float64]:
    """[draws], increasing: the largest |error| of a difference, in standard errors, where nothing differs.

    A pair whose streams no other pair touches is independent of the rest, and the largest of m independent ones needs
    one number a draw: Φ⁻¹((1 + U^{1/m})/2). So 10^5 unpaired differences cost no more than one, and U is stratified, so
    that a lone difference gets the normal quantile. More than 10,000 pairs are all taken so: whatever the correlations,
    the largest is then at most as large (Šidák 1967).
    """
    group = groups(estimates, streams)
    touched = Counter(g for base, other in pairs for g in {group[base], group[other]})
    many = len(pairs) > MANY
    lone = [many or touched[group[base]] == 1 == touched[group[other]] for base, other in pairs]
    maxima = _largest_of(sum(lone), draws)
    rest = [i for i, alone in enumerate(lone) if not alone]
    if rest:
        maxima = maxima[np.random.Generator(np.random.Philox(seed + 1)).permutation(draws)]
        members = sorted({k for i in rest for k in pairs[i]})
        place = {k: column for column, k in enumerate(members)}
        base, other = (np.array([place[pairs[i][side]] for i in rest]) for side in (0, 1))
        joint = JointErrors([estimates[k] for k in members], [streams[k] for k in members], extrapolate)
        errors = joint.of_differences(base, other)
        largest = [(np.abs(b[:, other] - b[:, base]) / errors).max(axis=1) for b in joint.draws(draws, seed)]
        maxima = np.sort(np.maximum(maxima, np.concatenate(largest)))
    return maxima


@lru_cache(maxsize=64)  # there may be 10^5 families of one
def _largest_of(count: int, draws: int) -> NDArray[np.float64]:
    """[draws], increasing: the largest of `count` independent |normal| numbers, at evenly spaced levels; 0 for none."""
    normal = NormalDist()
    levels = (np.arange(draws) + 0.5) / draws
    largest = np.array([normal.inv_cdf((1 + level ** (1 / count)) / 2) if count else 0.0 for level in levels])
    largest.flags.writeable = False
    return largest
