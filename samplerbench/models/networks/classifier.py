"""A classifier of noisy images or latents: the inner half of the U-Net, as in Dhariwal & Nichol 2021, §4, and a mean
over all places.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import whole_numbers
from .unet import GroupNorm, Stage, UNetConfig, time_features

__all__ = ["NoisyClassifier", "NoisyClassifierConfig"]


@dataclass(frozen=True)
class NoisyClassifierConfig:
    """Architecture of a `NoisyClassifier`: classes, and for the rest see `UNetConfig`."""

    image_shape: tuple[int, int, int]
    classes: int
    patch: int = 1
    channels: tuple[int, ...] = (32, 64)
    blocks: int = 2
    attention: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError for what no network can be."""
        whole_numbers("classes", [self.classes], 2, 2**16)
        known = UNetConfig(self.image_shape, self.patch, self.channels, self.blocks, self.attention)
        for name in ("image_shape", "channels", "attention"):
            object.__setattr__(self, name, getattr(known, name))


class NoisyClassifier(nn.Module):
    """The network: what an ε_θ is given, x [B, C, H, W] and label [B] -> logits [B, classes]; differentiable in x."""

    def __init__(self, config: NoisyClassifierConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.channels
        c_time = 4 * widths[0]
        self.time = nn.Sequential(nn.Linear(widths[0], c_time), nn.SiLU(), nn.Linear(c_time, c_time), nn.SiLU())
        self.stem = nn.Conv2d(config.image_shape[0] * config.patch**2, widths[0], 3, padding=1)
        self.down, width = nn.ModuleList(), widths[0]
        for level, c_out in enumerate(widths):
            if level:
                self.down.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
            for _ in range(config.blocks):
                self.down.append(Stage(width, c_out, c_time, level in config.attention))
                width = c_out
        self.middle = Stage(width, width, c_time, attention=True)
        self.norm = GroupNorm(width)
        self.head = nn.Linear(width, config.classes)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        time = self.time(time_features(label, self.config.channels[0]).to(x.dtype))
        h = self.stem(F.pixel_unshuffle(x, self.config.patch))
        for layer in self.down:
            h = layer(h, time) if isinstance(layer, Stage) else layer(h)
        return self.head(F.silu(self.norm(self.middle(h, time))).mean(dim=(2, 3)))
