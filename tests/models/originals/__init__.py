"""Tiny networks as other projects lay them out, to compare what is read from their checkpoints with."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def filled(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights, none of them 0 or 1, so that each one shows; evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        spread = 1 / parameter[0].numel() ** 0.5 if parameter.ndim > 1 else 0.2
        with torch.no_grad():
            parameter.normal_(0, spread, generator=generator)
            if parameter.ndim == 1 and name.endswith("weight"):
                parameter.add_(1)
    return network.eval()


@torch.no_grad()
def difference(one: nn.Module, other: nn.Module, x: Tensor, label: Tensor) -> float:
    """The largest difference of two networks' outputs over the largest output."""
    expected = one(x, label)
    return float((other(x, label) - expected).abs().max() / expected.abs().max())
