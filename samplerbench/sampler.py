"""What a sampler is: a frozen dataclass whose fields are its options, and one method that goes from x_T to x_0.

Subclass `Sampler`, decorate with `@dataclass(frozen=True, kw_only=True)`, and register the class from a hook (see
`hookspecs.py`). This module and a plugin's need no torch to be imported.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from .errors import TooFewEvaluations, UserError, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from .diffusion.denoiser import Denoiser
    from .diffusion.grid import TimeGrid
    from .diffusion.noise import NoiseSource

__all__ = ["Sampler", "make_sampler", "options_of", "parse_option", "parse_spec", "split_specs"]


@dataclass(frozen=True, kw_only=True)
class Sampler(ABC):
    """One sampling method with its options fixed.

    Class attributes:
        name: what it is called on the command line.
        aliases: other names for it.
        paper: the source of the method.
    Fields (every sampler has these):
        spacing: how the grid's times are spaced: a name among `SPACINGS`, or the times themselves, '801/401/1/0'.
        rho: the exponent of karras spacing; None for its default, 7.
        final: where the last step ends: `zero` (the data), `none` (the schedule's smallest time, a little noise left),
            or `denoise`: as `none`, and then one evaluation more gives the predicted x_0.
    """

    name: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    paper: ClassVar[str] = ""

    spacing: str = "uniform"
    rho: float | None = None
    final: str = "zero"

    def __post_init__(self) -> None:
        from .diffusion.grid import FINALS
        from .diffusion.spacing import SPACINGS, explicit_times

        listed = explicit_times(self.spacing)
        if listed is None and self.spacing not in SPACINGS:
            raise unknown("spacing", self.spacing, SPACINGS)
        if self.rho is not None and (self.spacing != "karras" or self.rho <= 0):
            raise UserError(f"{self.name}:rho is a number above 0 that goes with spacing=karras, got {self.rho:g}")
        if self.final not in FINALS:
            raise unknown("final", self.final, FINALS)
        if listed is not None and (listed[-1] == 0) != (self.final == "zero"):
            object.__setattr__(self, "final", "zero" if listed[-1] == 0 else "none")

    @property
    def stochastic(self) -> bool:
        """Whether it draws noise besides x_T."""
        return False

    @property
    def adaptive(self) -> bool:
        """Whether it chooses its own times between the first and the last of its grid, which then has one step."""
        return False

    @property
    def global_order(self) -> float:
        """The claimed order of convergence in the step size; 1 unless a sampler says otherwise. A number between two
        whole ones is what is seen from 80 to 160 steps where a start of lower order keeps a method below its own.
        """
        return 1

    @property
    def fewest_steps(self) -> int:
        """The smallest number of steps it can take."""
        return 1

    def evaluations(self, steps: int) -> int:
        """The network evaluations that `steps` steps are claimed to take, that of `final=denoise` apart; what counts is
        what the core counts. Of an adaptive sampler: the fewest.
        """
        return steps

    def steps(self, nfe: int) -> int:
        """The most steps that `nfe` evaluations pay for. Raises TooFewEvaluations where they do not pay for the fewest
        it can take.
        """
        steps = self.fewest_steps
        if self.evaluations(steps) > nfe:
            raise TooFewEvaluations(f"{self.name} needs at least {self.evaluations(steps)} evaluations, got {nfe}")
        while not self.adaptive and self.evaluations(steps + 1) <= nfe:
            steps += 1
        return steps

    @abstractmethod
    def sample(self, eps: Denoiser, grid: TimeGrid, x: Tensor, noise: NoiseSource) -> Tensor:
        """Goes down the grid and returns x_0.

        eps: `eps(x, t)` is ε_θ; every call is counted.
        grid: `grid.times[i]`, `alpha[i]`, `sigma[i]`, `half_log_snr[i]` for i = 0..grid.steps, the noisy end first.
        x: x_T, [B, C, H, W], standard normal; not to be changed in place.
        noise: `noise(i)` is fresh standard normal noise of x's shape for step i.
        """

    def transition(self, eps: Denoiser, grid: TimeGrid, i: int, x: Tensor) -> tuple[Tensor, Tensor | float]:
        """Mean [B, ...] and variance (a number, or of the mean's shape) of p(x_{i+1} | x_i), for samplers that are a
        chain of Gaussians; x is x_i.
        """
        raise NotImplementedError(f"{self.name} has no transition densities")

    def spec(self) -> str:
        """The sampler as it is written on the command line, options that differ from their defaults only."""
        changed = [f for f in options_of(type(self)) if getattr(self, f.name) != f.default]
        return ":".join([self.name, *(f"{f.name}={getattr(self, f.name)}" for f in changed)])


def options_of(cls: type[Sampler]) -> list[Field[Any]]:
    """The fields of a sampler, its own before those that every sampler has."""
    common = {f.name for f in fields(Sampler)}
    return sorted(fields(cls), key=lambda f: f.name in common)


def split_specs(text: str) -> list[str]:
    """'ddim,dpm:order=1' -> its parts; empty ones are an error."""
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise UserError(f"'{text}': expected sampler names separated by commas, like ddim,dpm-solver:order=1")
    return parts


def parse_spec(spec: str) -> tuple[str, dict[str, str]]:
    """'name:key=value:key=value' -> the name and its options, still text."""
    name, *rest = spec.split(":")
    options: dict[str, str] = {}
    for part in rest:
        key, equals, value = part.partition("=")
        if not equals or not key or not value:
            raise UserError(f"'{spec}': expected name:key=value:key=value, got '{part}' where key=value should be")
        if key in options:
            raise UserError(f"'{spec}': option '{key}' is given twice")
        options[key] = value
    return name, options


def make_sampler(cls: type[Sampler], options: Mapping[str, Any]) -> Sampler:
    """The sampler of class `cls` with `options`: values of the right type, or text that is read as the field's type."""
    types = get_type_hints(cls)
    names = [f.name for f in fields(cls)]
    values = {}
    for key, value in options.items():
        if key not in names:
            raise unknown(f"option of {cls.name}", key, names)
        values[key] = parse_option(f"{cls.name}:{key}", value, types[key])
    return cls(**values)


def parse_option(where: str, value: Any, kind: Any) -> Any:
    """`value` as a `kind` (int, float, bool, str, Literal of strings, or one of them | None); text is converted."""
    if get_origin(kind) is Literal:
        if str(value) not in get_args(kind):
            raise unknown(f"value of {where}", value, get_args(kind))
        return str(value)
    if type(None) in get_args(kind):
        if value is None or value == "none":
            return None
        (kind,) = [k for k in get_args(kind) if k is not type(None)]
        return parse_option(where, value, kind)
    if get_origin(kind) is Union or kind not in (int, float, bool, str):
        raise TypeError(f"{where}: options are int, float, bool, str, Literal or one of these | None, not {kind}")
    if kind is bool:
        known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if str(value).lower() not in known:
            raise UserError(f"{where} is true or false, got '{value}'")
        return known[str(value).lower()]
    try:
        converted = kind(value)
    except (TypeError, ValueError):
        expected = {int: "a whole number", float: "a number"}[kind]
        raise UserError(f"{where} is {expected}, got '{value}'") from None
    if kind is int and isinstance(value, float) and converted != value:
        raise UserError(f"{where} is a whole number, got '{value}'")
    return converted
