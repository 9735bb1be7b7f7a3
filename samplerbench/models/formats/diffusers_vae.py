"""The VAE of a latent diffusers pipeline."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UserError
from .diffusers_parts import Part, described, read_part
from .weights import of_today, renamed

if TYPE_CHECKING:
    from torch import Tensor

    from ..networks.conditional import ImageCoder

__all__ = ["LatentCoder", "read_decoder"]

PIXELS = 2**22  # that are decoded at once: sixteen images of 512 × 512


@dataclass(frozen=True, eq=False)
class LatentCoder:
    """An `AutoencoderKL` or `VQModel` of diffusers, see `Coder`. What it decodes is latents · factor + shift, each a
    number a channel.

    module: (z) -> images, with a method `moments`; upcast: whether its config asks for float32 (`force_upcast`), as in
    float16 it overflows.
    """

    module: ImageCoder
    image_shape: tuple[int, int, int]
    latent_shape: tuple[int, int, int]
    factor: tuple[float, ...]
    shift: tuple[float, ...]
    upcast: bool

    def decode(self, latents: Tensor) -> Tensor:
        """Images [B, C, H, W] around [-1, 1], some at a time. Raises UserError for latents of another shape."""
        import torch

        if tuple(latents.shape[1:]) != self.latent_shape:
            want = ", ".join(map(str, self.latent_shape))
            raise UserError(f"this decoder takes latents [B, {want}], got {list(latents.shape)}")
        z = latents.to(self._place())
        z = z * z.new_tensor(self.factor).view(-1, 1, 1) + z.new_tensor(self.shift).view(-1, 1, 1)
        with torch.no_grad():
            return torch.cat([self.module(part) for part in z.split(self._some)]).to(latents.dtype)

    def encode(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        """Latents [B, c, h, w] of images, uint8 [B, C, H, W]: drawn from q(z|x) by standard normal noise of their
        shape, or its mean; a `VQModel` has no spread. Raises UserError for images of another shape.
        """
        import torch

        if images.dtype != torch.uint8 or tuple(images.shape[1:]) != self.image_shape:
            want = ", ".join(map(str, self.image_shape))
            raise UserError(f"this VAE takes uint8 images [B, {want}], got {images.dtype} {list(images.shape)}")
        x = images.to(self._place()) / 127.5 - 1
        with torch.no_grad():
            parts = [self.module.moments(part) for part in x.split(self._some)]
        z, deviation = (torch.cat(each) for each in zip(*parts, strict=True))
        if noise is not None:
            z = z + deviation * noise.to(z)
        return (z - z.new_tensor(self.shift).view(-1, 1, 1)) / z.new_tensor(self.factor).view(-1, 1, 1)

    @property
    def _some(self) -> int:
        """How many images go through it at once."""
        return max(1, PIXELS // (self.image_shape[1] * self.image_shape[2]))

    def _place(self) -> Tensor:
        """A weight of it, which says where it is and in which precision."""
        import torch

        if self.upcast and next(self.module.parameters()).dtype == torch.float16:
            self.module.float()
        return next(self.module.parameters())


def read_decoder(
    folder: Path, kinds: tuple[str, ...], side: tuple[int, int], channels: int, what: str
) -> tuple[LatentCoder, Part, list[str]]:
    """The decoder in a folder, for latents of `channels` and side (h, w), with its notes. Raises UserError where it
    does not fit them.
    """
    from ..networks.conditional import ImageCoder

    config = described(folder, kinds, what)
    said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    part = read_part(
        said.get("_class_name", kinds[0]),
        config,
        folder,
        what,
        lambda state: renamed(((n, of_today(n), value) for n, value in state.items()), f"{what}: {folder.name}"),
    )
    own = config.get("vq_embed_dim") or part.get("latent_channels")
    if own != channels:
        raise UserError(f"{what}: its {folder.name} has latents of {own} channels, and its network takes {channels}")
    times = 2 ** (len(part.get("block_out_channels")) - 1)
    height, width = (times * one for one in side)
    factor, shift = _scaling(part, channels, f"{what}: {folder.name}/config.json")
    upcast = bool(part.get("force_upcast"))
    default = "" if "scaling_factor" in config else ", diffusers' default, as its config does not say it"
    notes = [
        f"latents are divided by {part.get('scaling_factor'):g} before they are decoded (scaling_factor{default})",
        "decoded in float32" + (", as its config asks (force_upcast)" if upcast else ""),
    ]
    shape = (part.get("out_channels"), height, width)
    coder = LatentCoder(ImageCoder(part.network).eval(), shape, (channels, *side), factor, shift, upcast)
    return coder, part, notes


def _scaling(part: Part, channels: int, where: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Factor and shift of each channel: 1/scaling_factor and shift_factor; or what undoes means and deviations."""
    scale = part.get("scaling_factor")
    if not _is_number(scale) or scale <= 0:
        raise UserError(f"{where}: scaling_factor is a number above 0, got {scale!r}")
    moved = part.config.get("shift_factor") or 0.0
    if not _is_number(moved):
        raise UserError(f"{where}: shift_factor is a number or null, got {moved!r}")
    mean, std = part.config.get("latents_mean"), part.config.get("latents_std")
    if mean is None or std is None:
        return (1 / scale,) * channels, (float(moved),) * channels
    for name, values in (("latents_mean", mean), ("latents_std", std)):
        if not (isinstance(values, list) and len(values) == channels and all(map(_is_number, values))):
            raise UserError(f"{where}: {name} is a number for each of {channels} channels, got {values!r}")
    if moved:
        raise UserError(f"{where}: shift_factor contradicts latents_mean")
    return tuple(value / scale for value in std), tuple(map(float, mean))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
