"""The variational bound on the negative log likelihood of images under a chain of Gaussians (Ho et al. 2020, eq. 5),
and under such a chain of latents with a VAE's decoder after it (Vahdat et al. 2021, eq. 3).
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..diffusion.denoiser import Epsilon, Meter
from ..diffusion.grid import TimeGrid
from ..diffusion.noise import NoiseSource
from ..sampler import Sampler

__all__ = ["BoundTerms", "JointTerms", "LikelihoodCoder", "bound_terms", "joint_terms"]


class BoundTerms(NamedTuple):
    """Bits a dimension of each image, [B]: L_T, the sum of L_{t-1}, and L_0."""

    prior: Tensor
    steps: Tensor
    decoder: Tensor

    @property
    def total(self) -> Tensor:
        return self.prior + self.steps + self.decoder


class JointTerms(NamedTuple):
    """Bits a dimension of each image, [B]: -log p(x|z); log q(z|x), less than 0 where latents are drawn from little
    space; and L_T, the sum of L_{t-1}, and L_0 of the latents, a density.
    """

    reconstruction: Tensor
    posterior: Tensor
    prior: Tensor
    steps: Tensor
    decoder: Tensor

    @property
    def total(self) -> Tensor:
        return self.reconstruction + self.posterior + self.prior + self.steps + self.decoder


@runtime_checkable
class LikelihoodCoder(Protocol):
    """What a VAE says of images and its latents; see `Autoencoder`."""

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]: ...

    def log_likelihood(self, images: Tensor, latents: Tensor) -> Tensor: ...


def joint_terms(
    sampler: Sampler,
    epsilon: Epsilon,
    grid: TimeGrid,
    coder: LikelihoodCoder,
    images: Tensor,
    drawn_with: Tensor,
    noise: NoiseSource,
) -> JointTerms:
    """The terms of -log p(x) ≤ E_q(z|x) [-log p(x|z) + log q(z|x) - log p(z)] for images, uint8 [B, C, H, W], at one
    draw of z; the last is the chain's bound. Where p(z) is N(0, 1) this is the ELBO that the VAE was trained by.

    drawn_with: standard normal, of the latents' shape, on the device that all is on. noise: of the chain.
    """
    mean, log_variance = (part.to(drawn_with) for part in coder.posterior(images))
    z = mean + (0.5 * log_variance).exp() * drawn_with
    per_image = 1 / (images[0].numel() * math.log(2))
    posterior = -0.5 * (math.log(2 * math.pi) + log_variance.double() + drawn_with.double().square())
    chain = bound_terms(sampler, epsilon, grid, z, noise, density=True)
    share = z[0].numel() / images[0].numel()
    return JointTerms(
        -coder.log_likelihood(images, z).double() * per_image,
        posterior.flatten(1).sum(dim=1) * per_image,
        chain.prior * share,
        chain.steps * share,
        chain.decoder * share,
    )


def bound_terms(
    sampler: Sampler, epsilon: Epsilon, grid: TimeGrid, x0: Tensor, noise: NoiseSource, density: bool = False
) -> BoundTerms:
    """The terms for images x0, [B, C, H, W] in [-1, 1], each KL estimated at one draw of x_t.

    density: x0 are no images of 256 grey levels, and L_0 is minus the logarithm of the decoder's density.

    sampler: has transition densities. grid: ends at time 0; its last step is the decoder, a Gaussian over the 256 grey
    levels. Its variance is what the sampler's transition gives for that step, where no noise is added. `ddpm` gives the
    posterior's of the step before, `analytic-ddpm` the posterior's of the whole chain's second step, as in the authors'
    codes. Where it is 0 it is that of the step before. The normal distribution function is exact; Ho et al. approximate
    it by a tanh, which adds 0.002 bits on the shipped model.
    """
    denoiser, bits = Meter(epsilon, len(x0), schedule=grid.schedule).denoiser(), 1 / math.log(2)
    alpha, sigma = grid.alpha, grid.sigma
    start = grid.schedule.prior(grid.times[0])
    spread = (alpha[0] ** 2 * x0.double().square() + sigma[0] ** 2) / start**2 - 1 - 2 * math.log(sigma[0] / start)
    prior = 0.5 * spread.flatten(1).mean(dim=1) * bits
    steps = torch.zeros_like(prior)
    variance: Tensor | float = 1.0
    for i in range(grid.steps - 1):
        x = alpha[i] * x0 + sigma[i] * noise(i)
        mean, variance = sampler.transition(denoiser, grid, i, x)
        wanted, width = _posterior(grid, i, x0, x)
        ratio = width / torch.as_tensor(variance, dtype=torch.float64)
        gap = (wanted - mean).double().square() / variance
        steps += 0.5 * (gap + ratio - 1 - ratio.log()).flatten(1).mean(dim=1) * bits
    i = grid.steps - 1
    x = alpha[i] * x0 + sigma[i] * noise(i)
    mean, last = sampler.transition(denoiser, grid, i, x)
    deviation = torch.as_tensor(variance if isinstance(last, float) and last == 0 else last).double().sqrt()
    log_decoder = _log_density if density else _log_grey_level
    decoder = -log_decoder(x0.double(), mean.double(), deviation).flatten(1).mean(dim=1) * bits
    return BoundTerms(prior, steps, decoder)


def _posterior(grid: TimeGrid, i: int, x0: Tensor, x: Tensor) -> tuple[Tensor, float]:
    """Mean and variance of q(x_{i+1} | x_i, x_0) (eq. 7)."""
    ratio = grid.alpha[i] / grid.alpha[i + 1]
    beta, left, before = 1 - ratio**2, grid.sigma[i] ** 2, grid.sigma[i + 1] ** 2
    return grid.alpha[i + 1] * beta / left * x0 + ratio * before / left * x, beta * before / left


def _log_density(x0: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    return -0.5 * ((x0 - mean) / deviation).square() - deviation.log() - 0.5 * math.log(2 * math.pi)


def _log_grey_level(x0: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """log of the probability that a Gaussian falls into the grey level of x0 (eq. 13): 256 levels of width 2/255, the
    first and the last without end.
    """
    upper = torch.where(x0 > 0.999, math.inf, (x0 + 1 / 255 - mean) / deviation)
    lower = torch.where(x0 < -0.999, -math.inf, (x0 - 1 / 255 - mean) / deviation)
    # in the upper tail both values of Φ are near 1: take the mirror image there, where they are small
    mirrored = lower > 0
    a, b = torch.where(mirrored, -upper, lower), torch.where(mirrored, -lower, upper)
    return (torch.special.ndtr(b) - torch.special.ndtr(a)).clamp(min=1e-300).log()
