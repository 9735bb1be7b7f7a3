"""DDIM: denoising diffusion implicit models (Song et al. 2021).

First order, one evaluation a step, deterministic at η = 0, where it is the Euler method in σ/α, and DPM-Solver of order
1. η = 1 is DDPM with the small variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
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
    def global_order(self) -> float | None:
        return 1 if self.clip == "none" else None  # a limited x_0 leads to another solution

    def sample(self, eps: Denoiser, grid: TimeGrid, x: Tensor, noise: NoiseSource) -> Tensor:
        for i in range(grid.steps):
            ratio = grid.alpha[i + 1] / grid.alpha[i]
            sigma, sigma_next = grid.sigma[i], grid.sigma[i + 1]
            added = self.eta * sigma_next / sigma * sqrt(1 - 1 / ratio**2)
            e = eps(x, grid.times[i])
            kept = sqrt(sigma_next**2 - added**2)
            if self.clip == "none":
                x = ratio * x + (kept - ratio * sigma) * e
            else:
                x0 = ((x - sigma * e) / grid.alpha[i]).clamp(-1, 1)
                if self.clip == "x0-and-eps":
                    e = (x - grid.alpha[i] * x0) / sigma
                x = grid.alpha[i + 1] * x0 + kept * e
            if added > 0:
                x = x + added * noise(i)
        return x


@hookimpl
def samplerbench_samplers(register):
    register(DDIM)
