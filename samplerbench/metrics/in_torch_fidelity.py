"""The shipped extractor inside torch-fidelity's interface. Once this module is imported,
`torch_fidelity.calculate_metrics(feature_extractor="fashion-mnist-cnn", …)` knows it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_fidelity import FeatureExtractorBase, register_feature_extractor

from .cnn import load_classifier
from .fashion_mnist import FashionMNIST, shipped_folder

__all__ = ["FashionMNISTFeatures"]


class FashionMNISTFeatures(FeatureExtractorBase):  # type: ignore[misc]
    """Layer `features` for FID, KID and PRC, `logits` for ISC.

    `forward(images)`: uint8 [N, 1, 28, 28] -> a tuple in the order of `features_list`.
    """

    def __init__(
        self, name: str, features_list: list[str], feature_extractor_weights_path: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(name, features_list)
        self.network = load_classifier(Path(feature_extractor_weights_path or shipped_folder()), f"extractor '{name}'")

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


register_feature_extractor(FashionMNIST.name, FashionMNISTFeatures)
