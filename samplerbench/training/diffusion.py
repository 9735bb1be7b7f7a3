"""Algorithm 1 of the DDPM paper (Ho et al. 2020): learn ε_θ by minimising ‖ε - ε_θ(α_t x_0 + σ_t ε, t)‖² over t = 1..T.

Two departures that a recipe may ask for, both for what a small network can learn in a short time:

- `times = "lognormal"`: three quarters of the times follow log(σ_t/α_t) ~ N(-0.9, 1.3²), or as `lognormal` says, about
  where images are decided (Karras et al. 2022, table 1), one quarter is uniform. `uniform` is the paper's.
- `weighting = "v"`: the squared error is divided by α_t², which makes it the error of v (Salimans & Ho 2022) and keeps
  the noisy end, whose error in ε is tiny, in the loss. `epsilon` is the paper's. As α x̂_0 + σ ε̂ = x, the error of v is
  that of x_0 divided by σ_t² too, and that is what it is made of near α = 0.

Times are stratified over the batch: one in each of B equal slices of the distribution, so the loss varies less from
batch to batch.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..diffusion.vp import DiscreteSchedule
from ..errors import UserError
from ..models.preconditioning import Level
from ..models.predictor import NoisePredictor
from .loop import generator
from .recipe import Recipe

__all__ = ["Captions", "DiffusionLoss", "Pixels", "Source"]

SMALL_ALPHA = 1e-3  # below it the error of v comes from x_0: an error of ε divided by α would be rounding alone


class Source(Protocol):
    """Images as a network sees them."""

    def __len__(self) -> int: ...

    def __call__(self, picked: Tensor, draw: torch.Generator) -> Tensor:
        """Those of the numbers `picked`, float32 [B, …] on the generator's device."""

    def first(self, count: int) -> Tensor:
        """The first, without what is chance in training, float32 [count, …] on the CPU."""


class Captions(Protocol):
    """What is said of images."""

    def __call__(self, picked: Tensor, draw: torch.Generator) -> Tensor:
        """Tokens [B, L] of the numbers `picked`, on the generator's device."""


class Pixels:
    """Images as they are, in [-1, 1]. images: uint8 [N, C, H, W], on any device. flips: half of them mirrored."""

    def __init__(self, images: Tensor, flips: bool = False) -> None:
        self.images, self.flips = images, flips

    def __len__(self) -> int:
        return len(self.images)

    def __call__(self, picked: Tensor, draw: torch.Generator) -> Tensor:
        device = draw.device
        x0 = self.images[picked.to(self.images.device)].to(device).float() / 127.5 - 1
        if not self.flips:
            return x0
        return torch.where(torch.rand(len(x0), 1, 1, 1, generator=draw, device=device) < 0.5, x0.flip(3), x0)

    def first(self, count: int) -> Tensor:
        return self.images[:count].cpu().float() / 127.5 - 1


class DiffusionLoss:
    """The loss of a training step as a function of the step's number.

    images: what an image of the data is to the network, see `Pixels`.
    captions: what the network is asked for, see `Captions`; without them nothing.
    span: draws only times t with span[0] < t <= span[1], distributed as they are among all.
    seed: of the draws; the recipe's without one.

    Raises UserError where the convention of `predictor` gives no finite loss at some time.
    """

    def __init__(
        self,
        predictor: NoisePredictor,
        schedule: DiscreteSchedule,
        images: Source,
        recipe: Recipe,
        device: torch.device,
        span: tuple[int, int] | None = None,
        seed: int | None = None,
        captions: Captions | None = None,
    ) -> None:
        self.predictor, self.images, self.recipe, self.device = predictor, images, recipe, device
        self.captions = captions
        self.seed = recipe.optimiser.seed if seed is None else seed
        times = np.arange(1, len(schedule.betas) + 1)
        self.alpha = torch.from_numpy(schedule.alpha(times)).float().to(device)
        self.sigma = torch.from_numpy(schedule.sigma(times)).float().to(device)
        self.from_x0 = recipe.weighting == "v" and bool((self.alpha < SMALL_ALPHA).any())
        self._check()
        density = torch.full((len(times),), 1 / len(times), dtype=torch.float64)
        if recipe.times == "lognormal":
            density = (
                0.75 * _lognormal(torch.from_numpy(-schedule.half_log_snr(times)), *recipe.lognormal) + 0.25 * density
            )
        first, self.last = span or (0, len(times))
        density[:first], density[self.last :] = 0, 0
        self.cumulative = (density / density.sum()).cumsum(0).to(device)

    def __call__(self, step: int) -> Tensor:
        config, device = self.recipe.optimiser, self.device
        draw = generator(self.seed, step, device)
        torch.manual_seed(self.seed * 1_000_003 + step)  # dropout has no generator of its own
        picked = torch.randint(len(self.images), (config.batch_size,), generator=draw, device=device)
        x0 = self.images(picked, draw)
        asked = {} if self.captions is None else {"tokens": self.captions(picked, draw)}
        slices = torch.arange(config.batch_size, device=device, dtype=torch.float64)
        position = (slices + torch.rand(1, generator=draw, device=device)) / config.batch_size
        label = torch.searchsorted(self.cumulative, position).clamp(max=self.last - 1)
        eps = torch.randn(x0.shape, generator=draw, device=device)
        alpha, sigma = self.alpha[label].view(-1, 1, 1, 1), self.sigma[label].view(-1, 1, 1, 1)
        x, at, convention = alpha * x0 + sigma * eps, Level(alpha, sigma), self.predictor.preconditioning
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            output = self.predictor.output(x, label.float(), at, **asked)[0]
            predicted = convention.epsilon(output, x, at)
        error = (predicted.float() - eps).square().mean(dim=(1, 2, 3))
        if self.recipe.weighting == "v":
            error = error / self.alpha[label].clamp(min=SMALL_ALPHA if self.from_x0 else 0.0) ** 2
        if self.from_x0:
            error_x0 = (convention.x0(output, x, at).float() - x0).square().mean(dim=(1, 2, 3))
            error = torch.where(self.alpha[label] < SMALL_ALPHA, error_x0 / self.sigma[label] ** 2, error)
        return error.mean()

    def _check(self) -> None:
        """Raises UserError where an output, turned into what the loss compares, is not finite in float32."""
        convention, at = self.predictor.preconditioning, Level(self.alpha, self.sigma)
        one, finite = torch.ones_like(self.alpha), torch.ones_like(self.alpha, dtype=torch.bool)
        for output, x in ((one, 0 * one), (0 * one, one)):
            finite &= convention.epsilon(output, x, at).square().isfinite()
            if self.from_x0:
                error = (convention.x0(output, x, at) / self.sigma).square()
                finite &= error.isfinite() | (self.alpha >= SMALL_ALPHA)
        if not finite.all():
            bad = int(finite.int().argmin())
            alpha, sigma = float(self.alpha[bad]), float(self.sigma[bad])
            raise UserError(
                f"prediction '{convention.prediction}' with weighting '{self.recipe.weighting}' gives no finite loss "
                f"at time {bad + 1}, where α = {alpha:.3g} and σ = {sigma:.3g} in float32; prediction v does, or a "
                "schedule that ends elsewhere"
            )


def _lognormal(log_sigma: Tensor, mean: float, deviation: float) -> Tensor:
    """How often each time is drawn, float64 [T] of sum 1, where log(σ_t/α_t) ~ N(mean, deviation²); log_sigma: [T].

    A time of log(σ/α) = ∞ is never drawn: the density of t falls to 0 there.
    """
    told = log_sigma.isfinite()
    exponent = -0.5 * ((log_sigma[told] - mean) / deviation) ** 2
    width = torch.gradient(log_sigma[told])[0] if len(exponent) > 1 else torch.ones_like(exponent)
    density = torch.zeros_like(log_sigma)
    density[told] = torch.exp(exponent - exponent.max()) * width
    return density / density.sum()
