"""Ground truth: data whose ε is known exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..diffusion.denoiser import Time, x0_of
from ..diffusion.ode import integrate_flow
from ..diffusion.schedule import NoiseSchedule


class GaussianMixture:
    """Data x_0 ~ Σ w_k N(m_k, s_k²), every coordinate alike and independent; called with (x, t) it gives the exact
    ε(x, t) = E[ε | x_t = x], and counts.

    rows: how many rows all of them were called with so far, whoever called. `exact` is the same function, uncounted.
    """

    rows = 0

    def __init__(
        self,
        schedule: NoiseSchedule,
        means: tuple[float, ...] = (-1.0, 0.6),
        deviations: tuple[float, ...] = (0.25, 0.4),
        weights: tuple[float, ...] = (0.4, 0.6),
    ) -> None:
        self.schedule = schedule
        self.means, self.deviations = torch.tensor(means).double(), torch.tensor(deviations).double()
        self.weights = torch.tensor(weights).double()

    def __call__(self, x: torch.Tensor, t: Time) -> torch.Tensor:
        GaussianMixture.rows += len(x)
        return self.exact(x, t)

    def exact(self, x: torch.Tensor, t: Time) -> torch.Tensor:
        """ε(x, t), x [B, ...]."""
        alpha, sigma = (torch.as_tensor(f(t)) for f in (self.schedule.alpha, self.schedule.sigma))
        if alpha.ndim:  # a time for each sample
            alpha, sigma = (value.view(-1, *[1] * x.ndim) for value in (alpha, sigma))
        z = x.double().unsqueeze(-1)
        variance = (alpha * self.deviations) ** 2 + sigma**2
        logits = self.weights.log() - 0.5 * variance.log() - 0.5 * (z - alpha * self.means) ** 2 / variance
        score = (torch.softmax(logits, dim=-1) * (alpha * self.means - z) / variance).sum(-1)
        return (-(sigma.squeeze(-1) if sigma.ndim else sigma) * score).to(x.dtype)

    def x0(self, x: torch.Tensor, t: Time) -> torch.Tensor:
        """E[x_0 | x_t = x], at α = 0 too; counted."""
        eps, alpha = self(x.double(), t), np.min(self.schedule.alpha(t))
        if alpha == 0:
            return torch.full_like(x, float((self.weights * self.means).sum()))
        return x0_of(x.double(), eps, self.schedule, t).to(x.dtype)

    def relabelled(self, rule: Callable[[Any], Any]) -> GaussianMixture:
        """Itself: what is exact needs no label."""
        return self

    def with_range(self, x: torch.Tensor, t: Time) -> tuple[torch.Tensor, torch.Tensor]:
        """ε, and a place of the log variance between -1 (β̃) and 1 (β), as a network that learned it gives. Every place
        is right in small steps, where the two variances meet; this one differs from number to number.
        """
        eps = self(x, t)
        return eps, torch.tanh(eps)

    def mean_square(self, t: float) -> float:
        """E ε(x_t, t)², by a sum over a grid of x, 25 points a deviation of 0.2: exact for what is so smooth."""
        alpha, sigma = float(self.schedule.alpha(t)), float(self.schedule.sigma(t))
        x = torch.linspace(-8, 8, 2_001, dtype=torch.float64)
        deviations = ((alpha * self.deviations) ** 2 + sigma**2).sqrt()
        densities = torch.exp(-0.5 * ((x[:, None] - alpha * self.means) / deviations) ** 2) / deviations
        density = (self.weights * densities).sum(dim=1)
        return float((density * self.exact(x, t) ** 2).sum() / density.sum())

    def solution(self, x: torch.Tensor, start: float, end: float, steps: int = 1000) -> torch.Tensor:
        """The probability-flow ODE from x at time `start` to time `end`, see `integrate_flow`."""
        return integrate_flow(self.exact, self.schedule, x.double(), steps, start, end)
