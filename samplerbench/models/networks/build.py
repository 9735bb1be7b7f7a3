"""Networks by kind, as a model's config.json describes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from torch import nn

from ...errors import UserError, unknown
from .experts import Experts
from .unet import UNet, UNetConfig
from .unet2d import UNet2D

__all__ = ["NETWORKS", "architecture_of", "build_network", "learns_range"]

Shape = tuple[int, int, int]


def _unet(config: dict[str, Any]) -> tuple[nn.Module, Shape]:
    for key in config:
        if key not in [f.name for f in fields(UNetConfig)]:
            raise unknown("key of the architecture", key, [f.name for f in fields(UNetConfig)])
    if "image_shape" not in config:
        raise UserError("architecture lacks 'image_shape'")
    try:
        known = UNetConfig(**config)
    except ValueError as error:
        raise UserError(f"architecture: {error}") from None
    return UNet(known), known.image_shape


def _unet2d(config: dict[str, Any]) -> tuple[nn.Module, Shape]:
    network = UNet2D(config)
    if network.classes:
        raise UserError("architecture: a unet2d of this format has no classes, this one has num_class_embeds")
    return network, network.sample_shape


NETWORKS: dict[str, Callable[[dict[str, Any]], tuple[nn.Module, Shape]]] = {"unet": _unet, "unet2d": _unet2d}
"""What builds a network of each kind, without weights, from its config, and the shape (C, H, W) of what it takes."""


def build_network(architecture: Mapping[str, Any], last: Sequence[float] = ()) -> tuple[nn.Module, Shape]:
    """The network of an `architecture`, whose `kind` is one of `NETWORKS`, or as many experts of it as `last` parts."""
    config = dict(architecture)
    if "kind" not in config:
        raise UserError("architecture lacks 'kind'")
    kind = config.pop("kind")
    if not isinstance(kind, str) or kind not in NETWORKS:
        raise unknown("architecture", kind, NETWORKS)
    network, shape = NETWORKS[kind](config)
    if last:
        network = Experts([network, *(NETWORKS[kind](config)[0] for _ in last)], last)
    return network, shape


def architecture_of(network: nn.Module) -> dict[str, Any]:
    """The `architecture` of a `UNet`, or of the experts that are."""
    one = network.networks[0] if isinstance(network, Experts) else network
    if not isinstance(one, UNet):
        raise UserError(f"how a {type(one).__name__} is built is not known; give its architecture")
    return {"kind": "unet", **asdict(one.config)}


def learns_range(architecture: Mapping[str, Any]) -> bool:
    """Whether a network of this `architecture` has a second output a channel, which places the variance."""
    if architecture["kind"] == "unet2d":
        return bool(architecture.get("out_channels", 3) == 2 * architecture.get("in_channels", 3))
    return bool(architecture.get("learned_range"))
