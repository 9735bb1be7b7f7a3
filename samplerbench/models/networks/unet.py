"""The U-Net of the shipped models: the DDPM network (Ho et al. 2020, appendix B) made small enough for two CPU cores.

What differs from the paper, and why: images are folded into channels first (`patch`), because convolutions at full
resolution are where a CPU spends its time; the time embedding scales and shifts each group norm (Dhariwal & Nichol
2021), which is worth more than adding it at this size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import whole_numbers

__all__ = ["UNet", "UNetConfig"]


@dataclass(frozen=True)
class UNetConfig:
    """Architecture of a `UNet`.

    Attributes:
        image_shape: (C, H, W) of the images; H and W are divisible by `patch · 2^(len(channels) - 1)`.
        patch: side of the pixel blocks folded into channels before the first convolution.
        channels: width of each resolution, finest first.
        blocks: residual blocks a resolution on the way down (one more on the way up).
        attention: resolutions (0 is the finest) with self-attention after each block.
        learned_range: whether a second output a channel places the variance between β̃ and β (Nichol & Dhariwal 2021).
        text: width of the vector that describes what is asked for; 0 of a network that is asked for nothing.
        embedding: width of the embedding of time, and of that vector; 0 is four times the first of `channels`.
    """

    image_shape: tuple[int, int, int]
    patch: int = 1
    channels: tuple[int, ...] = (64, 128)
    blocks: int = 2
    attention: tuple[int, ...] = ()
    learned_range: bool = False
    text: int = 0
    embedding: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError for what no network can be."""
        levels = len(self.channels) if isinstance(self.channels, list | tuple) else 0
        for name, least, most in (("image_shape", 1, 2**16), ("channels", 8, 2**16), ("attention", 0, levels - 1)):
            object.__setattr__(self, name, whole_numbers(name, getattr(self, name), least, most))
        whole_numbers("patch", [self.patch], 1, 2**16)
        whole_numbers("blocks", [self.blocks], 1, 2**10)
        whole_numbers("text", [self.text], 0, 2**16)
        whole_numbers("embedding", [self.embedding], 0, 2**16)
        if not isinstance(self.learned_range, bool):
            raise ValueError(f"learned_range is true or false, got {self.learned_range!r}")
        if len(self.image_shape) != 3:
            raise ValueError(f"image_shape is [C, H, W], got {list(self.image_shape)}")
        if not self.channels:
            raise ValueError("channels has a width for each resolution, got none")
        step = self.patch * 2 ** (len(self.channels) - 1)
        if any(side % step for side in self.image_shape[1:]):
            raise ValueError(f"image sides {self.image_shape[1:]} are not divisible by {step} (patch · 2^(levels - 1))")
        if any(width % 8 for width in self.channels):
            raise ValueError(f"channels {self.channels} must be multiples of 8")


def time_features(label: Tensor, width: int) -> Tensor:
    """Sinusoidal embedding of time labels (Vaswani et al. 2017). label: [B], out: [B, width]."""
    frequencies = torch.exp(
        -math.log(10_000) / (width // 2) * torch.arange(width // 2, dtype=torch.float32, device=label.device)
    )
    angles = label.float()[:, None] * frequencies[None]
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class GroupNorm(nn.GroupNorm):
    """Eight groups, computed in float32 or better whatever the precision around it: steadier, and under autocast on
    CPUs also faster.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(8, channels)

    def forward(self, x: Tensor) -> Tensor:
        least = torch.promote_types(x.dtype, torch.float32)
        weight, bias = self.weight.to(least), self.bias.to(least)
        return F.group_norm(x.to(least), self.num_groups, weight, bias, self.eps).to(self.weight.dtype)


class ResidualBlock(nn.Module):
    """Norm, SiLU, convolution, twice, with the time embedding as scale and shift of the second norm."""

    def __init__(self, c_in: int, c_out: int, c_time: int) -> None:
        super().__init__()
        self.norm1 = GroupNorm(c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.time = nn.Linear(c_time, 2 * c_out)
        self.norm2 = GroupNorm(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.time(time)[:, :, None, None].chunk(2, dim=1)
        h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        return self.skip(x) + self.conv2(F.silu(h))


class Attention(nn.Module):
    """Single-head self-attention over the pixels, with a residual connection.

    The projections are 1×1 convolutions: the same sums as linear layers, and on CPUs two to three times faster.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = GroupNorm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        q, k, v = (
            self.qkv(self.norm(x)).permute(0, 2, 3, 1).reshape(batch, 1, height * width, 3 * channels).chunk(3, dim=3)
        )
        mixed = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(mixed.reshape(batch, height, width, channels).permute(0, 3, 1, 2))


class Stage(nn.Module):
    """A residual block, and self-attention where the resolution has it."""

    def __init__(self, c_in: int, c_out: int, c_time: int, attention: bool) -> None:
        super().__init__()
        self.block = ResidualBlock(c_in, c_out, c_time)
        self.attention = Attention(c_out) if attention else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.attention(self.block(x, time))


class UNet(nn.Module):
    """The network: `forward(x, label)` with x [B, C, H, W] and label [B] (float or int) gives [B, C, H, W], with a
    learned range [B, 2C, H, W]. One that is asked for something is given `text` [B, text], too.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths, c_image = config.channels, config.image_shape[0] * config.patch**2
        c_time = config.embedding or 4 * widths[0]
        self.time = nn.Sequential(nn.Linear(widths[0], c_time), nn.SiLU(), nn.Linear(c_time, c_time), nn.SiLU())
        if config.text:
            self.text = nn.Linear(config.text, c_time)
        self.stem = nn.Conv2d(c_image, widths[0], 3, padding=1)
        self.down, self.up, skips, width = nn.ModuleList(), nn.ModuleList(), [widths[0]], widths[0]
        for level, c_out in enumerate(widths):
            if level:
                self.down.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
                skips.append(width)
            for _ in range(config.blocks):
                self.down.append(Stage(width, c_out, c_time, level in config.attention))
                width = c_out
                skips.append(width)
        self.middle = Stage(width, width, c_time, attention=True)
        for level in reversed(range(len(widths))):
            for _ in range(config.blocks + 1):
                self.up.append(Stage(width + skips.pop(), widths[level], c_time, level in config.attention))
                width = widths[level]
            if level:
                self.up.append(nn.Upsample(scale_factor=2, mode="nearest"))
        self.norm = GroupNorm(width)
        self.head = nn.Conv2d(width, (2 if config.learned_range else 1) * c_image, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, label: Tensor, text: Tensor | None = None) -> Tensor:
        time = self._embedding(time_features(label, self.config.channels[0]).to(x.dtype), text)
        h = self.stem(F.pixel_unshuffle(x, self.config.patch).contiguous(memory_format=torch.channels_last))
        skips = [h]
        for layer in self.down:
            h = layer(h, time) if isinstance(layer, Stage) else layer(h)
            skips.append(h)
        h = self.middle(h, time)
        for layer in self.up:
            h = layer(torch.cat([h, skips.pop()], dim=1), time) if isinstance(layer, Stage) else layer(h)
        return F.pixel_shuffle(self.head(F.silu(self.norm(h))), self.config.patch)

    def _embedding(self, features: Tensor, text: Tensor | None) -> Tensor:
        if (text is None) != (self.config.text == 0):
            raise ValueError("a network with text is asked for something, and one without is not")
        if text is None:
            return self.time(features)
        first, between, second, last = self.time
        return last(second(between(first(features))) + self.text(text.to(features.dtype)))
