"""DDPM: ancestral sampling, Algorithm 2 of Ho et al. 2020 ("Denoising Diffusion Probabilistic Models").

Stochastic, first order, one evaluation a step. On fewer than T steps the chain is the sub-sequence of the grid, with β
rebuilt from the kept ᾱ (Nichol & Dhariwal 2021, §4). Not to be confused with DDIM at η = 1, which it equals for
`variance=fixed-small` without clipping.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Literal

from samplerbench import Sampler, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from samplerbench import Denoiser, NoiseSource, TimeGrid


@dataclass(frozen=True, kw_only=True)
class DDPM(Sampler):
    """variance: fixed-large is β, fixed-small the posterior's β̃ (§3.2 of the paper; far better on few steps).

    clip: `x0` limits the predicted x_0 to [-1, 1], as the authors' code does; `none` is Algorithm 2 as printed.
    """

    name = "ddpm"
    paper = "Ho et al. 2020, arXiv:2006.11239, Algorithm 2"

    variance: Literal["fixed-small", "fixed-large"] = "fixed-small"
    clip: Literal["none", "x0"] = "x0"

    @property
    def stochastic(self) -> bool:
        return True

    def transition(self, eps: Denoiser, grid: TimeGrid, i: int, x: Tensor) -> tuple[Tensor, float]:
        alpha, sigma = grid.alpha[i], grid.sigma[i]
        alpha_next, sigma_next = grid.alpha[i + 1], grid.sigma[i + 1]
        x0 = (x - sigma * eps(x, grid.times[i])) / alpha
        if self.clip == "x0":
            x0 = x0.clamp(-1, 1)
        beta = 1 - (alpha / alpha_next) ** 2
        # mean of q(x_next | x, x0), eq. 7 of the paper
        mean = (alpha_next * beta / sigma**2) * x0 + (alpha / alpha_next * sigma_next**2 / sigma**2) * x
        return mean, beta if self.variance == "fixed-large" else beta * sigma_next**2 / sigma**2

    def sample(self, eps: Denoiser, grid: TimeGrid, x: Tensor, noise: NoiseSource) -> Tensor:
        for i in range(grid.steps):
            x, variance = self.transition(eps, grid, i, x)
            if grid.sigma[i + 1] > 0:
                x = x + sqrt(variance) * noise(i)
        return x


@hookimpl
def samplerbench_samplers(register):
    register(DDPM)
