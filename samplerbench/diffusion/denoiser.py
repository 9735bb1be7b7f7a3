"""ε_θ as a sampler sees it: counted, bounded by a budget, split into micro-batches, and checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import BudgetExceeded, UserError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BadNoise", "Denoiser", "Epsilon"]

Epsilon = Callable[["Tensor", float], "Tensor"]
"""x [B, C, H, W] and a time of the schedule -> the noise predicted to be in x, of the same shape."""


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

    def __call__(self, x: Tensor, t: float) -> Tensor:
        """ε_θ(x, t). x: [B, ...]; t: a time of the schedule, above 0. Raises BudgetExceeded before it spends what is
        not there.
        """
        rows = len(x)
        if self.budget is not None and self._rows + rows > self.budget * self.batch:
            raise BudgetExceeded(f"asked for evaluation {int(self.nfe) + 1} on a budget of {self.budget}")
        self._rows += rows
        if self.micro_batch is None or rows <= self.micro_batch:
            eps = self._epsilon(x, t)
        else:
            import torch

            eps = torch.cat([self._epsilon(part, t) for part in x.split(self.micro_batch)])
        if eps.shape != x.shape:
            raise BadNoise(f"ε(x, t) has shape {list(eps.shape)}, expected that of x, {list(x.shape)}")
        return eps
