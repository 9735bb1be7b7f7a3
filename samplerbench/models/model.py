"""A model: a trained network and everything a benchmark must know of it, loaded by name or from a folder.

A model folder holds `config.json` and `model.safetensors`, and usually `reference.npz`, the feature statistics of its
training images. Nothing in it is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any, cast

import torch

from ..diffusion.schedule import NoiseSchedule
from ..errors import UserError, unknown
from ..files import load_weights, read_json, save_weights
from .config import FORMAT, model_config
from .experts import Experts
from .predictor import ModelEpsilon, NoisePredictor
from .unet import UNet

__all__ = ["Model", "load_model", "model_names", "save_model"]


@dataclass(frozen=True)
class Model:
    """A trained ε_θ.

    Attributes:
        name: the name it was asked for, or its folder's.
        predictor: the network, in evaluation mode, on the CPU.
        schedule: the noise schedule it was trained on.
        image_shape: (C, H, W); values in [-1, 1].
        extractor: name of the feature extractor its FID is measured in.
        reference: path of the reference statistics, or None.
        sha256: hash of its config and weights; part of every result's conditions.
        config: its `config.json`; where it names `experts`, the last labels of all of several networks but the last.
    """

    name: str
    predictor: NoisePredictor
    schedule: NoiseSchedule
    image_shape: tuple[int, int, int]
    extractor: str | None
    reference: Path | None
    sha256: str
    config: dict[str, Any]

    def epsilon(self, dtype: str = "float32") -> ModelEpsilon:
        """ε(x, t), where the predictor is."""
        return ModelEpsilon(self.predictor, self.schedule, dtype, self.config.get("mean_squares"))


def _shipped() -> Path:
    return Path(str(resources.files(__package__).joinpath("shipped")))


def model_names() -> list[str]:
    """The models inside the package."""
    return sorted(folder.name for folder in _shipped().iterdir() if (folder / "config.json").is_file())


def load_model(name: str, sha256: str | None = None) -> Model:
    """The shipped model of that name, or the one in the folder of that path; with `sha256` only if that is its hash."""
    folder = _shipped() / name if name in model_names() else Path(name)
    if not folder.is_dir():
        raise unknown("model", name, [*model_names(), "a folder with config.json and model.safetensors"])
    config = read_json(folder / "config.json", what=f"model '{name}'")
    try:
        known = model_config(config)
    except UserError as error:
        raise UserError(f"model '{name}': config.json: {error}") from None
    with torch.device("meta"):  # no memory is taken before the file of weights is known to have these shapes
        network = (
            Experts([UNet(known.unet) for _ in range(len(known.last) + 1)], known.last)
            if known.last
            else UNet(known.unet)
        )
    load_weights(network, folder / "model.safetensors", what=f"model '{name}'")
    digest = hashlib.sha256(
        (folder / "config.json").read_bytes() + (folder / "model.safetensors").read_bytes()
    ).hexdigest()
    if sha256 not in (None, digest):
        raise UserError(
            f"model '{name}' was changed in the meantime: its hash is {digest[:12]}, expected {sha256[:12]}"
        )
    reference = folder / "reference.npz"
    return Model(
        name=name if name in model_names() else folder.resolve().name,
        predictor=NoisePredictor(network, known.prediction).eval().requires_grad_(False),
        schedule=known.schedule,
        image_shape=known.unet.image_shape,
        extractor=known.extractor,
        reference=reference if reference.is_file() else None,
        sha256=digest,
        config=config,
    )


def save_model(
    folder: Path,
    network: UNet | Experts,
    prediction: str,
    schedule: NoiseSchedule,
    extractor: str | None,
    training: dict[str, Any],
    weights: str = "float32",
    mean_squares: dict[str, list[float]] | None = None,
) -> None:
    """Writes a model folder that `load_model` reads. training: what to keep of how it came about. weights: float32 or
    float16. mean_squares: see `ModelEpsilon`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(network, folder / "model.safetensors", weights)
    experts = list(network.last) if isinstance(network, Experts) else []
    unet = cast(UNet, network.networks[0]) if isinstance(network, Experts) else network
    config = {
        "format": FORMAT,
        "architecture": {"kind": "unet", **asdict(unet.config)},
        **({"experts": experts} if experts else {}),
        "prediction": prediction,
        "schedule": schedule.config(),
        "label": "t - 1 for t = 1..T",
        "extractor": extractor,
        "training": training,
        **({"mean_squares": mean_squares} if mean_squares else {}),
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
