"""The U-Net of Ho et al. 2020 with the names that pytorch_diffusion and ddim give its weights, written for tests.

It says in other words what those checkpoints mean: group norm with ε = 1e-6, sines before cosines with frequencies down
to 1/10000 at the last of them, zeros padded at the right and below before a convolution of stride 2, one head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad, scaled_dot_product_attention, silu


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)


def times(label: Tensor, width: int) -> Tensor:
    powers = torch.linspace(0, 1, width // 2, dtype=torch.float64)
    angles = label.double()[:, None] / 10000**powers
    return torch.cat([angles.sin(), angles.cos()], 1)


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.temb_proj = nn.Linear(embedding, outputs)
        self.norm2, self.conv2 = norm(outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        if inputs != outputs:
            self.nin_shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(silu(self.norm1(x))) + self.temb_proj(silu(embedding))[..., None, None]
        h = self.conv2(self.dropout(silu(self.norm2(h))))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class Attention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (layer(h).flatten(2).transpose(1, 2) for layer in (self.q, self.k, self.v))
        return x + self.proj_out(scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape))


class Resample(nn.Module):
    def __init__(self, channels: int, up: bool) -> None:
        super().__init__()
        self.up = up
        self.conv = nn.Conv2d(channels, channels, 3, stride=1 if up else 2, padding=int(up))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(interpolate(x, scale_factor=2) if self.up else pad(x, (0, 1, 0, 1)))


class Level(nn.Module):
    def __init__(self, blocks: list[Block], attention: bool) -> None:
        super().__init__()
        self.block = nn.ModuleList(blocks)
        widths = [block.conv2.out_channels for block in blocks]
        self.attn = nn.ModuleList([Attention(width) for width in widths] if attention else [])

    def step(self, j: int, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.block[j](x, embedding)
        return self.attn[j](x) if len(self.attn) else x


class HoUNet(nn.Module):
    """ch: channels of the first level; multipliers: of the others; attention: the level with attention."""

    def __init__(self, ch=32, multipliers=(1, 2, 2, 2), attention=1, layers=2, dropout=0.1) -> None:
        super().__init__()
        self.ch, embedding = ch, 4 * ch
        widths = [ch * m for m in multipliers]
        self.temb = nn.Module()
        self.temb.dense = nn.ModuleList([nn.Linear(ch, embedding), nn.Linear(embedding, embedding)])
        self.conv_in = nn.Conv2d(3, ch, 3, padding=1)
        skips, width = [ch], ch
        self.down = nn.ModuleList()
        for i, out in enumerate(widths):
            blocks = [Block(width if j == 0 else out, out, embedding, dropout) for j in range(layers)]
            level, width = Level(blocks, i == attention), out
            skips += [out] * layers
            if i + 1 < len(widths):
                level.downsample = Resample(out, up=False)
                skips.append(out)
            self.down.append(level)
        self.mid = nn.Module()
        self.mid.block_1, self.mid.block_2 = (Block(width, width, embedding, dropout) for _ in range(2))
        self.mid.attn_1 = Attention(width)
        ups = []
        for i, out in reversed(list(enumerate(widths))):
            blocks = []
            for _ in range(layers + 1):
                blocks.append(Block(width + skips.pop(), out, embedding, dropout))
                width = out
            ups.append(Level(blocks, i == attention))
            if i:
                ups[-1].upsample = Resample(out, up=True)
        self.up = nn.ModuleList(reversed(ups))
        self.norm_out, self.conv_out = norm(width), nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        embedding = self.temb.dense[1](silu(self.temb.dense[0](times(label, self.ch).to(x))))
        kept = [self.conv_in(x)]
        for level in self.down:
            for j in range(len(level.block)):
                kept.append(level.step(j, kept[-1], embedding))
            if hasattr(level, "downsample"):
                kept.append(level.downsample(kept[-1]))
        x = self.mid.block_2(self.mid.attn_1(self.mid.block_1(kept[-1], embedding)), embedding)
        for level in reversed(self.up):
            for j in range(len(level.block)):
                x = level.step(j, torch.cat([x, kept.pop()], 1), embedding)
            if hasattr(level, "upsample"):
                x = level.upsample(x)
        return self.conv_out(silu(self.norm_out(x)))
