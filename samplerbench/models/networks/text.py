"""A transformer that turns a short prompt into one vector (Vaswani et al. 2017), small enough to train with an ε_θ on
two CPU cores.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import whole_numbers

__all__ = ["PADDING", "TextEncoder", "TextEncoderConfig"]

PADDING = 0


@dataclass(frozen=True)
class TextEncoderConfig:
    """Architecture of a `TextEncoder`.

    Attributes:
        words: how many tokens there are, padding included.
        length: the most tokens of a prompt.
        width: of every layer and of the vector. depth: layers. heads: of the attention; they divide the width.
    """

    words: int
    length: int = 16
    width: int = 96
    depth: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        """Raises ValueError for what no network can be."""
        for name in ("words", "length", "width", "depth", "heads"):
            whole_numbers(name, [getattr(self, name)], 1, 2**16)
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not divisible by heads {self.heads}")


class Layer(nn.Module):
    """Attention and two linear layers, each after a norm and with a residual connection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=told)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.narrow(F.gelu(self.wide(self.norm2(x))))


class TextEncoder(nn.Module):
    """tokens [B, length], whole numbers, padded with 0 at the end -> [B, width]: what the first token becomes. A
    prompt's vector does not depend on how far it is padded.
    """

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.words = nn.Embedding(config.words, config.width)
        self.positions = nn.Parameter(0.02 * torch.randn(config.length, config.width))
        self.layers = nn.ModuleList(Layer(config.width, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        nn.init.normal_(self.words.weight, std=0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens) + self.positions[: tokens.shape[1]]
        told = (tokens != PADDING)[:, None, None, :]
        for layer in self.layers:
            x = layer(x, told)
        return self.norm(x[:, 0])
