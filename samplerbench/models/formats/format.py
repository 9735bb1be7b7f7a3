"""A format: how somebody's files become a network and all that a sampler must know of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ModelFormat", "Understood"]


@dataclass(frozen=True)
class Understood:
    """What files say of a trained network, in this project's terms.

    Attributes:
        network: (x [B, C, H, W], label [B]) -> output; evaluation mode, on the CPU, float32, without gradients.
        prediction: what its output means: epsilon, x0, v, score, velocity, or edm (the F of Karras et al. 2022, table
            1, of which the denoiser is made).
        schedule: the path it was trained on: `kind` and that kind's arguments, as in a model's config.json.
        label: what it is given for a time: `kind` (index: 0-based steps of a chain; log-sigma; flow-time), `factor`
            and `offset` (label = factor · value + offset), and `between` (interpolate or round: what is given for
            times between the steps).
        sample_shape: (C, H, W) of x.
        network_config: plain JSON from which the network is built again, without its weights; `kind` is unet2d.
        dataset: the training data, where it is known: cifar10, lsun-bedroom, …
        files: the files whose bytes make the model what it is.
        notes: what a person should know, a line each: the sampler its authors took, what was assumed.
        learned_range: whether the output has twice the channels of x; the second half then places the log variance
            between β̃ at -1 and β at 1 (Nichol & Dhariwal 2021, eq. 15).
    """

    network: nn.Module
    prediction: str
    schedule: dict[str, Any]
    label: dict[str, Any]
    sample_shape: tuple[int, int, int]
    network_config: dict[str, Any]
    dataset: str | None
    files: tuple[Path, ...]
    notes: tuple[str, ...]
    learned_range: bool = False


class ModelFormat(ABC):
    """One way to write a trained network down.

    Attributes:
        name: the format's name.
        about: one line for people: whose files these are.
    """

    name: ClassVar[str]
    about: ClassVar[str]

    @abstractmethod
    def recognises(self, spec: str) -> bool:
        """Whether `spec` looks like this format, by its name or by a file's presence. Reads no weights."""

    @abstractmethod
    def load(self, spec: str) -> Understood:
        """Reads the files. Raises UserError, in one line, for what is missing, does not fit or cannot be had here."""
