"""Training of a variational autoencoder by its evidence lower bound.

What is minimised is -log p(x|z) + β KL, in nats a pixel and channel. With β = 1 that is the bound itself. A β below 1
keeps more of the image in the latents (Higgins et al. 2017; latent diffusion takes a very small one, Rombach et al.
2022): its latents cost more nats than they save, and decoded images are sharper. The bound that is reported is always
the true one. There is no adversarial loss and no loss in anybody's features.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..metrics.extractors import LoadedExtractor
from ..metrics.floor import reconstruction_floor
from ..metrics.frechet import Statistics
from ..models.elbo import bits_per_dim, elbo
from ..models.latents import noise_of, through
from ..models.networks.vae import VAE
from ..models.vae import Autoencoder
from .loop import generator
from .recipe import Recipe

__all__ = ["ElboLoss", "judged", "latent_moments"]

BATCH = 256


class ElboLoss:
    """The loss of a training step as a function of the step's number, with its parts, `reconstruction` and `kl` in nats
    an image.

    images: uint8 [N, C, H, W].
    """

    parts = ("reconstruction", "kl")

    def __init__(self, network: VAE, images: Tensor, recipe: Recipe, device: torch.device) -> None:
        self.network, self.images, self.recipe, self.device = network, images, recipe, device

    def __call__(self, step: int) -> tuple[Tensor, tuple[float, ...]]:
        config = self.recipe.optimiser
        draw = generator(config.seed, step)
        picked = self.images[torch.randint(len(self.images), (config.batch_size,), generator=draw)]
        if self.recipe.data.flips:
            picked = torch.where(torch.rand(len(picked), 1, 1, 1, generator=draw) < 0.5, picked.flip(3), picked)
        noise = torch.randn((len(picked), *self.network.config.latent_shape), generator=draw)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            found = elbo(self.network, picked.to(self.device), noise.to(self.device))
        reconstruction, kl = (part.mean() for part in found)
        loss = (reconstruction + self.recipe.beta * kl) / picked[0].numel()
        return loss, (float(reconstruction.detach()), float(kl.detach()))


@torch.no_grad()
def latent_moments(network: VAE, images: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation a channel, each [c], of latents drawn from q(z|x), over uint8 images [N, C, H, W].

    The variance is that of the means plus the mean of the variances.
    """
    total = torch.zeros(3, network.config.latent_channels, dtype=torch.float64)
    count = 0
    for batch in images.split(BATCH):
        mean, log_variance = (part.double().cpu() for part in network.encode(batch.to(device).float() / 127.5 - 1))
        parts = (mean, mean.square(), log_variance.exp())
        total += torch.stack([part.sum(dim=(0, 2, 3)) for part in parts])
        count += mean[:, 0].numel()
    first, second, inside = total / count
    return first.float(), (second - first.square() + inside).clamp(min=1e-12).sqrt().float()


@torch.no_grad()
def judged(
    coder: Autoencoder,
    images: Tensor,
    extractor: LoadedExtractor | None = None,
    reference: Statistics | None = None,
) -> dict[str, Any]:
    """What a trained VAE does to images that it has not seen, uint8 [N, C, H, W]: the bound in nats an image and bits a
    dimension, its two parts, and with an extractor the floor (see `reconstruction_floor`). Latents are drawn from
    q(z|x), with noise that belongs to the image's number.
    """
    nats, first, device = torch.zeros(2, dtype=torch.float64), 0, coder.shift.device
    for batch in images.split(BATCH):
        parts = elbo(coder.network, batch.to(device), noise_of(coder, first, len(batch)))
        nats += torch.stack([part.double().sum().cpu() for part in parts])
        first += len(batch)
    reconstruction, kl = (nats / len(images)).tolist()
    found: dict[str, Any] = {
        "images": len(images),
        "reconstruction_nats": round(reconstruction, 3),
        "kl_nats": round(kl, 3),
        "elbo_nats": round(-reconstruction - kl, 3),
        "bits_per_dim": round(bits_per_dim(reconstruction + kl, images[0].numel()), 5),
    }
    if extractor is not None and reference is not None:
        floor = reconstruction_floor(images, lambda batch, i: through(coder, batch, i), extractor, reference)
        found |= {"fid": floor.through.value, "fid_se": floor.through.se, "fid_of_the_images": floor.before.value}
        found |= {"fid_cost": floor.cost.delta, "fid_cost_se": floor.cost.se}
    return found
