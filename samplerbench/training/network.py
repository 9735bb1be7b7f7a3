"""The network that a recipe asks for, with its first weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ..errors import UserError, unknown, whole_numbers
from ..models.networks.build import architecture_of
from ..models.networks.unet import UNet, UNetConfig
from ..models.networks.unet2d import UNet2D, ddpm_config

__all__ = ["new_network"]

Shape = tuple[int, int, int]
UNET = ("patch", "channels", "blocks", "attention", "embedding")


def new_network(config: Mapping[str, Any], shape: Shape, text: int = 0) -> tuple[nn.Module, dict[str, Any]]:
    """A network for images of `shape` (C, H, W), and its `architecture` for the model's config.json.

    config: a recipe's [network]; `kind` is one of `NETWORKS`, unet where it is left out, and the other keys are its
    arguments. text: width of the vector that describes what is asked for, 0 for none. Raises UserError for what makes
    no network.
    """
    options = dict(config)
    kind = options.pop("kind", "unet")
    if not isinstance(kind, str) or kind not in NETWORKS:
        raise unknown("kind of network", kind, NETWORKS)
    if text and kind != "unet":
        raise UserError(f"[text] goes with a network of kind unet, not '{kind}'")
    try:
        return _unet(options, shape, text) if text else NETWORKS[kind](options, shape)
    except (TypeError, ValueError) as error:
        raise UserError(str(error)) from None


def _unet(options: dict[str, Any], shape: Shape, text: int = 0) -> tuple[nn.Module, dict[str, Any]]:
    for key in options:
        if key not in UNET:
            raise unknown("key", key, UNET)
    network = UNet(UNetConfig(image_shape=shape, text=text, **options))
    return network, architecture_of(network)


def _ddpm(options: dict[str, Any], shape: Shape) -> tuple[nn.Module, dict[str, Any]]:
    """The U-Net of Ho et al. 2020. channels: width of each resolution, finest first; blocks: residual blocks a
    resolution; attention: resolutions with self-attention; dropout: probability.
    """
    known = ("channels", "blocks", "attention", "dropout")
    for key in options:
        if key not in known:
            raise unknown("key", key, known)
    widths = whole_numbers("channels", options.get("channels", [128, 256, 256, 256]), 1, 2**16)
    (blocks,) = whole_numbers("blocks", [options.get("blocks", 2)], 1, 2**10)
    attention = whole_numbers("attention", options.get("attention", [1]), 0, len(widths) - 1)
    dropout = options.get("dropout", 0.0)
    if any(width % 32 for width in widths):
        raise ValueError(f"channels {list(widths)} must be multiples of 32")
    if shape[1] != shape[2]:
        raise ValueError(f"the DDPM U-Net takes square images, got {shape[1]}×{shape[2]}")
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise ValueError(f"dropout is at least 0 and below 1, got {dropout!r}")
    config = ddpm_config(shape[1], shape[0], shape[0], widths, blocks, attention) | {"dropout": float(dropout)}
    network = UNet2D(config)
    _initialise(network)
    return network, {"kind": "unet2d", **config}


def _initialise(network: nn.Module) -> None:
    """First weights as in the code of Ho et al.: uniform with variance 2/(fan_in + fan_out), biases 0. The last layer
    of each residual block and of each attention is 0, so that both begin as the identity; that of the network is 0.
    """
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            if name.endswith((".conv2", ".to_out.0", ".conv_out")):
                nn.init.zeros_(layer.weight)
            else:
                nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


NETWORKS: dict[str, Callable[[dict[str, Any], Shape], tuple[nn.Module, dict[str, Any]]]] = {
    "unet": _unet,
    "ddpm": _ddpm,
}
"""What makes each kind of network: the small one of the shipped models, and that of the DDPM paper."""
