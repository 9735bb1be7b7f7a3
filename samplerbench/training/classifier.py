"""Cross-entropy training of the classifier that a feature extractor is cut from."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data import Images
from ..metrics.cnn import FeatureClassifier
from .loop import generator
from .recipe import Recipe

__all__ = ["ClassifierLoss", "accuracy"]


class ClassifierLoss:
    """The loss of a training step as a function of the step's number; images are flipped and shifted as the recipe
    says.
    """

    def __init__(self, network: FeatureClassifier, data: Images, recipe: Recipe, device: torch.device) -> None:
        assert data.labels is not None
        self.network, self.images, self.labels, self.recipe, self.device = (
            network,
            data.images,
            data.labels,
            recipe,
            device,
        )

    def __call__(self, step: int) -> Tensor:
        config, data = self.recipe.optimiser, self.recipe.data
        draw = generator(config.seed, step)
        torch.manual_seed(config.seed * 1_000_003 + step)  # dropout has no generator of its own
        per_epoch = len(self.images) // config.batch_size
        order = torch.randperm(len(self.images), generator=generator(config.seed, -1 - step // per_epoch))
        picked = order[step % per_epoch * config.batch_size :][: config.batch_size]
        images = self.images[picked]
        if data.flips:
            images = torch.where(torch.rand(len(images), 1, 1, 1, generator=draw) < 0.5, images.flip(3), images)
        if data.shift:
            padded = F.pad(images, [data.shift] * 4)
            top, left = (int(torch.randint(2 * data.shift + 1, (), generator=draw)) for _ in range(2))
            images = padded[:, :, top : top + images.shape[2], left : left + images.shape[3]]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            _, logits = self.network(images.to(self.device))
        return F.cross_entropy(logits.float(), self.labels[picked].to(self.device), label_smoothing=0.1)


@torch.no_grad()
def accuracy(network: FeatureClassifier, data: Images, device: torch.device) -> float:
    """The fraction of `data` that `network` classifies right."""
    assert data.labels is not None
    right = 0
    for images, labels in zip(data.images.split(500), data.labels.split(500), strict=True):
        right += int((network(images.to(device))[1].argmax(1).cpu() == labels).sum())
    return right / len(data.images)
