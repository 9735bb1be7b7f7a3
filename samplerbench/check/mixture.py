"""Ground truth: data whose ε is known exactly."""

from __future__ import annotations

import math

import torch

from ..diffusion.denoiser import Time
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
        """The probability-flow ODE from x at time `start` to time `end`, by RK4 in ρ = σ/α with steps even in log ρ."""

        def rho(t: float) -> float:
            return float(self.schedule.sigma(t) / self.schedule.alpha(t))

        def slope(v: torch.Tensor, log_rho: float) -> torch.Tensor:
            t = float(self.schedule.time(-log_rho))
            return math.exp(log_rho) * self.exact(float(self.schedule.alpha(t)) * v, t)

        v, a, b = x.double() / float(self.schedule.alpha(start)), math.log(rho(start)), math.log(rho(end))
        h = (b - a) / steps
        for i in range(steps):
            u = a + i * h
            k1 = slope(v, u)
            k2 = slope(v + 0.5 * h * k1, u + 0.5 * h)
            k3 = slope(v + 0.5 * h * k2, u + 0.5 * h)
            k4 = slope(v + h * k3, u + h)
            v = v + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return v * float(self.schedule.alpha(end))
