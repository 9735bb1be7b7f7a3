"""A variational autoencoder (Kingma & Welling 2014), small enough to train on two CPU cores.

The encoder gives q(z|x), a Gaussian with its own mean and variance in every element; the prior is N(0, 1). The decoder
gives a logistic distribution a pixel, cut into the 256 grey levels (Salimans et al. 2017, PixelCNN++, §2.1), so its
log-likelihoods are those of 8-bit images. Its scale is one learned number a channel (Rybkin et al. 2021, σ-VAE). With a
scale a pixel, also tried, training spends itself on pixels that are nearly certain, and textures stay blurred. As in
the U-Net, images are folded into channels first (`patch`).

Beside each change of resolution runs one without weights, of channels folded or unfolded (Chen et al. 2025, DC-AE,
§3.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import whole_numbers
from .unet import GroupNorm

__all__ = ["VAE", "VAEConfig", "log_probability"]

LEVEL = 2 / 255  # between two neighbouring grey levels, where images are in [-1, 1]
LOG_SCALE = (-7.0, 2.0)  # from a ninth of a level to far more than all of them
LOG_VARIANCE = (-20.0, 10.0)  # of q(z|x)


@dataclass(frozen=True)
class VAEConfig:
    """Architecture of a `VAE`.

    Attributes:
        image_shape: (C, H, W) of the images; H and W are divisible by `patch · 2^(len(channels) - 1)`.
        latent_channels: c of the latents; their sides are H and W divided by that number.
        patch: side of the pixel blocks folded into channels before the first convolution.
        channels: width of each resolution, finest first.
        blocks: residual blocks a resolution, of the encoder and of the decoder.
    """

    image_shape: tuple[int, int, int]
    latent_channels: int = 8
    patch: int = 2
    channels: tuple[int, ...] = (48, 96)
    blocks: tuple[int, int] = (1, 2)

    def __post_init__(self) -> None:
        """Raises ValueError for what no network can be."""
        for name, least, most in (("image_shape", 1, 2**16), ("channels", 8, 2**16), ("blocks", 1, 2**10)):
            object.__setattr__(self, name, whole_numbers(name, getattr(self, name), least, most))
        whole_numbers("patch", [self.patch], 1, 2**16)
        whole_numbers("latent_channels", [self.latent_channels], 1, 2**16)
        if len(self.image_shape) != 3:
            raise ValueError(f"image_shape is [C, H, W], got {list(self.image_shape)}")
        if len(self.blocks) != 2:
            raise ValueError(f"blocks has a number for the encoder and one for the decoder, got {list(self.blocks)}")
        if not self.channels:
            raise ValueError("channels has a width for each resolution, got none")
        if any(side % self.factor for side in self.image_shape[1:]):
            raise ValueError(
                f"image sides {self.image_shape[1:]} are not divisible by {self.factor} (patch · 2^(levels - 1))"
            )
        if any(width % 8 for width in self.channels):
            raise ValueError(f"channels {self.channels} must be multiples of 8")
        if any(4 * fine % coarse for fine, coarse in pairwise(self.channels)):
            raise ValueError(f"channels {self.channels}: each divides 4 times the one before it")

    @property
    def factor(self) -> int:
        """How many pixels of a side go into one of the latents'."""
        return self.patch * 2 ** (len(self.channels) - 1)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(c, h, w)."""
        _, height, width = self.image_shape
        return self.latent_channels, height // self.factor, width // self.factor


class Block(nn.Module):
    """Norm, SiLU, convolution, twice, with a residual connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = GroupNorm(width), GroupNorm(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(h)))


class Down(nn.Module):
    """Half the resolution: a convolution, and beside it the pixels folded into channels and averaged to `c_out`."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3, stride=2, padding=1)
        self.c_out = c_out

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + _averaged(F.pixel_unshuffle(x, 2), self.c_out)


class Up(nn.Module):
    """Twice the resolution: a convolution, and beside it the channels repeated; both unfolded into pixels."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, 4 * c_out, 3, padding=1)
        self.repeats = 4 * c_out // c_in

    def forward(self, x: Tensor) -> Tensor:
        beside = x.repeat_interleave(self.repeats, dim=1)
        return F.pixel_shuffle(self.conv(x) + beside, 2).contiguous(memory_format=torch.channels_last)


def _averaged(x: Tensor, channels: int) -> Tensor:
    return x.unflatten(1, (channels, -1)).mean(dim=2)


class VAE(nn.Module):
    """The network.

    `encode(x)`: x [B, C, H, W] in [-1, 1] -> mean and log variance of q(z|x), each [B, c, h, w].
    `decode(z)`: [B, c, h, w] -> mean [B, C, H, W] and log scale [C, 1, 1] of the pixels' logistics, in units of x.
    `log_likelihood(images, decoded)`: of uint8 [B, C, H, W] under what `decode` gave, in nats, [B].
    """

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        widths, (before, after) = config.channels, config.blocks
        c_image, c_latent = config.image_shape[0] * config.patch**2, config.latent_channels
        down: list[nn.Module] = []
        for level, width in enumerate(widths):
            if level:
                down.append(Down(widths[level - 1], width))
            down += [Block(width) for _ in range(before)]
        up: list[nn.Module] = []
        for level, width in reversed(list(enumerate(widths))):
            up += [Block(width) for _ in range(after)]
            if level:
                up.append(Up(width, widths[level - 1]))
        self.encoder = nn.ModuleDict(
            {
                "stem": nn.Conv2d(c_image, widths[0], 3, padding=1),
                "trunk": nn.Sequential(*down),
                "norm": GroupNorm(widths[-1]),
                "head": nn.Conv2d(widths[-1], 2 * c_latent, 3, padding=1),
            }
        )
        self.decoder = nn.ModuleDict(
            {
                "stem": nn.Conv2d(c_latent, widths[-1], 3, padding=1),
                "trunk": nn.Sequential(*up),
                "norm": GroupNorm(widths[0]),
                "head": nn.Conv2d(widths[0], c_image, 3, padding=1),
            }
        )
        self.log_scale = nn.Parameter(torch.full((config.image_shape[0],), -3.0))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.pixel_unshuffle(x, self.config.patch).contiguous(memory_format=torch.channels_last)
        mean, log_variance = _through(self.encoder, x).float().chunk(2, dim=1)
        return mean, log_variance.clamp(*LOG_VARIANCE)

    def decode(self, z: Tensor) -> tuple[Tensor, Tensor]:
        h = _through(self.decoder, z.contiguous(memory_format=torch.channels_last)).float()
        return F.pixel_shuffle(h, self.config.patch), self.log_scale.clamp(*LOG_SCALE).view(-1, 1, 1)

    def log_likelihood(self, images: Tensor, decoded: tuple[Tensor, Tensor]) -> Tensor:
        return log_probability(images, *decoded).sum(dim=(1, 2, 3))


def _through(half: nn.ModuleDict, x: Tensor) -> Tensor:
    return half["head"](F.silu(half["norm"](half["trunk"](half["stem"](x)))))


def log_probability(images: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """The log-probability of each grey level, in nats, [B, C, H, W], under logistics cut halfway between the levels.

    images: uint8. mean, log_scale: of the logistic, in units where the levels are -1, -1 + 2/255, …, 1. The first and
    the last level take all that lies beyond, so that the 256 probabilities sum to 1.

    With a and b the cuts below and above in units of the scale, σ(b) - σ(a) = σ(b) σ(-a) (1 - exp(a - b)): no two
    numbers near each other are subtracted.
    """
    inverse = (-log_scale).exp()
    centred = (images.to(mean.dtype) * LEVEL - 1 - mean) * inverse
    half = 0.5 * LEVEL * inverse
    above = F.logsigmoid(centred + half)
    below = F.logsigmoid(half - centred)
    between = torch.log(-torch.expm1(-2 * half))
    return torch.where(images == 0, above, torch.where(images == 255, below, above + below + between))
