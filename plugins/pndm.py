"""PNDM: pseudo numerical methods for diffusion models (Liu et al. 2022), classical multistep and Runge-Kutta methods
whose transfer step is DDIM's.

All deterministic, of second order: the fixed weights ignore that the steps are not equal in σ/α. An n-step run takes n
+ 1 evaluations with S-PNDM, n + 9 with F-PNDM (four in each of the first three steps), and n with iPNDM (Zhang & Chen
2023, appendix), which starts with lower orders instead. The papers' tables count steps. Not to be confused with the
PNDM of Stable Diffusion's pipelines, which is S-PNDM's warm-up with F-PNDM's weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from samplerbench import Sampler, UserError, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from samplerbench import Denoiser, NoiseSource, TimeGrid

ADAMS_BASHFORTH = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


def transfer(grid: TimeGrid, x: Tensor, eps: Tensor, start: float, end: float) -> Tensor:
    """φ of the paper (eq. 11): x at time `start` taken to time `end` with the noise `eps`, the step of DDIM."""
    alpha, sigma = float(grid.schedule.alpha(start)), float(grid.schedule.sigma(start))
    alpha_end, sigma_end = float(grid.schedule.alpha(end)), float(grid.schedule.sigma(end))
    ratio = alpha_end / alpha
    return ratio * x + (sigma_end - ratio * sigma) * eps


def multistep(history: list[Tensor]) -> Tensor:
    """The Adams-Bashforth combination of the noises in `history`, the newest first, of as high an order as it is
    long.
    """
    weights = ADAMS_BASHFORTH[len(history) - 1]
    combined = weights[0] * history[0]
    for weight, eps in zip(weights[1:], history[1:], strict=True):
        combined = combined + weight * eps
    return combined


@dataclass(frozen=True, kw_only=True)
class SPNDM(Sampler):
    """Second-order pseudo multistep, the first step by pseudo Heun (eq. 13 and 22)."""

    name = "s-pndm"
    paper = "Liu et al. 2022, arXiv:2202.09778, appendix A"

    @property
    def global_order(self) -> float:
        return 2

    @property
    def fewest_steps(self) -> int:
        return 2  # the first step asks for ε at its end, and there is none at time 0

    def evaluations(self, steps: int) -> int:
        return steps + 1

    def sample(self, eps: Denoiser, grid: TimeGrid, x: Tensor, noise: NoiseSource) -> Tensor:
        history: list[Tensor] = []
        for i in range(grid.steps):
            start, end = grid.times[i], grid.times[i + 1]
            history = [eps(x, start), *history[:1]]
            combined = multistep(history)
            if i == 0:
                combined = (history[0] + eps(transfer(grid, x, history[0], start, end), end)) / 2
            x = transfer(grid, x, combined, start, end)
        return x


@dataclass(frozen=True, kw_only=True)
class FPNDM(Sampler):
    """Fourth-order weights: three steps of pseudo Runge-Kutta, then pseudo linear multistep (Algorithm 2). The paper's
    PNDM.
    """

    name = "pndm"
    aliases = ("f-pndm",)
    paper = "Liu et al. 2022, arXiv:2202.09778, Algorithm 2"

    @property
    def global_order(self) -> float:
        return 2

    @property
    def fewest_steps(self) -> int:
        return 4

    def evaluations(self, steps: int) -> int:
        return steps + 9

    def sample(self, eps: Denoiser, grid: TimeGrid, x: Tensor, noise: NoiseSource) -> Tensor:
        history: list[Tensor] = []
        for i in range(grid.steps):
            start, end = grid.times[i], grid.times[i + 1]
            history = [eps(x, start), *history[:3]]
            if i < 3:
                middle = (start + end) / 2
                first = history[0]
                second = eps(transfer(grid, x, first, start, middle), middle)
                third = eps(transfer(grid, x, second, start, middle), middle)
                fourth = eps(transfer(grid, x, third, start, end), end)
                combined = (first + 2 * second + 2 * third + fourth) / 6
            else:
                combined = multistep(history)
            x = transfer(grid, x, combined, start, end)
        return x


@dataclass(frozen=True, kw_only=True)
class IPNDM(Sampler):
    """order: of the Adams-Bashforth weights, 1 to 4, reached from order 1 a step at a time; 1 is DDIM."""

    name = "ipndm"
    paper = "Zhang & Chen 2023, arXiv:2204.13902, appendix H.2; Liu et al. 2022, arXiv:2202.09778"

    order: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order not in (1, 2, 3, 4):
            raise UserError(f"ipndm:order is 1, 2, 3 or 4, got {self.order}")

    @property
    def global_order(self) -> float:
        return min(self.order, 2)

    def sample(self, eps: Denoiser, grid: TimeGrid, x: Tensor, noise: NoiseSource) -> Tensor:
        history: list[Tensor] = []
        for i in range(grid.steps):
            history = [eps(x, grid.times[i]), *history[: self.order - 1]]
            x = transfer(grid, x, multistep(history), grid.times[i], grid.times[i + 1])
        return x


@hookimpl
def samplerbench_samplers(register):
    register(SPNDM)
    register(FPNDM)
    register(IPNDM)
