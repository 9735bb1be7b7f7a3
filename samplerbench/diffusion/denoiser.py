"""ε_θ as a sampler sees it, and the count below it: bounded by a budget, split into micro-batches, and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from ..errors import BudgetExceeded, UserError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BadNoise", "Denoiser", "Epsilon", "Meter", "Time"]

NO_RANGE = "the network of this model gives no range of variances; use another variance"

Time = Union[float, "Tensor"]
"""A time of the schedule, or a float64 tensor [B] with one for each sample (adaptive samplers alone ask so)."""

Epsilon = Callable[["Tensor", Any], "Tensor"]
"""x [B, ...] and a `Time` -> the noise predicted to be in x, of the same shape."""


class BadNoise(RuntimeError):
    """ε_θ, or the x it was asked about, is not what it must be: shape, device or NaN."""


class Meter:
    """Counts what an ε function is asked for each sample, and keeps to the budget.

    The core makes one a batch, and gives the sampler a `Denoiser` of it. That knows the meter's functions, not the
    meter: there is no attribute of a denoiser through which a sampler changes a count or a budget.

    Args:
        epsilon: the function itself.
        batch: how many samples are being made.
        budget: the most evaluations a sample may cost; None for no limit.
        micro_batch: the most rows the function is given at once.
    """

    def __init__(self, epsilon: Epsilon, batch: int, budget: int | None = None, micro_batch: int | None = None) -> None:
        if batch < 1:
            raise UserError(f"there must be at least one sample, got {batch}")
        counts, reserved = np.zeros(batch), 0

        def spend(asked: int, rows: Any) -> None:
            added = _shares(asked, rows, batch)
            after = counts + added
            limit = left()
            # shares of a subset that was not named add up in floating point
            if limit is not None and after.max() > limit + 1e-6:
                raise BudgetExceeded(f"asked for evaluation {int(np.ceil(after.max() - 1e-6))} on a budget of {limit}")
            counts[:] = after

        def ask(x: Tensor, t: Time, rows: Any = None) -> Tensor:
            spend(len(x), rows)
            if micro_batch is None or len(x) <= micro_batch:
                return _checked(epsilon(x, t), x)
            import torch

            parts = x.split(micro_batch)
            times = t.split(micro_batch) if isinstance(t, torch.Tensor) else [t] * len(parts)
            return _checked(torch.cat([epsilon(*pair) for pair in zip(parts, times, strict=True)]), x)

        def ask_range(x: Tensor, t: Time, rows: Any = None) -> tuple[Tensor, Tensor]:
            both = getattr(epsilon, "with_range", None)
            if both is None:
                raise UserError(NO_RANGE)
            spend(len(x), rows)
            eps, place = both(x, t)
            if place is None:
                raise UserError(NO_RANGE)
            return _checked(eps, x), _checked(place, x)

        def left() -> int | None:
            return None if budget is None else budget - reserved

        @contextmanager
        def reserve(evaluations: int) -> Iterator[None]:
            nonlocal reserved
            reserved += evaluations
            try:
                yield
            finally:
                reserved -= evaluations

        self.ask, self.ask_range, self.reserve = ask, ask_range, reserve
        self.mean_square = getattr(epsilon, "mean_square", None)
        self.left = left
        self._counts = counts

    @property
    def evaluations(self) -> np.ndarray:
        """Evaluations of each sample so far, [B]."""
        return self._counts.copy()

    def denoiser(self) -> Denoiser:
        """ε for a sampler."""
        return Denoiser(self)


def _shares(asked: int, rows: Any, batch: int) -> np.ndarray | float:
    """What a call with so many rows adds to the count of each sample: [batch], or the same for all."""
    if rows is None:
        return asked / batch
    indices = np.asarray(rows.cpu() if hasattr(rows, "cpu") else rows)
    if indices.shape != (asked,) or indices.dtype.kind not in "iu" or (indices < 0).any() or (indices >= batch).any():
        raise ValueError(f"rows are the numbers of the {asked} samples asked about, each from 0 to {batch - 1}")
    return np.bincount(indices, minlength=batch)


def _checked(eps: Tensor, x: Tensor) -> Tensor:
    if eps.shape != x.shape:
        raise BadNoise(f"ε(x, t) has shape {list(eps.shape)}, expected that of x, {list(x.shape)}")
    return eps


class Denoiser:
    """ε_θ for a sampler. Every call is counted, and none exceeds the budget.

    `eps(x, t)` evaluates every row of x once. A sampler may ask about some of its samples alone, or stack several
    questions about all of them in one call; `rows` says which samples a subset is, so that each is charged its own.
    """

    __slots__ = ("_ask", "_ask_range", "_left", "_mean_square")

    def __init__(self, meter: Meter) -> None:
        self._ask, self._ask_range, self._left = meter.ask, meter.ask_range, meter.left
        self._mean_square = meter.mean_square

    @property
    def budget(self) -> int | None:
        """The most evaluations that a sample may cost the sampler; None for no limit."""
        return self._left()

    def mean_square(self, t: float) -> float:
        """E‖ε_θ(x_t, t)‖² / D over the training data, where the ε function has a `mean_square(t)`: a constant of the
        model, so nothing is evaluated. Raises UserError where it has none.
        """
        if self._mean_square is None:
            raise UserError(
                "this model does not hold the mean square of ε_θ at each time (`samplerbench train` writes it)"
            )
        return float(self._mean_square(t))

    def __call__(self, x: Tensor, t: Time, rows: Any = None) -> Tensor:
        """ε_θ(x, t). x: [R, ...], all samples of the batch or some of them; t: a time of the schedule, above 0, or a
        float64 tensor [R] with one for each row; rows: the numbers [R] of the samples where they are not all of them in
        order; without them what is asked counts for all samples alike. Raises BudgetExceeded before it spends what is
        not there.
        """
        return self._ask(x, t, rows)

    def with_range(self, x: Tensor, t: Time) -> tuple[Tensor, Tensor]:
        """ε_θ(x, t), and where the network places the log variance of a step from there, of x's shape: -1 for β̃ to 1
        for β (Nichol & Dhariwal 2021, eq. 15). One evaluation. Raises UserError where the network gives no such thing.
        """
        return self._ask_range(x, t)
