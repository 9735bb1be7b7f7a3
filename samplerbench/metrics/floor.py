"""What an autoencoder costs before any sampler runs: the FID of real images that went through it and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UserError
from ..stats.difference import Difference, difference
from ..stats.estimate import Estimate
from .extractor import shape_text
from .extractors import LoadedExtractor
from .frechet import Statistics
from .frechet_error import frechet
from .measured import Measured

__all__ = ["Floor", "reconstruction_floor"]

BATCH = 256


@dataclass(frozen=True)
class Floor:
    """FIDs of the same images: `through` after encoder and decoder, `before` as they are; and the first less the
    second, paired image by image.
    """

    through: Measured
    before: Measured
    cost: Difference


def reconstruction_floor(
    images: Tensor, through: Callable[[Tensor, int], Tensor], extractor: LoadedExtractor, reference: Statistics
) -> Floor:
    """The floor of a latent model: no sampler in this latent space can be expected to have a lower FID.

    images: uint8 [N, C, H, W], which the autoencoder has not seen. through: a batch of them, and the number of its
    first -> the batch after encoder and decoder, as uint8 of the same shape. reference: statistics of the training
    images in the extractor's features.

    Raises UserError where what comes back has another shape or type.
    """
    made, real = [], []
    first = 0
    for batch in images.split(BATCH):
        back = through(batch, first)
        if back.dtype != torch.uint8 or back.shape != batch.shape:
            raise UserError(
                f"an autoencoder gives back uint8 images of {shape_text(batch.shape[1:])}, got {back.dtype} "
                f"{list(back.shape)}"
            )
        made.append(extractor(back).cpu())
        real.append(extractor(batch).cpu())
        first += len(batch)
    one, two = frechet(torch.cat(made), reference), frechet(torch.cat(real), reference)
    found = difference(_estimate(two, first), _estimate(one, first), paired=True, extrapolate=False)
    return Floor(one, two, found)


def _estimate(found: Measured, n: int) -> Estimate:
    return Estimate(found.value, n, found.se, found.influences, found.halves)
