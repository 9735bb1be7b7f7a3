"""What is known of one metric of one cell."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Estimate"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Estimate:
    """A metric's value with what its error is known by.

    Attributes:
        value: the metric of all n samples.
        n: how many samples it was computed from.
        se: its standard error; None where it is not known.
        influences: [n], what each sample adds to the value, of mean 0; None where the metric has none.
        halves: [H, 2], the metric on both halves of each common halving (`halving.halvings`), the True half first; None
            where it was not computed.

    Raises ValueError for what cannot be: a value, influences or halves that are not finite, a shape that does not fit,
    an se below 0.
    """

    value: float
    n: int
    se: float | None = None
    influences: Array | None = None
    halves: Array | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"a metric's value is a finite number, got {self.value}")
        if self.n < 1:
            raise ValueError(f"a metric is computed from at least one sample, got {self.n}")
        if self.se is not None and not 0 <= self.se < math.inf:
            raise ValueError(f"a standard error is a finite number of at least 0, got {self.se}")
        if self.influences is not None and (self.influences.shape != (self.n,) or self.n < 2):
            raise ValueError(f"expected influences of {self.n} (at least 2) samples, got {self.influences.shape}")
        if self.halves is not None and (self.halves.ndim != 2 or self.halves.shape[1] != 2 or len(self.halves) < 2):
            raise ValueError(f"expected the metric on the halves of at least 2 halvings, got {self.halves.shape}")
        for name, array in (("influences", self.influences), ("halves", self.halves)):
            if array is not None and not np.isfinite(array).all():
                raise ValueError(f"the {name} of a metric are not all finite")

    @property
    def at_infinity(self) -> float | None:
        """The value extrapolated to infinitely many samples, 2 v(n) - mean v(n/2): what a bias that falls as 1/n leaves
        (Chong & Forsyth 2020). None without halves.
        """
        return None if self.halves is None else 2 * self.value - float(self.halves.mean())

    def error(self, extrapolated: bool = False) -> float | None:
        """The standard error of the value, or of `at_infinity`, whose first order is the same and to which the choice
        of the halvings adds its own.
        """
        if self.se is None or not extrapolated:
            return self.se
        return None if self.halves is None else math.hypot(self.se, float(np.linalg.norm(self.halving_loadings())))

    def loadings(self) -> Array | None:
        """A vector whose square length is the variance of the value. The difference of two estimates on the same noise
        has the variance |a - b|², a and b their loadings. [n] from the influences, [H] from the halves where there are
        no influences (half the mean square difference of two halves is the variance at n/2), None without either.
        """
        if self.influences is not None:
            return self.influences / math.sqrt(self.n * (self.n - 1))
        if self.halves is not None:
            return (self.halves[:, 0] - self.halves[:, 1]) / (2 * math.sqrt(len(self.halves)))
        return None

    def halving_loadings(self) -> Array:
        """[H], the same of what the choice of the halvings adds to `at_infinity`: Var over halvings of the mean of both
        halves, / H. Needs halves.
        """
        assert self.halves is not None
        means = self.halves.mean(axis=1)
        count = len(means)
        return (means.mean() - means) / math.sqrt(count * (count - 1))
