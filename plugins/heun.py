"""The second-order deterministic sampler of EDM (Karras et al. 2022, Algorithm 1), on a variance-preserving network.

Heun's method for x/α in ρ = σ/α, which is the paper's σ; two evaluations a step, and one in a last step to time 0,
which is Euler's: 2n - 1 in all. Its grid is `karras` with ρ = 7. Not to be confused with `deis:variant=rho-heun`: the
same method, on the grid and with the ending of the DEIS paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from samplerbench import Sampler, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from samplerbench import Denoiser, NoiseSource, TimeGrid


@dataclass(frozen=True, kw_only=True)
class Heun(Sampler):
    """No options of its own."""

    name = "heun"
    aliases = ("edm-heun",)
    paper = "Karras et al. 2022, arXiv:2206.00364, Algorithm 1"

    spacing: str = "karras"

    @property
    def global_order(self) -> float:
        return 2

    def evaluations(self, steps: int) -> int:
        return 2 * steps - 1 if self.final == "zero" else 2 * steps

    def sample(self, eps: Denoiser, grid: TimeGrid, x: Tensor, noise: NoiseSource) -> Tensor:
        v = x / grid.alpha[0]
        for i in range(grid.steps):
            h = grid.sigma[i + 1] / grid.alpha[i + 1] - grid.sigma[i] / grid.alpha[i]
            slope = eps(grid.alpha[i] * v, grid.times[i])
            if grid.times[i + 1] > 0:
                slope = (slope + eps(grid.alpha[i + 1] * (v + h * slope), grid.times[i + 1])) / 2
            v = v + h * slope
        return grid.alpha[-1] * v


@hookimpl
def samplerbench_samplers(register):
    register(Heun)
