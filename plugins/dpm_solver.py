"""DPM-Solver++, multistep: exponential integrators of the probability-flow ODE in λ = log(α/σ) (Lu et al. 2022).

Deterministic, order 1 or 2, one evaluation a step. `prediction=x0` is DPM-Solver++(2M), Algorithm 2 of the second
paper; `prediction=eps` is its counterpart in ε, the multistep form of the first paper's solver. Order 1 is DDIM in
either. Not to be confused with the singlestep solvers of the same papers, which take `order` evaluations a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import expm1
from typing import TYPE_CHECKING, Literal

from samplerbench import Sampler, UserError, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from samplerbench import Denoiser, NoiseSource, TimeGrid


@dataclass(frozen=True, kw_only=True)
class DPMSolver(Sampler):
    """order: 1 or 2. prediction: what is extrapolated, `x0` or `eps`. lower_order_final: with fewer than 10 steps the
    last is of order 1, as in the authors' code; a last step to `final=zero` always is.
    """

    name = "dpm-solver"
    aliases = ("dpm",)
    paper = "Lu et al. 2022, arXiv:2206.00927 and arXiv:2211.01095, Algorithm 2"

    order: int = 2
    prediction: Literal["x0", "eps"] = "x0"
    lower_order_final: bool = True
    spacing: str = "logsnr"
    final: str = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order not in (1, 2):
            raise UserError(f"dpm-solver:order is 1 or 2, got {self.order}")

    @property
    def global_order(self) -> float:
        return self.order

    def sample(self, eps: Denoiser, grid: TimeGrid, x: Tensor, noise: NoiseSource) -> Tensor:
        previous = None  # what was predicted one step before
        for i in range(grid.steps):
            alpha, sigma = grid.alpha[i], grid.sigma[i]
            alpha_next, sigma_next = grid.alpha[i + 1], grid.sigma[i + 1]
            predicted = eps(x, grid.times[i])
            if sigma_next == 0:
                return (x - sigma * predicted) / alpha
            h = grid.half_log_snr[i + 1] - grid.half_log_snr[i]
            if self.prediction == "x0":
                predicted = (x - sigma * predicted) / alpha
                decay, gain = sigma_next / sigma, -alpha_next * expm1(-h)
            else:
                decay, gain = alpha_next / alpha, -sigma_next * expm1(h)
            slope = predicted
            last = i == grid.steps - 1 and grid.steps < 10 and self.lower_order_final
            if self.order == 2 and previous is not None and not last:
                r = (grid.half_log_snr[i] - grid.half_log_snr[i - 1]) / h
                slope = (1 + 0.5 / r) * predicted - (0.5 / r) * previous
            x, previous = decay * x + gain * slope, predicted
        return x


@hookimpl
def samplerbench_samplers(register):
    register(DPMSolver)
