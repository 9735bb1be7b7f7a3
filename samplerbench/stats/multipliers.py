"""The joint errors of many estimates, and draws of them by a multiplier bootstrap of their influences.

With Ψ the loadings of K estimates on one stream of noise (`Estimate.loadings`) and ξ standard normal, ξᵀΨ has the
covariance of their errors. Estimates of several streams, or without loadings, have independent errors.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .estimate import Estimate

__all__ = ["DRAWS", "JointErrors", "groups"]

Array = NDArray[np.float64]

DRAWS = 5000  # the 95 % quantile then lies between the 94.7 and the 95.3 % one, two times in three
CELLS = 4_000_000  # numbers drawn at once, 32 MB


def groups(estimates: Sequence[Estimate], streams: Sequence[Hashable]) -> list[int]:
    """[K], equal for estimates that are paired: of one stream, one n and one kind of loadings, each with an error.

    streams: [K], the name of each one's; None is paired with nothing. Raises ValueError where the lengths differ.
    """
    if len(estimates) != len(streams):
        raise ValueError(f"{len(estimates)} estimates need as many streams, got {len(streams)}")
    known: dict[Hashable, int] = {}
    found = []
    for k, (one, name) in enumerate(zip(estimates, streams, strict=True)):
        key: Hashable = (name, one.n, one.influences is None, None if one.halves is None else len(one.halves))
        if name is None or one.se is None or (one.influences is None and one.halves is None):
            key = ("alone", k)
        found.append(known.setdefault(key, len(known)))
    return found


class JointErrors:
    """The errors of estimates that all have one.

    extrapolate: of the values at infinitely many samples. An estimate without halves has the error of its value.
    """

    def __init__(self, estimates: Sequence[Estimate], streams: Sequence[Hashable], extrapolate: bool) -> None:
        self.size = len(estimates)
        self._alone: list[int] = []
        self._paired: list[tuple[list[int], Array]] = []
        places: dict[int, list[int]] = {}
        for k, group in enumerate(groups(estimates, streams)):
            places.setdefault(group, []).append(k)
        widths = []
        for ks in places.values():
            if len(ks) > 1:
                columns = [_loadings(estimates[k], extrapolate) for k in ks]
                self._paired.append((ks, np.stack(columns, axis=1)))
            else:
                one = estimates[ks[0]]
                error = one.error(extrapolate and one.halves is not None)
                if error is None:
                    raise ValueError("joint errors are of estimates that have one")
                self._alone.append(ks[0])
                widths.append(error)
        self._widths = np.array(widths)

    def draws(self, count: int, seed: int) -> Iterator[Array]:
        """`count` draws of the errors, in blocks [B, K] that fit into memory."""
        rng = np.random.Generator(np.random.Philox(seed))
        widest = max([self.size, *(len(matrix) for _, matrix in self._paired)])
        for start, end in pairwise([*range(0, count, max(1, CELLS // widest)), count]):
            errors = np.empty((end - start, self.size))
            errors[:, self._alone] = rng.standard_normal((end - start, len(self._alone))) * self._widths
            for ks, matrix in self._paired:
                errors[:, ks] = rng.standard_normal((end - start, len(matrix))) @ matrix
            yield errors

    def of_differences(self, base: NDArray[np.int64], other: NDArray[np.int64]) -> Array:
        """[P], the standard deviation of the draws' differences between the estimates base[p] and other[p]."""
        variance = np.empty(self.size)
        variance[self._alone] = self._widths**2
        column, group = np.zeros(self.size, dtype=np.int64), -1 - np.arange(self.size)
        for g, (ks, matrix) in enumerate(self._paired):
            variance[ks] = np.square(matrix).sum(axis=0)
            column[ks], group[ks] = np.arange(len(ks)), g
        total = variance[base] + variance[other]
        for g, (_, matrix) in enumerate(self._paired):
            within = np.flatnonzero((group[base] == g) & (group[other] == g))
            for part in np.array_split(within, 1 + within.size * len(matrix) // CELLS):
                gaps = matrix[:, column[other[part]]] - matrix[:, column[base[part]]]
                total[part] = np.square(gaps).sum(axis=0)
        total[base == other] = 0.0
        errors: Array = np.sqrt(total)
        return errors


def _loadings(one: Estimate, extrapolate: bool) -> Array:
    first = one.loadings()
    assert first is not None
    return np.concatenate([first, one.halving_loadings()]) if extrapolate and one.halves is not None else first
