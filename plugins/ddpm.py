"""DDPM: ancestral sampling, Algorithm 2 of Ho et al. 2020 ("Denoising Diffusion Probabilistic Models").

Stochastic, first order, one evaluation a step. On fewer than T steps the chain is the sub-sequence of the grid, with β
rebuilt from the kept ᾱ (Nichol & Dhariwal 2021, §4). Not to be confused with DDIM at η = 1, which it equals for
`variance=fixed-small` without clipping.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import expm1, inf, log, pi
from typing import TYPE_CHECKING, Literal

from samplerbench import Sampler, UserError, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from samplerbench import Denoiser, Epsilon, NoiseSchedule, NoiseSource, TimeGrid


@dataclass(frozen=True, kw_only=True)
class DDPM(Sampler):
    """variance: fixed-large is β, fixed-small the posterior's β̃ (§3.2 of the paper; far better on few steps);
    learned-range lies where the network places it between the two (Nichol & Dhariwal 2021, eq. 15).

    clip: `x0` limits the predicted x_0 to [-1, 1], as the authors' code does; `none` is Algorithm 2 as printed.
    """

    name = "ddpm"
    paper = "Ho et al. 2020, arXiv:2006.11239, Algorithm 2"

    variance: Literal["fixed-small", "fixed-large", "learned-range"] = "fixed-small"
    clip: Literal["none", "x0"] = "x0"

    @property
    def stochastic(self) -> bool:
        return True

    @property
    def starts_at_pure_noise(self) -> bool:
        return self.variance in ("fixed-small", "fixed-large")

    def unsuitable(self, schedule: NoiseSchedule, epsilon: Epsilon) -> str:
        if self.variance == "learned-range" and not hasattr(epsilon, "with_range"):
            return "the network of this model gives no range of variances; use another variance"
        return ""

    def limit_x0(self, x0: Tensor) -> Tensor:
        return x0.clamp(-1, 1) if self.clip == "x0" else x0

    def transition(self, eps: Denoiser, grid: TimeGrid, i: int, x: Tensor) -> tuple[Tensor, Tensor | float]:
        alpha, sigma = grid.alpha[i], grid.sigma[i]
        alpha_next, sigma_next = grid.alpha[i + 1], grid.sigma[i + 1]
        beta, small = self._beta(grid, i)
        variance: Tensor | float
        if self.variance == "learned-range":
            predicted, place = eps.with_range(x, grid.times[i])
            if small == 0:  # the last step: as the authors have it, the β̃ of the step before
                small = self._beta(grid, i - 1)[1] if i > 0 else beta
            variance = ((place + 1) / 2 * log(beta) + (1 - place) / 2 * log(small)).exp()
            x0 = (x - sigma * predicted) / alpha
        else:
            x0 = eps.x0(x, grid.times[i])
            variance = beta if self.variance == "fixed-large" else small
            if grid.sigma[i + 1] == 0 and i > 0:  # L_0's variance, as the authors have it; no noise is added there
                variance = self._beta(grid, i - 1)[1]
        x0 = self.limit_x0(x0)
        # mean of q(x_next | x, x0), eq. 7 of the paper
        mean = (alpha_next * beta / sigma**2) * x0 + (alpha / alpha_next * sigma_next**2 / sigma**2) * x
        return mean, variance

    def _beta(self, grid: TimeGrid, i: int) -> tuple[float, float]:
        """β and β̃ of step i."""
        fresh = -expm1(2 * (grid.half_log_snr[i] - grid.half_log_snr[i + 1]))  # (1 - α²/α'²) / σ², without rounding
        return fresh * grid.sigma[i] ** 2, fresh * grid.sigma[i + 1] ** 2

    def sample(self, eps: Denoiser, grid: TimeGrid, x: Tensor, noise: NoiseSource) -> Tensor:
        for i in range(grid.steps):
            x, variance = self.transition(eps, grid, i, x)
            if grid.sigma[i + 1] > 0:
                x = x + variance**0.5 * noise(i)
        return x


@dataclass(frozen=True, kw_only=True)
class AnalyticDDPM(DDPM):
    """Each step's variance is the best one for this model: the posterior's, and what the uncertainty of x_0 given x_t
    adds (Bao et al. 2022, theorem 1), at most what data in [-1, 1] can have (theorem 2). It follows from the mean
    square of ε_θ at that time, a constant of the model, estimated once on training images when it was trained.

    variance: this one.

    clip_pixel: the last noise added is at most that of so many grey levels (of 255; 2σ/255·√(π/2)), as the paper's
    results have it, because no later step removes it; `none` is the theorem alone, as bounds on the likelihood want it.
    """

    name = "analytic-ddpm"
    paper = "Bao et al. 2022, arXiv:2201.06503, theorem 1 and 2"

    variance: Literal["analytic"] = "analytic"  # type: ignore[assignment]
    clip_pixel: float | None = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clip_pixel is not None and not 0 <= self.clip_pixel < inf:
            raise UserError(f"analytic-ddpm:clip_pixel is 0 or more grey levels, or none, got {self.clip_pixel:g}")

    def unsuitable(self, schedule: NoiseSchedule, epsilon: Epsilon) -> str:
        if self.clip_pixel is not None and getattr(epsilon, "latent", False):
            return "clip_pixel is of grey levels, and the samples of this model are latents; use clip_pixel=none"
        if getattr(epsilon, "mean_square", None) is None:
            return (
                "this model does not hold the mean square of ε_θ at each time; `samplerbench train` writes it, and a "
                "Checkpoint can give it as mean_squares"
            )
        return ""

    def transition(self, eps: Denoiser, grid: TimeGrid, i: int, x: Tensor) -> tuple[Tensor, Tensor | float]:
        mean, _ = super().transition(eps, grid, i, x)
        beta, small = self._beta(grid, i)
        ratio = grid.sigma[i] / grid.alpha[i]
        of_x0 = ratio**2 * (1 - eps.mean_square(grid.times[i]))  # Var(x_0 | x_t), a pixel's mean
        weight = grid.alpha[i + 1] * beta / grid.sigma[i] ** 2
        variance = small + weight**2 * min(max(of_x0, 0.0), 1.0)
        if grid.sigma[i + 1] == 0 and grid.schedule.discrete and grid.schedule.t_max >= 2:
            # L_0's variance, as the authors have it: the posterior's of the whole chain's second step
            alpha, sigma = grid.schedule.alpha([1.0, 2.0]), grid.schedule.sigma([1.0, 2.0])
            return mean, float((1 - (alpha[1] / alpha[0]) ** 2) * (sigma[0] / sigma[1]) ** 2)
        if self.clip_pixel is not None and (i + 2 > grid.steps or grid.sigma[i + 2] == 0):
            variance = min(variance, (2 * self.clip_pixel / 255) ** 2 * pi / 2)
        return mean, variance


@hookimpl
def samplerbench_samplers(register):
    register(DDPM)
    register(AnalyticDDPM)
