"""Samples as uint8 images, and pictures of many of them."""

from __future__ import annotations

from math import ceil, sqrt

import numpy as np
import torch
from PIL import Image
from torch import Tensor

__all__ = ["quantise", "sample_grid"]


def quantise(x: Tensor) -> Tensor:
    """Images in [-1, 1] as uint8, rounding half up: -1 is 0 and 1 is 255; what lies outside is clipped."""
    return (x.float() * 127.5 + 128).clamp(0, 255).to(torch.uint8)


def sample_grid(images: Tensor, gap: int = 2, side: int = 64) -> Image.Image:
    """Images in rows, as near to a square as their number allows; small ones are enlarged without smoothing.

    images: uint8 [N, C, H, W], C = 1 or 3; the i-th sample is always in the same place. side: the least width of a
    picture, in pixels.
    """
    count, channels, height, width = images.shape
    columns = ceil(sqrt(count))
    rows = ceil(count / columns)
    canvas = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, channels), 255, dtype=np.uint8)
    for i, picture in enumerate(images.permute(0, 2, 3, 1).numpy()):
        top, left = gap + i // columns * (height + gap), gap + i % columns * (width + gap)
        canvas[top : top + height, left : left + width] = picture
    factor = max(1, side // width)
    canvas = canvas.repeat(factor, axis=0).repeat(factor, axis=1)
    return Image.fromarray(canvas[..., 0] if channels == 1 else canvas)
