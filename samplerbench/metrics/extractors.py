"""A feature extractor made ready: loaded, tried on two images, and identified by its code, weights and options."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import PluginError, UserError, contained, one_line
from ..files import content_key, sha256_of_all
from ..settings import products
from .extractor import Extractor, shape_text

__all__ = ["LoadedExtractor", "load_extractor"]

CLASSES = 100  # of at most so many the logits are kept
BATCH = 1024
ALIKE = 1e-2  # of the largest feature: what batches of other sizes may change, TF32 included


@dataclass(frozen=True, eq=False)
class LoadedExtractor:
    """An extractor ready to run: `extractor(images)`, uint8 [B, C, H, W] -> features, float32 [B, D].

    Attributes:
        sha256: hash of its weights; of its options too where they are not the defaults, and of its code where it is not
            samplerbench's own. Two with the same hash give the same features, so references go by it.
        code: hash of its code. accounts_for: whether a loaded module is part of that.
        classes: K, how many classes its logits have; 0 where it has none, None where it was not tried.
    """

    extractor: Extractor
    sha256: str
    code: str
    accounts_for: Callable[[str], bool] = lambda module: False
    classes: int | None = None

    @property
    def spec(self) -> str:
        return self.extractor.spec

    @property
    def layer(self) -> str:
        return self.extractor.layer

    @property
    def dimension(self) -> int:
        return self.extractor.dimension

    def __call__(self, images: Tensor) -> Tensor:
        return self.with_logits(images)[0]

    @torch.no_grad()
    def with_logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, D] and logits [B, K], K = 0 where it has no classes. Raises UserError for images that it does
        not take, TypeError or ValueError where it gives something else.
        """
        own = self.extractor
        if images.dtype != torch.uint8 or images.ndim != 4:
            got = f"{images.dtype} {list(images.shape)}"
            raise UserError(f"extractor '{own.name}' takes uint8 images [B, {_axes(own)}], got {got}")
        if refusal := own.refusal(images.shape[1:]):
            raise UserError(refusal)
        if own.channels == "repeat":
            images = images.expand(-1, own.takes[0] or 1, -1, -1)
        with contained(own.name), products():
            features, logits = own.with_logits(images)
        expected = (len(images), own.dimension)
        if not isinstance(features, Tensor) or features.dtype != torch.float32 or tuple(features.shape) != expected:
            got = (
                f"{features.dtype} {list(features.shape)}" if isinstance(features, Tensor) else type(features).__name__
            )
            raise TypeError(f"extractor '{own.name}' gave {got}, expected features, float32 {list(expected)}")
        if logits is None:
            return features, features.new_empty(len(images), 0)
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(images):
            raise TypeError(f"extractor '{own.name}' gave logits that are not [{len(images)}, K]")
        return features, logits

    @torch.no_grad()
    def text(self, prompts: Sequence[str]) -> tuple[Tensor, int]:
        """The embeddings of prompts [n, D] on the host, and how many were cut. Raises TypeError or ValueError where the
        extractor gives something else.
        """
        with contained(self.extractor.name), products():
            found, cut = self.extractor.text(prompts)
        expected = (len(prompts), self.dimension)
        if not isinstance(found, Tensor) or tuple(found.shape) != expected:
            raise TypeError(f"extractor '{self.extractor.name}' gave no embeddings of prompts, {list(expected)}")
        return found.float().cpu(), cut

    @torch.no_grad()
    def kept(self, features: Tensor, logits: Tensor) -> Tensor:
        """What is kept of logits [B, K]: [B, 0] where there are many classes, and `logits_of` can have them again."""
        if logits.shape[1] <= CLASSES or self.extractor.logits_of(features[:1]) is None:
            return logits
        return logits[:, :0]

    @torch.no_grad()
    def logits_of(self, features: Tensor, device: str) -> Tensor | None:
        """The logits of features [n, D] on the host, a few at a time on the extractor's device; None where features do
        not tell.
        """
        parts: list[Tensor] = []
        with contained(self.extractor.name), products():
            for batch in features.split(BATCH):
                part = self.extractor.logits_of(batch.to(device))
                if part is None:
                    return None
                parts.append(part.float().cpu())
        return torch.cat(parts)


def _axes(extractor: Extractor) -> str:
    return ", ".join(shape_text(extractor.takes).split("×"))


def load_extractor(
    extractor: Extractor,
    code: str,
    own: bool,
    weights: Path | None = None,
    device: str = "cpu",
    image_shape: Sequence[int] | None = None,
    accounts_for: Callable[[str], bool] = lambda module: False,
) -> LoadedExtractor:
    """Loads an extractor, and tries it on images of `image_shape` where that is given.

    code: hash of its code. own: whether it is samplerbench's own: what it gives is then known by its weights alone.
    weights: a file or folder; None for the usual ones.

    Raises UserError for weights that cannot be had and images that it does not take; PluginError, with the traceback,
    for what else it raises, and where it is not what it claims to be.
    """
    if weights is not None and not weights.exists():
        raise UserError(f"--extractor-weights {weights}: no such file or folder")
    spec = extractor.spec
    try:
        with contained(extractor.name):
            extractor.load(weights, device)
    except UserError:
        raise
    except Exception as error:
        where = f" from {weights}" if weights else ""
        raise PluginError(
            f"extractor '{spec}' cannot be loaded{where}: {one_line(error)}", traceback.format_exc()
        ) from None
    for value in vars(extractor).values():
        if isinstance(value, nn.Module):
            value.eval().requires_grad_(False)
    beside: dict[str, str | dict[str, str]] = {} if spec == extractor.name else {"options": spec}
    if not own:
        beside |= {"code": code, "files": sha256_of_all(weights) if weights else {}}
    held = _state_sha256(extractor)
    sha256 = content_key(beside | {"weights": held}) if beside else held
    loaded = LoadedExtractor(extractor, sha256, code, accounts_for)
    if image_shape is None:
        return loaded
    classes = _tried(loaded, image_shape, device)
    return LoadedExtractor(extractor, sha256, code, accounts_for, classes)


def _tried(loaded: LoadedExtractor, image_shape: Sequence[int], device: str) -> int:
    """How many classes it has. Raises PluginError where it fails on two images, or mixes them."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, *image_shape), dtype=torch.uint8, generator=draw).to(device)
    try:
        features, logits = loaded.with_logits(images)
        alone = loaded(images[:1])
    except UserError:
        raise
    except Exception as error:
        line = f"extractor '{loaded.spec}' fails on images of {shape_text(image_shape)}: {one_line(error)}"
        raise PluginError(line, traceback.format_exc()) from None
    if not torch.isfinite(features).all():
        raise PluginError(f"extractor '{loaded.spec}': the features of two images of noise are not finite")
    if float((features[:1] - alone).abs().max()) > ALIKE * float(features.abs().max()):
        raise PluginError(
            f"extractor '{loaded.spec}': the features of an image depend on the others of its batch, so they would "
            "depend on the batch size"
        )
    return logits.shape[1]


def _state_sha256(extractor: Extractor) -> str:
    """The hash of what `load` put on an extractor."""
    digest = hashlib.sha256()
    options = {field.name for field in fields(extractor)}
    for name, value in sorted(vars(extractor).items()):
        if name in options:
            continue
        if isinstance(value, nn.Module):
            held = {f"{name}.{key}": part for key, part in value.state_dict().items()}
        else:
            held = {name: value}
        for key, part in sorted(held.items()):
            data = _bytes(part)
            if data is not None:
                digest.update(key.encode())
                digest.update(data)
    return digest.hexdigest()


def _bytes(value: object) -> bytes | None:
    """A tensor, an array or a plain value as bytes; None for anything else."""
    if isinstance(value, Tensor):
        return value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(value).tobytes()
    if isinstance(value, bool | int | float | str | bytes | tuple):
        return repr(value).encode()
    return None
