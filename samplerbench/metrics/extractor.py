"""What a feature extractor is: uint8 images in, features out.

Subclass `Extractor`, and register the class from a hook (see `hookspecs.py`); `--extractor` then knows it by its name.
This module and a plugin's need no torch to be imported.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from ..errors import UserError, unknown

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Extractor", "shape_text"]


@dataclass(kw_only=True)
class Extractor(ABC):
    """One feature extractor with its options fixed. The options are its fields, plain as those of a `Sampler`.

    All that `load` puts on it as an attribute is hashed, and is in the key of what it gives: networks, tensors, arrays,
    numbers and texts. Networks are put into evaluation mode.

    Class attributes:
        name: what `--extractor` calls it.
        about: what its features are, in a line. paper: the source.
        takes: the images that it takes, (C, H, W); None where any number will do.
        layers: the names that the option `layer` chooses from; the first is the default.
        directions: whether features are compared by their directions, as CLIP's are; `cmmd` needs such.
        reads: whether it has embeddings of prompts, too, which `clip_score` needs.
        depends_on: as that of a `Sampler`; for files of weights that come with a plugin.
    Fields (every extractor has these):
        channels: `own` gives images as they are; `repeat` gives grey images with their channel once for each that the
            extractor takes.
        layer: which layer the features are of.
    """

    name: ClassVar[str]
    about: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    takes: ClassVar[tuple[int | None, int | None, int | None]] = (None, None, None)
    layers: ClassVar[tuple[str, ...]] = ("features",)
    directions: ClassVar[bool] = False
    reads: ClassVar[bool] = False
    depends_on: ClassVar[tuple[str, ...]] = ()

    channels: Literal["own", "repeat"] = "own"
    layer: str = ""

    def __post_init__(self) -> None:
        if not self.layer:
            self.layer = self.layers[0]
        if self.layer not in self.layers:
            raise unknown(f"layer of {self.name}", self.layer, self.layers)
        if self.channels == "repeat" and self.takes[0] is None:
            raise UserError(f"extractor '{self.name}' takes any number of channels; leave out channels=repeat")

    @property
    @abstractmethod
    def dimension(self) -> int:
        """D, how many features an image has. A plain class attribute will do."""

    def load(self, weights: Path | None, device: str) -> None:
        """Makes it ready, once, before it is called: reads `weights`, a file that the user named, or what it has itself
        where that is None; puts its networks on `device`. Raises UserError where weights cannot be had.
        """
        if weights is not None:
            raise UserError(f"extractor '{self.name}' takes no weights; leave out --extractor-weights {weights}")

    @abstractmethod
    def __call__(self, images: Tensor) -> Tensor:
        """The features, float32 [B, D], of images, uint8 [B, C, H, W], both on the device that it was loaded to. Those
        of an image do not depend on the others of its batch.
        """

    def with_logits(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features [B, D], and the logits [B, K] of its classes, for the Inception Score; None where it has none."""
        return self(images), None

    def text(self, prompts: Sequence[str]) -> tuple[Tensor, int]:
        """The embeddings of prompts, float32 [n, D], in the space of the features; and how many prompts were longer
        than it takes, and were cut. For those that say `reads`.
        """
        raise NotImplementedError(f"extractor '{self.name}' has no embeddings of prompts")

    def logits_of(self, features: Tensor) -> Tensor | None:
        """The logits [B, K] of features [B, D], where these determine them, as those before a linear layer do; None
        where they do not. Many logits of many samples are then not kept, but computed anew.
        """
        return None

    @property
    def spec(self) -> str:
        """It as it is written on the command line, options that differ from their defaults only."""
        default = type(self)()
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        differing = [f"{name}={value}" for name, value in values.items() if value != getattr(default, name)]
        return ":".join([self.name, *differing])

    def refusal(self, shape: Sequence[int]) -> str:
        """Why it does not take images of a shape (C, H, W), in a line; empty where it does."""
        got, want = tuple(shape), self.takes
        if self.channels == "repeat":
            if got[0] != 1:
                return f"{self.name}:channels=repeat is for grey images, not for {shape_text(got)}; leave it out"
            got = (want[0] or 1, *got[1:])
        if all(w in (None, g) for w, g in zip(want, got, strict=True)):
            return ""
        line = f"extractor '{self.name}' takes images of {shape_text(want)}, not of {shape_text(got)}"
        if got[0] == 1 and all(w in (None, g) for w, g in zip(want[1:], got[1:], strict=True)):
            line += f"; to give it the grey channel {want[0]} times, choose --extractor {self.name}:channels=repeat"
        return line


def shape_text(shape: Sequence[int | None]) -> str:
    """(3, None, None) -> '3×H×W'."""
    return "×".join(letter if side is None else str(side) for side, letter in zip(shape, "CHW", strict=True))
