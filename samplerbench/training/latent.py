"""What an ε_θ is trained on besides pixels: latents of a VAE, and words."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..data import Images
from ..errors import UserError
from ..models.networks.text import TextEncoder, TextEncoderConfig
from ..models.vae import Autoencoder
from ..models.words import Vocabulary
from . import garments
from .parts import TextConfig

__all__ = ["GarmentCaptions", "Latents", "Worded", "new_text_encoder"]

BATCH = 256


class Latents:
    """Latents of images, drawn from q(z|x) afresh each time.

    images: uint8 [N, C, H, W]. They are encoded once; told: hears how many of them are.
    """

    @torch.no_grad()
    def __init__(
        self, coder: Autoencoder, images: Tensor, device: torch.device, told: Callable[[int], None] = lambda done: None
    ) -> None:
        means, deviations, done = [], [], 0
        shift, scale = coder.shift.view(-1, 1, 1), coder.scale.view(-1, 1, 1)
        for batch in images.split(BATCH):
            mean, log_variance = coder.network.encode(batch.to(coder.shift.device).float() / 127.5 - 1)
            means.append((mean - shift) / scale)
            deviations.append((0.5 * log_variance).exp() / scale)
            done += len(batch)
            told(done)
        self.means, self.deviations = (
            torch.cat(means).contiguous().to(device),
            torch.cat(deviations).contiguous().to(device),
        )

    def __len__(self) -> int:
        return len(self.means)

    def __call__(self, picked: Tensor, draw: torch.Generator) -> Tensor:
        mean = self.means[picked]
        return mean + self.deviations[picked] * torch.randn(mean.shape, generator=draw, device=draw.device)

    def first(self, count: int) -> Tensor:
        mean = self.means[:count].cpu()
        return mean + self.deviations[:count].cpu() * torch.randn(
            mean.shape, generator=torch.Generator().manual_seed(0)
        )


class GarmentCaptions:
    """Captions of Fashion-MNIST, phrased afresh each time; see training/garments.py.

    data: images with their labels. kept: which of them training sees, [n]; a number that is picked is a place in it.
    Raises UserError for images of something else.
    """

    def __init__(self, data: Images, config: TextConfig) -> None:
        self.vocabulary = Vocabulary(garments.vocabulary(), config.length)
        if data.labels is None or data.images.shape[1] != 1 or int(data.labels.max()) >= len(garments.GARMENTS):
            raise UserError("captions 'garments' are of grey images with the labels of Fashion-MNIST, 0 to 9")
        self.labels, self.dropout = data.labels, config.dropout
        self.shades, self.contrasts = garments.measured(data.images)
        self.kept = torch.nonzero(garments.allowed(self.labels, self.shades))[:, 0]

    def __call__(self, picked: Tensor, draw: torch.Generator) -> Tensor:
        numbers = torch.rand(len(picked), 7, generator=draw, device=draw.device).tolist()
        left_out = [choices.pop() < self.dropout for choices in numbers]
        said = self.of(picked.cpu(), numbers)
        prompts = ["" if out else prompt for out, prompt in zip(left_out, said, strict=True)]
        return self.vocabulary.tokens(prompts).to(draw.device)

    def of(self, picked: Tensor, choices: list[list[float]]) -> list[str]:
        """Captions of those that training sees; choices: see `garments.caption`."""
        places = self.kept[picked]
        facts = zip(*(values[places].tolist() for values in (self.labels, self.shades, self.contrasts)), strict=True)
        return [garments.caption(g, s, c, by) for (g, s, c), by in zip(facts, choices, strict=True)]

    def prompts(self, count: int, seed: int = 0) -> list[str]:
        """Captions of `count` of the images that training sees, the classes in turn: what the model is asked by
        default. Fewer, where a class has fewer images.
        """
        draw = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.kept), generator=draw)
        labels = self.labels[self.kept[order]]
        by_class = [order[labels == label] for label in labels.unique().tolist()]
        each = min(-(-count // len(by_class)), *map(len, by_class))
        rounds = torch.stack([places[:each] for places in by_class], dim=1)  # [each, classes]
        shuffled = torch.stack([row[torch.randperm(len(row), generator=draw)] for row in rounds]).flatten()[:count]
        return self.of(shuffled, torch.rand(len(shuffled), 6, generator=draw).tolist())


class Worded(nn.Module):
    """An ε_θ and the text encoder that it is trained with: forward(x, label, tokens)."""

    def __init__(self, network: nn.Module, text: TextEncoder) -> None:
        super().__init__()
        self.network, self.text = network, text

    def forward(self, x: Tensor, label: Tensor, tokens: Tensor) -> Tensor:
        return self.network(x, label, text=self.text(tokens))


def new_text_encoder(config: TextConfig, vocabulary: Vocabulary) -> TextEncoder:
    """One with its first weights."""
    return TextEncoder(TextEncoderConfig(vocabulary.size, config.length, config.width, config.depth, config.heads))
