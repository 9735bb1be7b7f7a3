"""The small classifier whose last hidden layer is the feature space of the Fashion-MNIST benchmark."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import UserError

__all__ = ["ClassifierConfig", "FeatureClassifier"]


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
        object.__setattr__(self, "image_shape", tuple(self.image_shape))
        object.__setattr__(self, "widths", tuple(self.widths))


class FeatureClassifier(nn.Module):
    """Two 3×3 convolutions with batch norm a stage, max pooling between stages, mean over pixels, one linear layer.

    `features(images)`: uint8 [N, C, H, W] -> float32 [N, D]; `forward(images)` -> (features, logits [N, classes]).
    """

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

    def features(self, images: Tensor) -> Tensor:
        if images.dtype != torch.uint8 or tuple(images.shape[1:]) != self.config.image_shape:
            want = ", ".join(map(str, self.config.image_shape))
            raise UserError(f"this extractor takes uint8 images [N, {want}], got {images.dtype} {list(images.shape)}")
        x = images.to(self.head.weight.dtype).div(127.5).sub(1).contiguous(memory_format=torch.channels_last)
        return self.trunk(x).mean(dim=(2, 3))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(images)
        return features, self.head(self.dropout(features))
