"""Feature extractors, all inside torch-fidelity's interface: our own small one, and torch-fidelity's Inception."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch_fidelity import FeatureExtractorBase, register_feature_extractor
from torch_fidelity.utils import create_feature_extractor

from ..errors import UserError, one_line, unknown
from ..files import load_weights, read_json
from .cnn import ClassifierConfig, FeatureClassifier
from .names import EXTRACTORS, SHIPPED

__all__ = ["Extractor", "FashionMNISTFeatures", "load_extractor"]


class FashionMNISTFeatures(FeatureExtractorBase):  # type: ignore[misc]
    """A classifier of Fashion-MNIST for torch-fidelity: layer `features` for FID, KID and PRC, `logits` for ISC.

    `forward(images)`: uint8 [N, 1, 28, 28] -> a tuple in the order of `features_list`.
    """

    def __init__(
        self, name: str, features_list: list[str], feature_extractor_weights_path: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(name, features_list)
        folder = Path(
            feature_extractor_weights_path or str(resources.files(__package__).joinpath("shipped").joinpath(SHIPPED))
        )
        what = f"extractor '{name}'"
        try:
            config = ClassifierConfig(**read_json(folder / "config.json", what)["architecture"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{what}: config.json in {folder} is not a classifier's: {one_line(error)}") from None
        with torch.device("meta"):  # no memory is taken before the file of weights is known to have these shapes
            self.network = FeatureClassifier(config)
        load_weights(self.network, folder / "model.safetensors", what)
        self.network.to(memory_format=torch.channels_last)
        self.eval().requires_grad_(False)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return "features", "logits"

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "logits" if metric == "isc" else "features"

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    @staticmethod
    def get_dummy_input_for_compile() -> Tensor:
        return torch.zeros(1, 1, 28, 28, dtype=torch.uint8)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features, logits = self.network(images)
        layers = {"features": features, "logits": logits}
        return tuple(layers[name] for name in self.features_list)


register_feature_extractor(SHIPPED, FashionMNISTFeatures)


@dataclass(frozen=True)
class Extractor:
    """A feature extractor ready to run: `extractor(images)`, uint8 [N, C, H, W] -> features [N, D].

    Attributes:
        layer: which of the network's layers FID is measured in.
        sha256: hash of its weights.
    """

    name: str
    layer: str
    sha256: str
    network: nn.Module

    @torch.no_grad()
    def with_logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features [N, D] and the logits of its classes [N, K]."""
        features, logits = self.network(images)
        return features, logits

    def dimension(self, image_shape: Sequence[int]) -> int:
        """D, of images [C, H, W]."""
        device = next(self.network.parameters()).device
        return self(torch.zeros(1, *image_shape, dtype=torch.uint8, device=device)).shape[1]

    def __call__(self, images: Tensor) -> Tensor:
        return self.with_logits(images)[0]


def load_extractor(
    name: str, weights: Path | None = None, device: str = "cpu", channels: int | None = None
) -> Extractor:
    """The extractor of that name.

    weights: a file of Inception's, or a folder of a trained classifier; None for the usual ones.
    channels: of the images it is wanted for; checked before anything is loaded or downloaded.

    Raises UserError for an unknown name, images it does not take, and weights that cannot be had.
    """
    if name not in EXTRACTORS:
        raise unknown("extractor", name, EXTRACTORS)
    info = EXTRACTORS[name]
    if channels is not None and channels != info.channels:
        fitting = [other for other, i in EXTRACTORS.items() if i.channels == channels]
        hint = f"; for these there is {' or '.join(fitting)}" if fitting else ""
        raise UserError(f"extractor '{name}' takes {info.channels}-channel images, not {channels}-channel ones{hint}")
    if weights is not None and not weights.exists():
        raise UserError(f"--extractor-weights {weights}: no such file or folder")
    try:
        network = create_feature_extractor(
            name,
            [info.layer, info.logits],
            cuda=False,
            verbose=False,
            feature_extractor_weights_path=None if weights is None else str(weights),
        )
    except UserError:
        raise
    except Exception as error:
        where = f"in {weights}" if weights else "and they could not be downloaded; give a file with --extractor-weights"
        raise UserError(f"extractor '{name}': no usable weights {where} ({one_line(error)})") from None
    sha256 = _state_sha256(network)
    if isinstance(network, FashionMNISTFeatures):
        network.network.fuse()
    network.eval().requires_grad_(False).to(device)
    return Extractor(name, info.layer, sha256, network)


def _state_sha256(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
