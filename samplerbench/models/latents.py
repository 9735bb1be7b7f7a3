"""Latents of given images, with noise that belongs to the image's number: the same for everyone who asks."""

from __future__ import annotations

from torch import Tensor

from ..diffusion.noise import NoiseSource
from ..images import quantise
from .formats.format import Coder

__all__ = ["noise_of", "through"]

SEED = 0


def noise_of(coder: Coder, first: int, count: int) -> Tensor:
    """What the latents of images first, first + 1, … are drawn with, [count, c, h, w], where the coder's network is."""
    place = next(coder.module.parameters())
    return NoiseSource(SEED, range(first, first + count), coder.latent_shape, place.device).x_T()


def through(coder: Coder, images: Tensor, first: int = 0) -> Tensor:
    """Images after encoder and decoder, as uint8 on the CPU. first: the number of the first: its noise goes by that."""
    return quantise(coder.decode(coder.encode(images, noise_of(coder, first, len(images))))).cpu()
