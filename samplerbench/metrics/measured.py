"""What measuring gives: a value with its error, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import UserError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Measured", "Unmeasurable"]


class Unmeasurable(UserError):
    """A metric that cannot be had of a cell, for a reason that is nobody's fault: the message says which."""


@dataclass(frozen=True)
class Measured:
    """A metric's value.

    Attributes:
        se: its standard error from the sampling, where one can be justified.
        count: how many samples (or images) it was computed from; None for all of the cell's.
        influences: [n], what each sample adds to the value, of mean 0, where the value is close to linear in the
            samples; two cells on the same noise are compared by them.
        halves: [H, 2], the metric of both halves of the samples, for each of the common halvings.
        note: what is worth saying of it, such as why it has no error.
    """

    value: float
    se: float | None = None
    count: int | None = None
    influences: np.ndarray | None = None
    halves: np.ndarray | None = None
    note: str = ""
