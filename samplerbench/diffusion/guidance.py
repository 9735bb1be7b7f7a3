"""Guidance: an ε that leans towards what is asked for, made of several predictions.

A guider stands between the model and the sampler. What it gives is an ε like any other, so every sampler takes it. An
evaluation of it is one evaluation for the sampler, as papers count, and more than one pass through networks.

A plugin registers guiders of its own with the hook `samplerbench_guiders`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..errors import UserError
from ..hookspecs import hookimpl
from .denoiser import BadNoise, Epsilon, Time
from .schedule import NoiseSchedule

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Autoguidance", "ClassifierFree", "ClassifierGuidance", "Guided", "Guider"]


@dataclass(frozen=True, kw_only=True)
class Guider(ABC):
    """One way to guide; subclasses are frozen dataclasses whose fields are its options.

    Attributes:
        name: as in `--guidance`. about: one line for people. paper: where it is from.
        other: what it needs besides what the network predicts of what is asked for: `nothing`, what it predicts where
            nothing is asked for; `model`, what another model predicts, which the option `model` names; or `classifier`,
            how a classifier of noisy images says that x should change.
        low, high: the interval of σ/α in which it guides, ends included; elsewhere only what is asked for is evaluated
            (Kynkäänniemi et al. 2024).
    """

    low: float = 0.0
    high: float = inf

    name: ClassVar[str]
    about: ClassVar[str]
    paper: ClassVar[str] = ""
    other: ClassVar[str] = "nothing"
    depends_on: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if not (0 <= self.low < self.high):
            raise UserError(f"{self.name}: low is at least 0 and below high, got {self.low:g} and {self.high:g}")

    @abstractmethod
    def combine(self, asked: Tensor, other: Tensor) -> Tensor:
        """The guided prediction of two, [B, …] each: of ε, of x_0 or of v, whichever the network gives. With a
        classifier the other is σ ∇ log p(c|x), in terms of ε, and -σ²/α ∇ log p(c|x), in terms of x_0.
        """

    @property
    def idle(self) -> bool:
        """Whether it leaves what is asked for as it is, at every time."""
        return False

    def inside(self, schedule: NoiseSchedule, t: Any) -> Any:
        """Whether it guides at time t: True or False, or an array of those."""
        with np.errstate(divide="ignore"):
            ratio = np.exp(-schedule.half_log_snr(t))
        within = (ratio >= self.low) & (ratio <= self.high)
        if self.other == "classifier":
            within &= np.isfinite(ratio)  # where α = 0 there is nothing to see a class of
        return bool(within) if np.ndim(within) == 0 else within

    def check(self, schedule: NoiseSchedule) -> None:
        """Raises UserError where its interval holds no noise level of this path, or an option is missing."""
        least, most = np.exp(-schedule.half_log_snr([schedule.t_min, schedule.t_max]))
        if self.high < least or self.low > most:
            raise UserError(
                f"guidance {self.spec()}: no σ/α of this path, {least:.3g} to {most:.3g}, is between {self.low:g} and "
                f"{self.high:g}"
            )

    def spec(self) -> str:
        """Its name, with the options that are not their defaults."""
        options = ((f.name, getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) != f.default)
        return ":".join([self.name, *(f"{name}={_text(value)}" for name, value in options)])


def _text(value: object) -> str:
    """An option as it is typed."""
    return "none" if value is None else f"{value:.15g}" if isinstance(value, float) else str(value)


def _check_scale(guider: Guider, scale: float) -> None:
    if not (isfinite(scale) and scale >= 0):
        raise UserError(f"{guider.name}: scale is a number from 0 up, 1 for no guidance, got {scale:g}")


@dataclass(frozen=True, kw_only=True)
class ClassifierFree(Guider):
    """ε_∅ + scale · (ε_c - ε_∅): 1 is no guidance, 0 leaves out what is asked for (Ho & Salimans 2022, whose w is scale
    - 1; Dhariwal's, diffusers' and EDM2's convention is this one).

    rescale: how much of the standard deviation that guidance has added over a sample is taken away again, φ of Lin et
    al. 2024, eq. 15 and 16; of what the network gives, be it ε or v.

    negative: what is asked for in the place of nothing, a prompt or a class.
    """

    scale: float = 1.0
    rescale: float = 0.0
    negative: str = ""

    name: ClassVar[str] = "cfg"
    about: ClassVar[str] = "classifier-free: away from what the network predicts where nothing is asked for"
    paper: ClassVar[str] = "arXiv:2207.12598"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_scale(self, self.scale)
        if not 0 <= self.rescale <= 1:
            raise UserError(f"cfg: rescale is from 0 to 1, got {self.rescale:g}")

    @property
    def idle(self) -> bool:
        return self.scale == 1

    def spec(self) -> str:
        """A number alone is a scale."""
        alone = self == ClassifierFree(scale=self.scale)
        return f"{self.scale:.15g}" if alone else super().spec()

    def combine(self, asked: Tensor, other: Tensor) -> Tensor:
        guided = other + self.scale * (asked - other)
        if self.rescale == 0:
            return guided
        axes = tuple(range(1, guided.ndim))
        ratio = asked.std(dim=axes, keepdim=True) / guided.std(dim=axes, keepdim=True)
        return guided * (self.rescale * ratio + (1 - self.rescale))


@dataclass(frozen=True, kw_only=True)
class Autoguidance(Guider):
    """ε_weak + scale · (ε - ε_weak): away from a worse version of the model, which is asked for the same (Karras et al.
    2024, "Guiding a diffusion model with a bad version of itself").

    model: the other model, as `--model` takes it; on the same path.
    """

    scale: float = 1.0
    model: str = ""

    name: ClassVar[str] = "auto"
    about: ClassVar[str] = "autoguidance: away from what a worse model predicts"
    paper: ClassVar[str] = "arXiv:2406.02507"
    other: ClassVar[str] = "model"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_scale(self, self.scale)

    @property
    def idle(self) -> bool:
        return self.scale == 1

    def check(self, schedule: NoiseSchedule) -> None:
        super().check(schedule)
        if not self.model:
            raise UserError("guidance auto: model names the worse model, as --model does: auto:scale=2:model=FOLDER")

    def combine(self, asked: Tensor, other: Tensor) -> Tensor:
        return other + self.scale * (asked - other)


@dataclass(frozen=True, kw_only=True)
class ClassifierGuidance(Guider):
    """ε - scale · σ ∇ log p(c|x_t), with a classifier of noisy images (Dhariwal & Nichol 2021, algorithm 2): 0 is no
    guidance, and with 1 a model that is asked for nothing becomes one of class c.

    model: a folder with the classifier, or its file; without it the one that belongs to the model.
    """

    scale: float = 1.0
    model: str = ""

    name: ClassVar[str] = "classifier"
    about: ClassVar[str] = "towards what a classifier of noisy images takes for the class that is asked for"
    paper: ClassVar[str] = "arXiv:2105.05233"
    other: ClassVar[str] = "classifier"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (isfinite(self.scale) and self.scale >= 0):
            raise UserError(f"classifier: scale is a number from 0 up, 0 for no guidance, got {self.scale:g}")

    @property
    def idle(self) -> bool:
        return self.scale == 0

    def combine(self, asked: Tensor, other: Tensor) -> Tensor:
        return asked - self.scale * other


@hookimpl
def samplerbench_guiders(register: Callable[[type[Guider]], None]) -> None:
    for cls in (ClassifierFree, Autoguidance, ClassifierGuidance):
        register(cls)


class Guided:
    """The ε of a guider, see `Epsilon`, from that of what is asked for and another.

    asked, other: functions ε(x, t) with a row of x a sample; where they are of one network that can take both at once
    (`asked.beside(other)`), conditional and unconditional rows go through it in one batch.
    """

    def __init__(self, guider: Guider, schedule: NoiseSchedule, asked: Any, other: Any) -> None:
        self.guider, self.schedule, self._asked, self._other = guider, schedule, asked, other
        self.latent = getattr(asked, "latent", False)
        beside = getattr(asked, "beside", None)
        self._both = beside(other) if beside else None  # (x, t) -> two outputs of one network
        # there where both functions have them: `Epsilon` says what they are
        if self._both or (hasattr(asked, "x0") and hasattr(other, "x0")):
            self.x0 = self._x0
        if hasattr(asked, "with_range") and (self._both or guider.other == "classifier"):
            self.with_range = self._with_range
        for name in ("relabelled", "of_rows"):
            if hasattr(asked, name) and hasattr(other, name):
                setattr(self, name, self._of_both(name))

    def __call__(self, x: Tensor, t: Time) -> Tensor:
        return self._guided(x, t, lambda function: function, "epsilon_of")

    def passes(self, t: Time) -> Any:
        """Rows through networks that an evaluation at t takes a sample: a number, or an array where t is [B]."""
        inside = self.guider.inside(self.schedule, _plain(t))
        each = getattr(self._asked, "passes", lambda t: 1)(t), getattr(self._other, "passes", lambda t: 1)(t)
        return each[0] + np.where(inside, each[1], 0) if np.ndim(inside) else each[0] + (each[1] if inside else 0)

    def _x0(self, x: Tensor, t: Time) -> Tensor:
        return self._guided(x, t, lambda function: function.x0, "x0_of")

    def _with_range(self, x: Tensor, t: Time) -> tuple[Tensor, Tensor | None]:
        """ε, and where what is asked for places the variance: guidance leaves that alone."""
        if self.guider.inside(self.schedule, _plain(t)) is not True:
            found: tuple[Tensor, Tensor | None] = self._asked.with_range(x, t)
            if self.guider.inside(self.schedule, _plain(t)) is not False:
                raise UserError("a range of variances is asked for at one time for all samples")
            return found
        if self._both is None:
            eps, place = self._asked.with_range(x, t)
            return self._combined(eps, self._other(x, t)), place
        (asked, place), (other, _) = self._both(x, t)
        return self._asked.epsilon_of(self._combined(asked, other), x, t), place

    def _guided(self, x: Tensor, t: Time, of: Callable[[Any], Epsilon], meaning: str) -> Tensor:
        import torch

        inside = self.guider.inside(self.schedule, _plain(t))
        if inside is False or (inside is not True and not inside.any()):
            return of(self._asked)(x, t)
        if inside is not True and not inside.all():  # a time for each sample, of which some are in the interval
            assert isinstance(t, torch.Tensor)
            found = torch.empty_like(x)
            for within in (False, True):
                rows = torch.from_numpy(np.flatnonzero(inside == within)).to(x.device)
                part = self.of_rows(rows) if hasattr(self, "of_rows") else self
                if len(rows):
                    found[rows] = part._guided(x[rows], t[rows], of, meaning)
            return found
        if self._both is None:
            return self._combined(of(self._asked)(x, t), of(self._other)(x, t))
        (asked, _), (other, _) = self._both(x, t)
        converted: Tensor = getattr(self._asked, meaning)(self._combined(asked, other), x, t)
        return converted

    def _combined(self, asked: Tensor, other: Tensor) -> Tensor:
        """What the guider makes of two. Raises BadNoise for a shape that would only be spread over the samples."""
        shape, found = asked.shape, self.guider.combine(asked, other)
        if getattr(found, "shape", None) != shape:
            got = list(found.shape) if hasattr(found, "shape") else type(found).__name__
            raise BadNoise(f"guidance {self.guider.name} combines {list(shape)} to {got}")
        return found

    def _of_both(self, name: str) -> Callable[[Any], Guided]:
        def made(argument: Any) -> Guided:
            parts = (getattr(function, name)(argument) for function in (self._asked, self._other))
            return Guided(self.guider, self.schedule, *parts)

        return made


def _plain(t: Time) -> Any:
    return t if isinstance(t, float | int) else t.cpu().numpy()
