"""The small classifier whose stages give the features of the Fashion-MNIST benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..errors import UserError, one_line, whole_numbers
from ..files import load_weights, read_json

__all__ = ["ClassifierConfig", "FeatureClassifier", "load_classifier"]


@dataclass(frozen=True)
class ClassifierConfig:
    """image_shape: (C, H, W); widths: channels of the stages, each after the first at half the resolution; the last is
    the feature dimension.
    """

    image_shape: tuple[int, int, int]
    widths: tuple[int, ...] = (32, 64, 128)
    classes: int = 10
    dropout: float = 0.3

    def __post_init__(self) -> None:
        """Raises ValueError for what no network can be."""
        for name in ("image_shape", "widths"):
            object.__setattr__(self, name, whole_numbers(name, getattr(self, name), 1, 2**16))
        whole_numbers("classes", [self.classes], 1, 2**16)
        if len(self.image_shape) != 3:
            raise ValueError(f"image_shape is [C, H, W], got {list(self.image_shape)}")
        if not self.widths or any(side < 2 ** (len(self.widths) - 1) for side in self.image_shape[1:]):
            raise ValueError(
                f"widths has one for each of 1 stage or more, each at half the resolution, got {self.widths}"
            )
        if isinstance(self.dropout, bool) or not isinstance(self.dropout, int | float) or not 0 <= self.dropout <= 1:
            raise ValueError(f"dropout is a number from 0 to 1, got {self.dropout!r}")


class FeatureClassifier(nn.Module):
    """Two 3×3 convolutions with batch norm a stage, max pooling between stages, mean over pixels, one linear layer.

    Its features are the channel means of every stage, each standardised over the training images, so that texture (the
    first stage) and shape (the last, which alone is classified) count alike: a sampler's errors show in the first, a
    model's in the last.

    `features(images)`: uint8 [N, C, H, W] -> float32 [N, D], D the sum of the widths; `forward(images)` -> (features,
    logits [N, classes]).
    """

    feature_mean: Tensor
    feature_scale: Tensor

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        width = config.image_shape[0]
        for stage, out in enumerate(config.widths):
            if stage:
                layers.append(nn.MaxPool2d(2))
            for _ in range(2):
                layers += [nn.Conv2d(width, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
                width = out
        self.trunk = nn.Sequential(*layers)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(width, config.classes)
        self.register_buffer("feature_mean", torch.zeros(sum(config.widths)))
        self.register_buffer("feature_scale", torch.ones(sum(config.widths)))

    def fuse(self) -> None:
        """Folds each batch norm into the convolution before it: the same function to rounding, in two thirds of the
        time. For use alone, not for training.
        """
        layers: list[nn.Module] = []
        for layer in self.eval().trunk:
            if isinstance(layer, nn.BatchNorm2d):
                convolution = layers[-1]
                assert isinstance(convolution, nn.Conv2d)
                layers[-1] = fuse_conv_bn_eval(convolution, layer)
            else:
                layers.append(layer)
        self.trunk = nn.Sequential(*layers)

    def _stages(self, images: Tensor) -> list[Tensor]:
        """The channel means of each stage."""
        if images.dtype != torch.uint8 or tuple(images.shape[1:]) != self.config.image_shape:
            want = ", ".join(map(str, self.config.image_shape))
            raise UserError(f"this extractor takes uint8 images [N, {want}], got {images.dtype} {list(images.shape)}")
        x = images.to(self.head.weight.dtype).div(127.5).sub(1).contiguous(memory_format=torch.channels_last)
        means = []
        for layer in self.trunk:
            if isinstance(layer, nn.MaxPool2d):
                means.append(x.mean(dim=(2, 3)))
            x = layer(x)
        return [*means, x.mean(dim=(2, 3))]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        stages = self._stages(images)
        features = (torch.cat(stages, dim=1) - self.feature_mean) / self.feature_scale
        return features, self.head(self.dropout(stages[-1]))

    def features(self, images: Tensor) -> Tensor:
        return self(images)[0]

    @torch.no_grad()
    def standardise(self, images: Tensor) -> None:
        """Sets mean and scale of the features from these images, uint8 [N, C, H, W]."""
        self.eval()
        raw = torch.cat([torch.cat(self._stages(part), dim=1).double().cpu() for part in images.split(500)])
        self.feature_mean.copy_(raw.mean(dim=0))
        self.feature_scale.copy_(raw.std(dim=0).clamp(min=1e-6))


def load_classifier(folder: Path, what: str) -> FeatureClassifier:
    """The classifier in a folder with config.json and model.safetensors, for use alone. `what` names it in errors.

    Raises UserError where there is none.
    """
    try:
        config = ClassifierConfig(**read_json(folder / "config.json", what)["architecture"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{what}: config.json in {folder} is not a classifier's: {one_line(error)}") from None
    with torch.device("meta"):  # no memory is taken before the file of weights is known to have these shapes
        network = FeatureClassifier(config)
    load_weights(network, folder / "model.safetensors", what)
    network.to(memory_format=torch.channels_last)
    return network.eval().requires_grad_(False)
