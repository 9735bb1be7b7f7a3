"""Algorithm 1 of the DDPM paper (Ho et al. 2020): learn ε_θ by minimising ‖ε - ε_θ(α_t x_0 + σ_t ε, t)‖² over t = 1..T.

Two departures that a recipe may ask for, both for what a small network can learn in a short time:

- `times = "lognormal"`: three quarters of the times follow log(σ_t/α_t) ~ N(-0.9, 1.3²), about where images are decided
  (Karras et al. 2022, table 1), one quarter is uniform. `uniform` is the paper's.
- `weighting = "v"`: the squared error is divided by α_t², which makes it the error of v (Salimans & Ho 2022) and keeps
  the noisy end, whose error in ε is tiny, in the loss. `epsilon` is the paper's.

Times are stratified over the batch: one in each of B equal slices of the distribution, so the loss varies less from
batch to batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..diffusion.vp import DiscreteSchedule
from ..models.preconditioning import Level
from ..models.predictor import NoisePredictor
from .loop import generator
from .recipe import Recipe

__all__ = ["DiffusionLoss"]


class DiffusionLoss:
    """The loss of a training step as a function of the step's number.

    images: uint8 [N, C, H, W], on any device.
    span: draws only times t with span[0] < t <= span[1], distributed as they are among all.
    seed: of the draws; the recipe's without one.
    """

    def __init__(
        self,
        predictor: NoisePredictor,
        schedule: DiscreteSchedule,
        images: Tensor,
        recipe: Recipe,
        device: torch.device,
        span: tuple[int, int] | None = None,
        seed: int | None = None,
    ) -> None:
        self.predictor, self.images, self.recipe, self.device = predictor, images, recipe, device
        self.seed = recipe.optimiser.seed if seed is None else seed
        times = torch.arange(1, len(schedule.betas) + 1).numpy()
        self.alpha = torch.from_numpy(schedule.alpha(times)).float().to(device)
        self.sigma = torch.from_numpy(schedule.sigma(times)).float().to(device)
        log_sigma = torch.from_numpy(-schedule.half_log_snr(times))
        if recipe.times == "lognormal":
            density = torch.exp(-0.5 * ((log_sigma + 0.9) / 1.3) ** 2) * torch.gradient(log_sigma)[0]
            density = 0.75 * density / density.sum() + 0.25 / len(density)
        else:
            density = torch.full((len(times),), 1 / len(times), dtype=torch.float64)
        first, self.last = span or (0, len(times))
        density[:first], density[self.last :] = 0, 0
        self.cumulative = (density / density.sum()).cumsum(0).to(device)

    def __call__(self, step: int) -> Tensor:
        config, device = self.recipe.optimiser, self.device
        draw = generator(self.seed, step, device)
        torch.manual_seed(self.seed * 1_000_003 + step)  # dropout has no generator of its own
        picked = torch.randint(len(self.images), (config.batch_size,), generator=draw, device=device)
        x0 = self.images[picked.to(self.images.device)].to(device).float() / 127.5 - 1
        if self.recipe.data.flips:
            x0 = torch.where(torch.rand(len(x0), 1, 1, 1, generator=draw, device=device) < 0.5, x0.flip(3), x0)
        slices = torch.arange(config.batch_size, device=device, dtype=torch.float64)
        position = (slices + torch.rand(1, generator=draw, device=device)) / config.batch_size
        label = torch.searchsorted(self.cumulative, position).clamp(max=self.last - 1)
        eps = torch.randn(x0.shape, generator=draw, device=device)
        alpha, sigma = self.alpha[label].view(-1, 1, 1, 1), self.sigma[label].view(-1, 1, 1, 1)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            predicted = self.predictor(alpha * x0 + sigma * eps, label.float(), Level(alpha, sigma))
        error = (predicted.float() - eps).square().mean(dim=(1, 2, 3))
        return (error / self.alpha[label] ** 2 if self.recipe.weighting == "v" else error).mean()
