"""SDE-DPM-Solver++: the stochastic counterpart of DPM-Solver++, multistep (Lu et al. 2022b, appendix A).

It integrates the reverse SDE in λ with the predicted x_0 extrapolated and the noise term exact. Stochastic, one
evaluation a step; order 1 is DDIM at η = 1, which is DDPM with the small variance. Known elsewhere as "DPM++ 2M SDE".
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, expm1, inf, sqrt
from typing import TYPE_CHECKING

from samplerbench import Sampler, UserError, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from samplerbench import Denoiser, NoiseSource, TimeGrid


@dataclass(frozen=True, kw_only=True)
class SDEDPMSolver(Sampler):
    """order: 1 or 2, of the deterministic part."""

    name = "sde-dpm-solver"
    paper = "Lu et al. 2022, arXiv:2211.01095, appendix A"

    order: int = 2
    spacing: str = "logsnr"
    final: str = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order not in (1, 2):
            raise UserError(f"sde-dpm-solver:order is 1 or 2, got {self.order}")

    @property
    def stochastic(self) -> bool:
        return True

    @property
    def starts_at_pure_noise(self) -> bool:
        return True

    def sample(self, eps: Denoiser, grid: TimeGrid, x: Tensor, noise: NoiseSource) -> Tensor:
        lam, previous = grid.half_log_snr, None
        for i in range(grid.steps):
            x0 = eps.x0(x, grid.times[i])
            if lam[i + 1] == inf:
                return x0
            h = lam[i + 1] - lam[i]
            target = x0
            if self.order == 2 and previous is not None:
                target = x0 + h / (2 * (lam[i] - lam[i - 1])) * (x0 - previous)
            shrunk = -expm1(-2 * h)  # 1 - e^(-2h), the share of the noise that is drawn anew
            decay = grid.sigma[i + 1] / grid.sigma[i] * exp(-h)
            x = decay * x + grid.alpha[i + 1] * shrunk * target + grid.sigma[i + 1] * sqrt(shrunk) * noise(i)
            previous = x0
        return x


@hookimpl
def samplerbench_samplers(register):
    register(SDEDPMSolver)
