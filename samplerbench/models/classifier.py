"""A trained classifier of noisy images as a folder: `config.json` of `kind: classifier`, and `model.safetensors`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import UserError, check_arguments
from ..files import content_key, load_weights, read_json, save_weights, sha256_of_all, write_whole
from .networks.classifier import NoisyClassifier, NoisyClassifierConfig

__all__ = ["Classifier", "load_classifier", "save_classifier"]

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Classifier:
    """network: what an ε_θ is given, (x [B, C, H, W], label [B]) -> logits [B, classes], differentiable in x. shape: of
    a sample, (C, H, W). sha256: hash of its files.
    """

    network: nn.Module
    shape: tuple[int, int, int]
    classes: int
    sha256: str = ""


def save_classifier(
    folder: Path, network: NoisyClassifier, training: Mapping[str, Any] | None = None, weights: str = "float32"
) -> None:
    """Writes a folder that `load_classifier` reads. weights: float32 or float16."""
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(network, folder / "model.safetensors", weights)
    config = {
        "format": FORMAT,
        "kind": "classifier",
        "architecture": asdict(network.config),
        "training": dict(training or {}),
    }
    write_whole(folder / "config.json", (json.dumps(config, indent=2) + "\n").encode())


def load_classifier(folder: Path, what: str) -> Classifier:
    """The classifier in a folder, in evaluation mode, on the CPU; `what` names it in errors. A `.pt` is one of
    guided-diffusion. Raises UserError.
    """
    if folder.suffix == ".pt":
        from .formats.guided_classifier import load_guided_classifier

        return load_guided_classifier(folder, what)
    config = read_json(folder / "config.json", what)
    if config.get("kind") != "classifier" or config.get("format") != FORMAT or isinstance(config["format"], bool):
        raise UserError(
            f"{what}: config.json: expected kind 'classifier' and format {FORMAT}, got {config.get('kind')!r} "
            f"{config.get('format')!r}"
        )
    said = config.get("architecture")
    if not isinstance(said, dict):
        raise UserError(f"{what}: config.json: architecture is a JSON object, got {said!r}")
    try:
        check_arguments("the architecture", NoisyClassifierConfig, said)
        known = NoisyClassifierConfig(**said)
        with torch.device("meta"):  # no memory is taken before the file of weights is known to have these shapes
            network = NoisyClassifier(known)
    except (UserError, ValueError) as error:
        raise UserError(f"{what}: config.json: {error}") from None
    load_weights(network, folder / "model.safetensors", what)
    network.eval().requires_grad_(False)
    return Classifier(network, known.image_shape, known.classes, content_key(sha256_of_all(folder)))
