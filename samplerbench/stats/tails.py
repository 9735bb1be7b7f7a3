"""Whether an error from influences can be trusted: heavy tails.

A standard error is the root of a mean of squared influences. Where a few samples carry most of that mean, another draw
of the samples would give another error, and intervals hold the truth too seldom.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["heavy_tail"]

LARGEST_SHARE = 0.05
KURTOSIS_PER_SAMPLE = 0.02


def heavy_tail(influences: NDArray[np.float64]) -> str | None:
    """Why the error of these influences [n] cannot be trusted; None where it can.

    Two signs: one sample has more than 5 % of the sum of squares, or the kurtosis is above n / 50.
    """
    squares = np.square(influences)
    total = float(squares.sum())
    if total == 0:
        return None
    share, n = float(squares.max()) / total, len(influences)
    kurtosis = n * float(np.square(squares).sum()) / total**2
    if share > LARGEST_SHARE:
        return f"one sample of {n} carries {share:.0%} of the error's square"
    if kurtosis > KURTOSIS_PER_SAMPLE * n:
        return f"the influences of {n} samples have heavy tails (kurtosis {kurtosis:.0f})"
    return None
