"""What measuring gives: a value with its error, or the reason why there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import UserError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Measured", "Unmeasurable"]


class Unmeasurable(UserError):
    """A metric that cannot be had of a cell, for a reason that is nobody's fault: the message says which."""


@dataclass(frozen=True, eq=False)
class Measured:
    """A metric's value.

    Attributes:
        se: its standard error from the sampling, where one can be justified.
        count: how many samples (or images) it was computed from; None for all of the cell's.
        influences: [n], what each sample adds to the value, of mean 0, where the value is close to linear in the
            samples; two cells on the same noise are compared by them.
        halves: [H, 2], the metric on both halves of each common halving of the samples (`stats.halving`), where it was
            computed: by them a difference is extrapolated to infinitely many samples, or paired without influences.
        note: why there is no error, or which it is, where that is not the usual one; shown beside the row.

    Raises ValueError for what no metric may give: a value, influences or halves that are not finite, an se below 0, a
    count below 1.
    """

    value: float
    se: float | None = None
    count: int | None = None
    influences: np.ndarray | None = None
    halves: np.ndarray | None = None
    note: str = ""

    def __post_init__(self) -> None:
        import numpy as np

        if not math.isfinite(self.value):
            raise ValueError(f"the value is not finite: {self.value}")
        if self.se is not None and not 0 <= self.se < math.inf:
            raise ValueError(f"a standard error is a finite number of at least 0, got {self.se}")
        if self.count is not None and (type(self.count) is not int or self.count < 1):
            raise ValueError(f"a count is a whole number from 1 up, got {self.count!r}")
        if not isinstance(self.note, str):
            raise ValueError(f"a note is text, got {self.note!r}")
        for name, array, dimensions in (("influences", self.influences, 1), ("halves", self.halves, 2)):
            if array is not None and array.ndim != dimensions:
                raise ValueError(f"expected {name} of {dimensions} dimension(s), got shape {list(array.shape)}")
            if array is not None and not np.isfinite(array).all():
                raise ValueError(f"the {name} are not all finite")
        if self.halves is not None and self.halves.shape[1] != 2:
            raise ValueError(f"halves are [H, 2], got {list(self.halves.shape)}")
