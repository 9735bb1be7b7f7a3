"""The value of the best without winner's curse.

Whoever is best among many was also lucky: of 20 equal samplers the best looks 2 errors better than it is, and its
interval holds the truth half of the time (docs/statistics.md). Here the best is chosen on one half of the samples and
its value taken from the other half, over the common halvings and in both directions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .estimate import Estimate

__all__ = ["Honest", "honest_best"]


@dataclass(frozen=True)
class Honest:
    """Attributes:
    index: of the estimate that is chosen most often.
    share: how often, of all choices.
    value: the mean over the choices of the chosen one's value on the samples that did not choose it, brought from
        n/2 to n samples (or to infinitely many) by the bias that the halves show.
    se: its standard error.
    """

    index: int
    share: float
    value: float
    se: float


def honest_best(
    estimates: Sequence[Estimate], direction: Literal["lower", "higher"], *, extrapolate: bool
) -> Honest | None:
    """The best of estimates that are on one stream of n samples and on the same halvings; None where one lacks halves
    or an error, or where their numbers of samples or halvings differ.

    Its error is the mean of the chosen ones' own errors on all n samples: every sample gives values and makes choices.
    (Tried: the error of the chosen ones' influences, each on the half that its value is taken from, the choices taken
    as given. It covers 87 to 96 %, because what chooses in one halving is a value in another; this covers 95 to 99 %.)
    """
    if not estimates or any(one.se is None or one.halves is None for one in estimates):
        return None
    if len({(one.n, len(one.halves)) for one in estimates if one.halves is not None}) > 1:
        return None
    halves = np.stack([one.halves for one in estimates if one.halves is not None])  # [K, H, 2]
    values = np.array([one.value for one in estimates])
    bias = halves.mean(axis=(1, 2)) - values  # of n/2 samples over that of n: as much as n samples have over infinity
    values_elsewhere = halves - (2 if extrapolate else 1) * bias[:, None, None]
    signed = halves if direction == "lower" else -halves
    chosen = np.argmin(signed, axis=0)  # [H, 2], by the half of that column
    index, times = Counter(chosen.ravel().tolist()).most_common(1)[0]
    h = np.arange(len(chosen))
    found = [values_elsewhere[chosen[:, side], h, 1 - side] for side in (0, 1)]
    errors = [estimates[k].error(extrapolate) for k in chosen.ravel()]
    return Honest(index, times / chosen.size, float(np.mean(found)), float(np.mean(np.array(errors, dtype=np.float64))))
