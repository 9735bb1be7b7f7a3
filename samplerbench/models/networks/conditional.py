"""diffusers' conditional networks behind this project's convention: (x, label, what is asked for) -> output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["ClassTransformer", "ImageCoder", "TextTransformer", "TextUNet"]


class ImageCoder(nn.Module):
    """`AutoencoderKL` or `VQModel`: z [B, c, h, w] -> images [B, C, H, W]."""

    def __init__(self, coder: Any) -> None:
        super().__init__()
        self.coder = coder

    def forward(self, z: Tensor) -> Tensor:
        images: Tensor = self.coder.decode(z, return_dict=False)[0]
        return images

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of q(z|x), [B, c, h, w]."""
        found = self.coder.encode(x, return_dict=False)[0]
        if isinstance(found, Tensor):
            return found, torch.zeros_like(found)
        return found.mean, found.std


class TextUNet(nn.Module):
    """`UNet2DConditionModel`. ids: what SDXL's is told of the image: its size, the crop's corner, the size wanted, 2
    numbers each; empty of one that is told nothing.
    """

    ids: Tensor

    def __init__(self, unet: nn.Module, ids: Sequence[float] = ()) -> None:
        super().__init__()
        self.unet = unet
        self.register_buffer("ids", torch.tensor(ids, dtype=torch.float32), persistent=False)

    def forward(self, x: Tensor, label: Tensor, text: Tensor, pooled: Tensor | None = None) -> Tensor:
        """x [B, C, H, W], label [B], text [B, tokens, width], pooled [B, width] -> [B, C, H, W]."""
        added = None
        if len(self.ids):
            added = {"text_embeds": pooled, "time_ids": self.ids.expand(len(x), -1)}
        output: Tensor = self.unet(x, label, encoder_hidden_states=text, added_cond_kwargs=added, return_dict=False)[0]
        return output


class ClassTransformer(nn.Module):
    """`DiTTransformer2DModel`."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, x: Tensor, label: Tensor, labels: Tensor) -> Tensor:
        """x [B, C, H, W], label [B], labels [B] (whole) -> [B, C, H, W], or [B, 2C, H, W]."""
        output: Tensor = self.transformer(x, timestep=label, class_labels=labels, return_dict=False)[0]
        return output


class TextTransformer(nn.Module):
    """`SD3Transformer2DModel`."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, x: Tensor, label: Tensor, text: Tensor, pooled: Tensor) -> Tensor:
        """x [B, C, H, W], label [B], text [B, tokens, width], pooled [B, width] -> [B, C, H, W]."""
        output: Tensor = self.transformer(
            x, timestep=label, encoder_hidden_states=text, pooled_projections=pooled, return_dict=False
        )[0]
        return output
