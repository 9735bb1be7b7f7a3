"""ε_θ as a sampler sees it: counted, bounded by a budget, split into micro-batches, and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Union

from ..errors import BudgetExceeded, UserError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BadNoise", "Denoiser", "Epsilon", "Time"]

NO_RANGE = "the network of this model gives no range of variances; use another variance"

Time = Union[float, "Tensor"]
"""A time of the schedule, or a float64 tensor [B] with one for each sample (adaptive samplers alone ask so)."""

Epsilon = Callable[["Tensor", Any], "Tensor"]
"""x [B, ...] and a `Time` -> the noise predicted to be in x, of the same shape."""


class BadNoise(RuntimeError):
    """ε_θ, or the x it was asked about, is not what it must be: shape, device or NaN."""


class Denoiser:
    """Wraps any ε(x, t) and counts.

    `eps(x, t)` evaluates every row of x once. The count `nfe` is rows evaluated over the `batch` rows being sampled, so
    that a sampler that asks for half of its rows, or stacks two questions in one call, is counted by what the network
    did.

    Args:
        epsilon: the function itself.
        batch: how many samples are being made.
        budget: the most evaluations a sample may cost; None for no limit.
        micro_batch: the most rows the function is given at once.
    """

    def __init__(self, epsilon: Epsilon, batch: int, budget: int | None = None, micro_batch: int | None = None) -> None:
        if batch < 1:
            raise UserError(f"there must be at least one sample, got {batch}")
        self._epsilon, self.batch, self.budget, self.micro_batch = epsilon, batch, budget, micro_batch
        self._rows = 0

    @property
    def nfe(self) -> float:
        """Network evaluations so far, a sample."""
        return self._rows / self.batch

    def mean_square(self, t: float) -> float:
        """E‖ε_θ(x_t, t)‖² / D over the training data, where the ε function has a `mean_square(t)`: a constant of the
        model, so nothing is evaluated. Raises UserError where it has none.
        """
        known = getattr(self._epsilon, "mean_square", None)
        if known is None:
            raise UserError(
                "this model does not hold the mean square of ε_θ at each time (`samplerbench train` writes it)"
            )
        return float(known(t))

    @contextmanager
    def reserved(self, evaluations: int) -> Iterator[None]:
        """Keeps so many evaluations of the budget back while the context lasts."""
        before = self.budget
        self.budget = None if before is None else before - evaluations
        try:
            yield
        finally:
            self.budget = before

    def __call__(self, x: Tensor, t: Time) -> Tensor:
        """ε_θ(x, t). x: [R, ...], all samples of the batch or some of them; t: a time of the schedule, above 0, or a
        float64 tensor [R] with one for each row. Raises BudgetExceeded before it spends what is not there.
        """
        rows = len(x)
        self._spend(rows)
        if self.micro_batch is None or rows <= self.micro_batch:
            eps = self._epsilon(x, t)
        else:
            import torch

            parts = x.split(self.micro_batch)
            times = t.split(self.micro_batch) if isinstance(t, torch.Tensor) else [t] * len(parts)
            eps = torch.cat([self._epsilon(*pair) for pair in zip(parts, times, strict=True)])
        return self._checked(eps, x)

    def with_range(self, x: Tensor, t: Time) -> tuple[Tensor, Tensor]:
        """ε_θ(x, t), and where the network places the log variance of a step from there, of x's shape: -1 for β̃ to 1
        for β (Nichol & Dhariwal 2021, eq. 15). One evaluation. Raises UserError where the network gives no such thing.
        """
        both = getattr(self._epsilon, "with_range", None)
        if both is None:
            raise UserError(NO_RANGE)
        self._spend(len(x))
        eps, place = both(x, t)
        if place is None:
            raise UserError(NO_RANGE)
        return self._checked(eps, x), self._checked(place, x)

    def _spend(self, rows: int) -> None:
        if self.budget is not None and self._rows + rows > self.budget * self.batch:
            raise BudgetExceeded(f"asked for evaluation {int(self.nfe) + 1} on a budget of {self.budget}")
        self._rows += rows

    def _checked(self, eps: Tensor, x: Tensor) -> Tensor:
        if eps.shape != x.shape:
            raise BadNoise(f"ε(x, t) has shape {list(eps.shape)}, expected that of x, {list(x.shape)}")
        return eps
