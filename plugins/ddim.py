"""DDIM: denoising diffusion implicit models (Song et al. 2021).

First order, one evaluation a step, deterministic at η = 0, where it is the Euler method in σ/α, and DPM-Solver of order
1. η = 1 is DDPM with the small variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import expm1, sqrt
from typing import TYPE_CHECKING, Literal

from samplerbench import Sampler, UserError, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from samplerbench import Denoiser, NoiseSource, TimeGrid


@dataclass(frozen=True, kw_only=True)
class DDIM(Sampler):
    """eta: how much of DDPM's noise is added, 0 to 1. The quadratic spacing is that of the paper's CIFAR-10 table.

    clip: `none` is the paper's. Code at large limits the predicted x_0 to [-1, 1] in one of two ways, and says neither:
    `x0` keeps ε as it was, `x0-and-eps` recomputes it from the clipped x_0.
    """

    name = "ddim"
    paper = "Song et al. 2021, arXiv:2010.02502, eq. 12 and 16"

    eta: float = 0.0
    clip: Literal["none", "x0", "x0-and-eps"] = "none"
    spacing: str = "quadratic"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.eta <= 1:
            raise UserError(f"ddim:eta is a number from 0 to 1, got {self.eta:g}")

    @property
    def stochastic(self) -> bool:
        return self.eta > 0

    @property
    def starts_at_pure_noise(self) -> bool:
        return True

    def limit_x0(self, x0: Tensor) -> Tensor:
        return x0 if self.clip == "none" else x0.clamp(-1, 1)

    @property
    def global_order(self) -> float | None:
        return 1 if self.clip == "none" else None  # a limited x_0 leads to another solution

    def sample(self, eps: Denoiser, grid: TimeGrid, x: Tensor, noise: NoiseSource) -> Tensor:
        for i in range(grid.steps):
            alpha, alpha_next = grid.alpha[i], grid.alpha[i + 1]
            sigma, sigma_next = grid.sigma[i], grid.sigma[i + 1]
            fresh = -expm1(2 * (grid.half_log_snr[i] - grid.half_log_snr[i + 1]))  # (1 - α²/α'²) / σ², without rounding
            added = self.eta * sigma_next * sqrt(fresh)
            kept = sigma_next * sqrt(1 - self.eta**2 * fresh)
            if self.clip == "none" and alpha > 0:
                x = alpha_next / alpha * x + (kept - alpha_next / alpha * sigma) * eps(x, grid.times[i])
            else:
                x0 = eps.x0(x, grid.times[i])
                e = (x - alpha * x0) / sigma
                x0 = self.limit_x0(x0)
                if self.clip == "x0-and-eps":
                    e = (x - alpha * x0) / sigma
                x = alpha_next * x0 + kept * e
            if added > 0:
                x = x + added * noise(i)
        return x


@hookimpl
def samplerbench_samplers(register):
    register(DDIM)
