"""The U-Net of guided-diffusion and improved-diffusion with the names of their weights, written for tests.

It says in other words what those checkpoints mean: group norm with ε = 1e-5, cosines before sines, zeros padded on all
sides before a convolution of stride 2, heads of one width or of one number, and rows of queries, keys and values either
head by head (the old order) or kind by kind (the new one).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, scaled_dot_product_attention, silu


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels)


def times(label: Tensor, width: int) -> Tensor:
    angles = label.double()[:, None] * 10000 ** -(torch.arange(width // 2, dtype=torch.float64) / (width // 2))
    return torch.cat([angles.cos(), angles.sin()], 1)


def resized(x: Tensor, resize: str) -> Tensor:
    return {"": lambda: x, "down": lambda: avg_pool2d(x, 2), "up": lambda: interpolate(x, scale_factor=2)}[resize]()


class Block(nn.Module):
    def __init__(self, inputs, outputs, embedding, scale_shift, resize="") -> None:
        super().__init__()
        self.scale_shift, self.resize = scale_shift, resize
        self.in_layers = nn.Sequential(norm(inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, outputs * (1 + scale_shift)))
        last = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.out_layers = nn.Sequential(norm(outputs), nn.SiLU(), nn.Dropout(0.1), last)
        self.skip_connection = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.in_layers[2](resized(silu(self.in_layers[0](x)), self.resize))
        given = self.emb_layers(embedding)[..., None, None]
        if self.scale_shift:
            scale, shift = given.chunk(2, 1)
            h = self.out_layers[1:](self.out_layers[0](h) * (1 + scale) + shift)
        else:
            h = self.out_layers(h + given)
        return self.skip_connection(resized(x, self.resize)) + h


class Attention(nn.Module):
    def __init__(self, channels: int, heads: int, new_order: bool) -> None:
        super().__init__()
        self.heads, self.new_order = heads, new_order
        self.norm, self.qkv = norm(channels), nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        batch, channels, pixels = len(x), x.shape[1], x.shape[2] * x.shape[3]
        rows = self.qkv(self.norm(x).flatten(2))
        if self.new_order:
            apart = rows.view(batch, 3, self.heads, -1, pixels).transpose(1, 2)
        else:
            apart = rows.view(batch, self.heads, 3, -1, pixels)
        q, k, v = (part.transpose(-1, -2) for part in apart.unbind(2))
        mixed = scaled_dot_product_attention(q, k, v).transpose(-1, -2).reshape(batch, channels, pixels)
        return x + self.proj_out(mixed).view(x.shape)


class Resample(nn.Module):
    def __init__(self, channels: int, up: bool) -> None:
        super().__init__()
        self.up = up
        if up:
            self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        else:
            self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.conv(resized(x, "up")) if self.up else self.op(x)


class Plain(nn.Conv2d):
    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return super().forward(x)


class Steps(nn.Sequential):
    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for step in self:
            x = step(x, embedding)
        return x


class GuidedUNet(nn.Module):
    """channels: of the first level; multipliers: of each level; attention: the levels with it; heads: their number for
    a number of channels; classes: what it can be asked for.
    """

    def __init__(
        self,
        channels=32,
        multipliers=(1, 2, 3),
        attention=(1,),
        layers=2,
        heads=lambda channels: channels // 16,
        scale_shift=True,
        resblock_updown=False,
        new_order=False,
        outputs=3,
        classes=0,
    ) -> None:
        super().__init__()
        self.channels, embedding = channels, 4 * channels
        widths = [channels * m for m in multipliers]

        def block(inputs, outputs, resize=""):
            return Block(inputs, outputs, embedding, scale_shift, resize)

        def attend(i, width):
            return [Attention(width, heads(width), new_order)] if i in attention else []

        def resample(width, up):
            return block(width, width, "up" if up else "down") if resblock_updown else Resample(width, up)

        self.time_embed = nn.Sequential(nn.Linear(channels, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        if classes:
            self.label_emb = nn.Embedding(classes, embedding)
        inner, skips, width = [Steps(Plain(3, channels, 3, padding=1))], [channels], channels
        for i, out in enumerate(widths):
            for _ in range(layers):
                inner.append(Steps(block(width, out), *attend(i, out)))
                width = out
                skips.append(width)
            if i + 1 < len(widths):
                inner.append(Steps(resample(width, up=False)))
                skips.append(width)
        self.input_blocks = nn.ModuleList(inner)
        middle = Attention(width, heads(width), new_order)
        self.middle_block = Steps(block(width, width), middle, block(width, width))
        outer = []
        for i, out in reversed(list(enumerate(widths))):
            for j in range(layers + 1):
                rises = [resample(out, up=True)] if i and j == layers else []
                outer.append(Steps(block(width + skips.pop(), out), *attend(i, out), *rises))
                width = out
        self.output_blocks = nn.ModuleList(outer)
        self.out = nn.Sequential(norm(width), nn.SiLU(), nn.Conv2d(width, outputs, 3, padding=1))

    def forward(self, x: Tensor, label: Tensor, labels: Tensor | None = None) -> Tensor:
        embedding, kept = self.time_embed(times(label, self.channels).to(x)), []
        if labels is not None:
            embedding = embedding + self.label_emb(labels)
        for step in self.input_blocks:
            x = step(x, embedding)
            kept.append(x)
        x = self.middle_block(x, embedding)
        for step in self.output_blocks:
            x = step(torch.cat([x, kept.pop()], 1), embedding)
        return self.out(x)


class Pool(nn.Module):
    """The mean over all places asks all places and itself; 64 channels a head, queries before keys before values."""

    def __init__(self, side: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.heads = channels // 64
        self.positional_embedding = nn.Parameter(torch.empty(channels, side * side + 1))
        self.qkv_proj, self.c_proj = nn.Conv1d(channels, 3 * channels, 1), nn.Conv1d(channels, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        places = torch.cat([x.mean((2, 3))[:, :, None], x.flatten(2)], 2) + self.positional_embedding
        rows = self.qkv_proj(places).view(len(x), 3, self.heads, 64, -1)
        q, k, v = rows.unbind(1)
        weights = torch.einsum("bhci,bhcj->bhij", q / 8, k).softmax(-1)
        mixed = torch.einsum("bhij,bhcj->bhci", weights, v).flatten(1, 2)
        return self.c_proj(mixed)[:, :, 0]


class GuidedClassifier(nn.Module):
    """The inner half of the U-Net and a pool, as their classifiers of noisy images are laid out."""

    def __init__(self, size=16, classes=10, resblock_updown=True, scale_shift=True, **shape) -> None:
        super().__init__()
        whole = GuidedUNet(
            heads=lambda channels: channels // 64, resblock_updown=resblock_updown, scale_shift=scale_shift, **shape
        )
        self.channels = whole.channels
        self.time_embed, self.input_blocks = whole.time_embed, whole.input_blocks
        self.middle_block = whole.middle_block
        width = whole.middle_block[0].out_layers[3].out_channels
        side = size >> (len(shape["multipliers"]) - 1)
        self.out = nn.Sequential(norm(width), nn.SiLU(), Pool(side, width, classes))

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        embedding = self.time_embed(times(label, self.channels).to(x))
        for step in self.input_blocks:
            x = step(x, embedding)
        return self.out(self.middle_block(x, embedding))
