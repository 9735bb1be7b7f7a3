"""The extractor of the Fashion-MNIST benchmark, registered through the same hook as anyone's."""

from __future__ import annotations

import copy
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..hookspecs import hookimpl
from .extractor import Extractor, shape_text

if TYPE_CHECKING:
    from torch import Tensor

    from .cnn import FeatureClassifier

__all__ = ["FashionMNIST", "shipped_folder"]


class FashionMNIST(Extractor):
    """A small classifier whose stages give the features (see `cnn.FeatureClassifier`). `--extractor-weights` names a
    folder of another such classifier, as `samplerbench train` writes it.
    """

    name = "fashion-mnist-cnn"
    about = "224 features of a small classifier of Fashion-MNIST; weights in the package"
    takes = (1, 28, 28)

    @property
    def dimension(self) -> int:
        return len(self.network.feature_mean)

    def load(self, weights: Path | None, device: str) -> None:
        from .cnn import load_classifier

        network = load_classifier(weights or shipped_folder(), f"extractor '{self.name}'")
        shape = network.config.image_shape
        if shape != self.takes:
            raise UserError(
                f"--extractor-weights {weights} are of a classifier of {shape_text(shape)} images; "
                f"'{self.name}' takes {shape_text(self.takes)}"
            )
        self.network: FeatureClassifier = network.to(device)

    @cached_property
    def _fused(self) -> FeatureClassifier:
        """The network with its batch norms folded in: the same function in two thirds of the time."""
        network = copy.deepcopy(self.network)
        network.fuse()
        return network

    def __call__(self, images: Tensor) -> Tensor:
        return self._fused(images)[0]

    def with_logits(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        return self._fused(images)


def shipped_folder() -> Path:
    """Where the shipped classifier's config.json and model.safetensors are."""
    return Path(str(resources.files(__package__).joinpath("shipped").joinpath(FashionMNIST.name)))


@hookimpl
def samplerbench_extractors(register):  # type: ignore[no-untyped-def]
    register(FashionMNIST)
