"""Networks that differ from a model's by one mistake that no error tells: other weights, another time embedding."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..models.model import Model
from ..models.networks.experts import networks_of
from ..models.networks.unet import UNet
from ..models.networks.unet2d import UNet2D
from .readings import Reading

__all__ = ["swap_embedding", "variants_of"]

RAW = 0.02  # raw weights may fit a little better than their average, at the end of a falling learning rate


def variants_of(model: Model, right: Reading) -> Iterator[tuple[Reading, nn.Module]]:
    """Each variant: the declared reading of another network, and that network."""

    def reading(name: str, mistake: str, margin: float = 0.0) -> Reading:
        return replace(right, name=name, mistake=mistake, variant=name, margin=margin)

    own = model.predictor.network
    if model.checkpoint.other_weights is not None:
        name, network = model.checkpoint.other_weights()
        margin = RAW if name == "raw" else 0.0
        yield reading(f"{name} weights", f"the {name} weights seem to be the better ones", margin), network
    swapped = copy.deepcopy(own)
    if swap_embedding(swapped):
        yield reading("embedding swapped", "cosines and sines of the time embedding seem to be swapped"), swapped
    if all(isinstance(part, UNet2D) for part in networks_of(own)):
        shifted = copy.deepcopy(own)
        for part in networks_of(shifted):
            _shift(part)
        name = "frequencies to half or half - 1"
        yield reading(name, "freq_shift of the time embedding seems to be the other one"), shifted


def swap_embedding(network: nn.Module) -> bool:
    """Swaps the halves, cosines and sines, of the time embedding where the network is known to have one; says whether.
    The columns of the layer that takes them are moved, which comes to the same.
    """
    layers = [_first_layer(part) for part in networks_of(network)]
    for layer in layers:
        if layer is None:
            return False
    with torch.no_grad():
        for layer in layers:
            assert layer is not None
            layer.weight.copy_(torch.cat(layer.weight.chunk(2, dim=1)[::-1], dim=1))
    return True


def _first_layer(network: nn.Module) -> Any:
    if isinstance(network, UNet):
        return network.time[0]
    if isinstance(network, UNet2D) and not network.learned_times:
        return getattr(getattr(network.unet, "time_embedding", None), "linear_1", None)
    return None


def _shift(network: Any) -> None:
    projection = network.unet.time_proj
    if hasattr(projection, "downscale_freq_shift"):
        projection.downscale_freq_shift = 1 - projection.downscale_freq_shift
