"""A format: how somebody's files become a network and all that a sampler must know of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from ...diffusion.schedule import NoiseSchedule
from ...errors import UserError
from ..condition import Conditioner
from ..config import mean_squares_of
from ..preconditioning import Preconditioning

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..classifier import Classifier

__all__ = ["Checkpoint", "Coder", "Decoder", "ModelFormat"]


class Decoder(Protocol):
    """What turns the samples of a latent model into images."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""

    @property
    def module(self) -> nn.Module:
        """The network of it."""

    def decode(self, latents: Tensor) -> Tensor:
        """Images [B, C, H, W], in [-1, 1] or about it, on the device and in the precision of its network."""


@runtime_checkable
class Coder(Decoder, Protocol):
    """A decoder that has its encoder too, which floors and the variational bound need."""

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(c, h, w)."""

    def encode(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        """Latents [B, c, h, w] of images, uint8 [B, C, H, W]: drawn from q(z|x) by standard normal noise of their
        shape, or its mean.
        """


@dataclass(frozen=True)
class Checkpoint:
    """A trained network and what its files say of it, in this project's terms. Raises UserError, in one line, for
    values of another type, and for `mean_squares` that are no table.

    Attributes:
        network: (x [B, C, H, W], label [B]) -> output; without gradients.
        schedule: the path it was trained on, or its description: `kind` and that kind's arguments.
        preconditioning: what it is given for x and for a time, and what its output means.
        sample_shape: (C, H, W) of x.
        architecture: plain JSON from which the network is built again, without its weights; `kind` is one of
            `NETWORKS`. None where it cannot be. That of a pipeline is a description alone.
        dataset: the training data, where it is known: cifar10, lsun-bedroom, ….
        extractor: the feature extractor that its FID is measured in. reference: statistics of real images in it.
        files: the files whose bytes make the model what it is. A factory's files and reference may be relative to the
            folder of its module.
        code: what else does, each part with its hash.
        notes: what a person should know, a line each: the sampler its authors took, what was assumed.
        learned_range: whether the output has twice the channels of x; the second half then places the log variance
            between β̃ at -1 and β at 1 (Nichol & Dhariwal 2021, eq. 15).
        mean_squares: {"times": …, "values": …}, E‖ε_θ(x_t, t)‖²/D over real images at increasing times, which
            `analytic-ddpm` needs; lists of numbers of one length.
        training: what is kept of how it came about.
        decoder: what turns samples into images, of a latent model: see `Decoder`.
        conditioner: how what it is asked for becomes arguments of the network; None where it is asked for nothing.
        classifier: of noisy samples, for classifier guidance; None where there is none.
        other_weights: reads the weights that were not taken, where the files have both: ('raw' or 'averaged', the
            network with them). `samplerbench check --model` compares.
    """

    network: nn.Module
    schedule: NoiseSchedule | Mapping[str, Any]
    preconditioning: Preconditioning
    sample_shape: tuple[int, int, int]
    architecture: Mapping[str, Any] | None = None
    dataset: str | None = None
    extractor: str | None = None
    reference: Path | None = None
    files: tuple[Path, ...] = ()
    code: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    learned_range: bool = False
    mean_squares: dict[str, list[float]] | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    decoder: Decoder | None = None
    conditioner: Conditioner | None = None
    classifier: Classifier | None = None
    other_weights: Callable[[], tuple[str, nn.Module]] | None = None

    def __post_init__(self) -> None:
        from torch.nn import Module

        from ..classifier import Classifier

        expected: dict[str, tuple[Any, str]] = {
            "network": (Module, "a torch.nn.Module"),
            "schedule": (NoiseSchedule | Mapping, "a NoiseSchedule, or a mapping with its kind and arguments"),
            "preconditioning": (Preconditioning, "a Preconditioning"),
            "architecture": (Mapping | None, "a mapping or None"),
            "dataset": (str | None, "a name or None"),
            "extractor": (str | None, "a name or None"),
            "reference": (str | Path | None, "a path or None"),
            "files": (tuple | list, "a tuple of paths"),
            "code": (Mapping, "a mapping"),
            "notes": (tuple | list, "a tuple of lines"),
            "learned_range": (bool, "True or False"),
            "training": (Mapping, "a mapping"),
            "conditioner": (Conditioner | None, "a Conditioner or None"),
            "classifier": (Classifier | None, "a Classifier or None"),
            "other_weights": (Callable | None, "a function or None"),
        }
        if isinstance(self.reference, str):
            object.__setattr__(self, "reference", Path(self.reference))
        for name, (kinds, said) in expected.items():
            if not isinstance(value := getattr(self, name), kinds):
                raise UserError(f"{name} of a Checkpoint is {said}, got {_shown(value)}")
        shape = self.sample_shape
        if not (isinstance(shape, tuple) and len(shape) == 3 and all(type(n) is int and n > 0 for n in shape)):
            raise UserError(
                "sample_shape of a Checkpoint is a tuple (C, H, W) of whole numbers above 0, got " + _shown(shape)
            )
        for name, kind in (("files", str | Path), ("notes", str)):
            for entry in getattr(self, name):
                if not isinstance(entry, kind):
                    raise UserError(f"{name} of a Checkpoint is {expected[name][1]}, got {_shown(entry)} in it")
        mean_squares_of({"mean_squares": self.mean_squares})


def _shown(value: object) -> str:
    """A value in one short line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"a {type(value).__name__}"


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
        """Whether `spec` is of this format, by its name or by a file's presence. Reads no weights."""

    @abstractmethod
    def load(self, spec: str) -> Checkpoint:
        """Reads the files. Raises UserError, in one line, for what is missing, does not fit or cannot be had here."""
