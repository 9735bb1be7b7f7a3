"""The classifier of noisy images of Dhariwal & Nichol 2021, §4: the inner half of their U-Net, pooled by attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

from .unet2d import UNet2D

__all__ = ["GuidedClassifier"]


class AttentionPool(nn.Module):
    """What the mean over all places makes of them by attention (their `AttentionPool2d`, as in CLIP's ResNet).

    side: of the square input; width: its channels; head: channels a head.
    """

    def __init__(self, side: int, width: int, head: int, outputs: int) -> None:
        super().__init__()
        self.heads = width // head
        self.positional_embedding = nn.Parameter(torch.zeros(width, side**2 + 1))
        self.qkv_proj, self.c_proj = nn.Conv1d(width, 3 * width, 1), nn.Conv1d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] -> [B, outputs]."""
        flat = x.flatten(2)
        flat = torch.cat([flat.mean(dim=2, keepdim=True), flat], dim=2) + self.positional_embedding
        q, k, v = (part.unflatten(1, (self.heads, -1)).mT for part in self.qkv_proj(flat).chunk(3, dim=1))
        mixed = scaled_dot_product_attention(q[:, :, :1], k, v)  # of the mean alone
        pooled: Tensor = self.c_proj(mixed.mT.flatten(1, 2))[:, :, 0]
        return pooled


class GuidedClassifier(nn.Module):
    """(x_t [B, 3, H, W] as it is on the path, label [B]) -> logits [B, classes]; differentiable in x_t.

    config: of the U-Net whose inner half it has, see `UNet2D`; head: channels a head of the pooling attention.
    """

    def __init__(self, config: Mapping[str, Any], head: int, classes: int) -> None:
        super().__init__()
        whole = UNet2D(config)
        self.sample_shape, self.classes = whole.sample_shape, classes
        unet: Any = whole.unet
        width, levels = config["block_out_channels"][-1], len(config["block_out_channels"])
        self.unet = nn.ModuleDict(
            {name: getattr(unet, name) for name in ("time_proj", "time_embedding", "conv_in", "down_blocks")}
        )
        self.unet["mid_block"] = unet.mid_block
        self.unet["conv_norm_out"] = nn.GroupNorm(32, width, eps=config["norm_eps"])
        self.pool = AttentionPool(self.sample_shape[1] >> (levels - 1), width, head, classes)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """The logits."""
        parts: Any = self.unet
        embedding = parts["time_embedding"](parts["time_proj"](label).to(x.dtype))
        h = parts["conv_in"](x)
        for block in parts["down_blocks"]:
            h, _ = block(hidden_states=h, temb=embedding)
        h = parts["mid_block"](h, embedding)
        pooled: Tensor = self.pool(silu(parts["conv_norm_out"](h)))
        return pooled
