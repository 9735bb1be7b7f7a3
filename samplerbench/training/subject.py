"""What an ε_θ is trained on: pixels or latents, with or without words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..data import Images
from ..errors import UserError
from ..metrics.extractor import shape_text
from ..models.vae import Autoencoder, load_vae
from .diffusion import Pixels, Source
from .latent import GarmentCaptions, Latents
from .recipe import Recipe
from .told import Told

__all__ = ["Subject", "subject_of"]


@dataclass(frozen=True)
class Subject:
    """data: all of the images. seen: those that training sees, uint8 [N, C, H, W]. flips: half of them mirrored.
    coder: the VAE in whose latents it works, on `device`. captions: of what it sees.
    """

    data: Images
    seen: Tensor
    flips: bool
    coder: Autoencoder | None
    captions: GarmentCaptions | None
    device: torch.device

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of what the network takes."""
        return self.coder.latent_shape if self.coder else self.image_shape

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, channels, height, width = self.data.images.shape
        return channels, height, width

    def source(self, told: Told) -> Source:
        """The images as the network sees them. Latents of them all are made, which takes a while."""
        if self.coder is None:
            return Pixels(self.seen, self.flips)
        return Latents(self.coder, self.seen, self.device, partial(told.finishing, "latents", total=len(self.seen)))


def subject_of(recipe: Recipe, data: Images, device: torch.device) -> Subject:
    """Raises UserError where the VAE cannot be read or is of other images, and where captions are of other data."""
    coder = load_vae(recipe.vae).to(device) if recipe.vae else None
    captions = GarmentCaptions(data, recipe.text) if recipe.text else None
    seen = data.images[captions.kept] if captions else data.images
    subject = Subject(data, seen, recipe.data.flips, coder, captions, device)
    if coder and coder.image_shape != subject.image_shape:
        raise UserError(
            f"VAE '{recipe.vae}' is of images {shape_text(coder.image_shape)}, those of the data are "
            f"{shape_text(subject.image_shape)}"
        )
    return subject
