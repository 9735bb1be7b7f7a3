"""A trained variational autoencoder as a folder: `config.json` of `kind: vae`, and `model.safetensors`."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError, unknown
from ..files import content_key, load_weights, read_json, save_weights, sha256, write_whole
from .config import FORMAT, is_vae
from .networks.vae import VAE, VAEConfig

__all__ = ["Autoencoder", "copy_vae", "load_vae", "save_vae"]

KEYS = ("format", "kind", "architecture", "latents", "dataset", "training")


@dataclass(frozen=True, eq=False)
class Autoencoder:
    """A trained VAE, and the latents that a diffusion model sees of it: those of `network` less `shift`, over `scale`,
    both [c], a number a channel. Over the training images they then have mean 0 and standard deviation 1 a channel.

    Attributes:
        dataset: what it was trained on, where that is said. training: how it came about.
        sha256: hash of its files.
    """

    network: VAE
    shift: Tensor
    scale: Tensor
    dataset: str | None
    training: Mapping[str, Any]
    sha256: str

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.network.config.image_shape

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(c, h, w)."""
        return self.network.config.latent_shape

    @torch.no_grad()
    def encode(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        """Latents [B, c, h, w] of images, uint8 [B, C, H, W]: drawn from q(z|x) by standard normal `noise` of their
        shape, or its mean without it. Raises UserError for images of another shape.
        """
        if images.dtype != torch.uint8 or tuple(images.shape[1:]) != self.image_shape:
            want = ", ".join(map(str, self.image_shape))
            raise UserError(f"this VAE takes uint8 images [B, {want}], got {images.dtype} {list(images.shape)}")
        mean, log_variance = self.posterior(images)
        return mean if noise is None else mean + (0.5 * log_variance).exp() * noise.to(mean)

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latents' q(z|x), each [B, c, h, w]; images: see `encode`."""
        place = self.network.log_scale  # wherever the network was moved to
        mean, log_variance = self.network.encode(images.to(place.device).to(place.dtype) / 127.5 - 1)
        shift, scale = (values.to(place).view(-1, 1, 1) for values in (self.shift, self.scale))
        return (mean - shift) / scale, log_variance - 2 * scale.log()

    def log_likelihood(self, images: Tensor, latents: Tensor) -> Tensor:
        """log p(x|z) of uint8 images [B, C, H, W], in nats, [B]."""
        return self.network.log_likelihood(images.to(latents.device), self.network.decode(self._unscaled(latents)))

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Images [B, C, H, W] around [-1, 1]: where the decoder's distribution of each pixel is centred. Raises
        UserError for latents of another shape.
        """
        if tuple(latents.shape[1:]) != self.latent_shape:
            want = ", ".join(map(str, self.latent_shape))
            raise UserError(f"this VAE takes latents [B, {want}], got {list(latents.shape)}")
        return self.network.decode(self._unscaled(latents))[0]

    def _unscaled(self, latents: Tensor) -> Tensor:
        """As the network has them."""
        place = self.network.log_scale
        return latents.to(place) * self.scale.to(place).view(-1, 1, 1) + self.shift.to(place).view(-1, 1, 1)

    @property
    def module(self) -> VAE:
        """The network."""
        return self.network

    def to(self, device: torch.device | str) -> Autoencoder:
        """It on a device."""
        network = self.network.to(device)
        return Autoencoder(
            network, self.shift.to(device), self.scale.to(device), self.dataset, self.training, self.sha256
        )


def save_vae(
    folder: Path,
    network: VAE,
    shift: Tensor,
    scale: Tensor,
    training: Mapping[str, Any] | None = None,
    weights: str = "float32",
    dataset: str | None = None,
) -> None:
    """Writes a folder that `load_vae` reads. shift, scale: of the latents, [c]. weights: float32 or float16."""
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(network, folder / "model.safetensors", weights)
    config = {
        "format": FORMAT,
        "kind": "vae",
        "architecture": {"kind": "vae", **asdict(network.config)},
        "latents": {"shift": shift.tolist(), "scale": scale.tolist()},
        "dataset": dataset,
        "training": dict(training or {}),
    }
    write_whole(folder / "config.json", (json.dumps(config, indent=2) + "\n").encode())


def copy_vae(folder: Path, to: Path) -> None:
    """The VAE's folder beside the model that works in its latents."""
    to.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(folder / name, to / name)


def load_vae(spec: str | Path) -> Autoencoder:
    """The VAE in a folder, in evaluation mode, on the CPU. Raises UserError, in one line, where there is none."""
    folder, what = Path(spec), f"VAE '{spec}'"
    config = read_json(folder / "config.json", what)
    try:
        if not is_vae(config):
            raise UserError(f"expected kind 'vae', got {config.get('kind')!r}: it is of something else")
        known, latents = _architecture(config), _latents(config)
        with torch.device("meta"):  # no memory is taken before the file of weights is known to have these shapes
            network = VAE(known)
    except UserError as error:
        raise UserError(f"{what}: config.json: {error}") from None
    for name, values in latents.items():
        if len(values) != known.latent_channels:
            raise UserError(
                f"{what}: config.json: {name} of the latents has a number for each of {known.latent_channels} "
                f"channels, got {len(values)}"
            )
    load_weights(network, folder / "model.safetensors", what)
    network.to(memory_format=torch.channels_last)
    return Autoencoder(
        network.eval().requires_grad_(False),
        torch.tensor(latents["shift"]),
        torch.tensor(latents["scale"]),
        config.get("dataset"),
        config.get("training", {}),
        content_key({name: sha256(folder / name) for name in ("config.json", "model.safetensors")}),
    )


def _architecture(config: Mapping[str, Any]) -> VAEConfig:
    for key in config:
        if key not in KEYS:
            raise unknown("key of config.json", key, KEYS)
    if config.get("format") != FORMAT or isinstance(config["format"], bool):
        raise UserError(f"format of a VAE is {FORMAT}, got {config.get('format')!r}: another samplerbench wrote it")
    said = config.get("architecture")
    if not isinstance(said, dict) or said.get("kind") != "vae":
        raise UserError(f"architecture is a JSON object of kind 'vae', got {said!r}")
    options, names = {k: v for k, v in said.items() if k != "kind"}, [f.name for f in fields(VAEConfig)]
    for key in options:
        if key not in names:
            raise unknown("key of the architecture", key, names)
    if not isinstance(config.get("dataset"), str | None) or not isinstance(config.get("training", {}), dict):
        raise UserError("dataset is a name or null, and training a JSON object")
    try:
        return VAEConfig(**options)
    except (TypeError, ValueError) as error:
        raise UserError(f"architecture: {error}") from None


def _latents(config: Mapping[str, Any]) -> dict[str, list[float]]:
    said = config.get("latents")
    if not isinstance(said, dict) or sorted(said) != ["scale", "shift"]:
        raise UserError(f"latents is a JSON object with shift and scale, got {said!r}")
    for name, values in said.items():
        if not isinstance(values, list) or not all(_is_finite(value) for value in values):
            raise UserError(f"{name} of the latents is a list of finite numbers, got {values!r}")
    if any(value <= 0 for value in said["scale"]):
        raise UserError(f"scale of the latents is above 0, got {said['scale']!r}")
    return said


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
