"""What a sampler is: a frozen dataclass whose fields are its options, and one method that goes from x_T to x_0.

Subclass `Sampler`, decorate with `@dataclass(frozen=True, kw_only=True)`, and register the class from a hook (see
`hookspecs.py`). This module and a plugin's need no torch to be imported.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, fields
from functools import cached_property
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, ClassVar

from .errors import PLUGINS, TooFewEvaluations, UserError, unknown
from .options import check_fields, kinds_of, make, parse_option, reads_back, whole_number

if TYPE_CHECKING:
    from torch import Tensor

    from .diffusion.denoiser import Denoiser, Epsilon
    from .diffusion.grid import TimeGrid
    from .diffusion.noise import NoiseSource
    from .diffusion.schedule import NoiseSchedule

__all__ = ["OWN_GRID", "Sampler", "check_given", "check_options", "check_remade", "make_sampler", "options_of"]

OWN_GRID = "own"  # the spacing of a sampler that has a grid of its own
FEWEST_PER_STEP = 0.01  # a claim of fewer evaluations a step is taken for one that does not grow


@dataclass(frozen=True, kw_only=True)
class Sampler(ABC):
    """One sampling method with its options fixed. Options are plain (see `check_options`), and a sampler is made of no
    value that its `spec` could not say: UserError.

    Class attributes:
        name: what it is called on the command line.
        aliases: other names for it.
        paper: the source of the method.
        depends_on: files and folders that its samples depend on besides the modules it imports, such as a table of
            coefficients: relative to its own file, or absolute. Their bytes count in the key of its results.
    Fields (every sampler has these):
        spacing: how the grid's times are spaced: the name of a spacing (`samplerbench list spacings`); `own`, by the
            sampler's method `grid`; the times themselves, '801/401/1/0'; or file:PATH, a JSON of grids.
        rho: the exponent of karras spacing; none for its default, 7.
        final: where the last step ends: `zero` (the data), `none` (the schedule's smallest time, a little noise left),
            or `denoise`: as `none`, and then one evaluation more gives the predicted x_0. A spacing that ends at the
            data, `trailing` or listed times with a 0, makes it `zero`.
    """

    name: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    paper: ClassVar[str] = ""
    depends_on: ClassVar[tuple[str, ...]] = ()

    spacing: str = "uniform"
    rho: float | None = None
    final: str = "zero"

    def __post_init__(self) -> None:
        from .diffusion.grid import FINALS
        from .diffusion.grid_file import grid_file
        from .diffusion.spacing import explicit_times

        kinds = kinds_of(type(self))
        for option in options_of(type(self)):  # 1 becomes 1.0 where a float is asked for: equal samplers, equal text
            where, value = f"{self.name}:{option.name}", getattr(self, option.name)
            plain = parse_option(where, value, kinds[option.name])
            if isinstance(plain, float) and not isfinite(plain) and option.default not in (inf, -inf):
                raise UserError(f"{where} is a finite number, got {plain}")
            object.__setattr__(self, option.name, plain)
        self.spec()
        listed, file = explicit_times(self.spacing), grid_file(self.spacing)
        if listed is None and file is None and self.spacing not in self.spacings():
            raise unknown("spacing", self.spacing, self.spacings(), PLUGINS)
        if self.rho is not None and (self.spacing != "karras" or self.rho <= 0):
            raise UserError(f"{self.name}:rho is a number above 0 that goes with spacing=karras, got {self.rho:g}")
        if self.final not in FINALS:
            raise unknown("final", self.final, FINALS)
        if self.spacing == OWN_GRID:
            return  # its grid says where it ends; see `plan_grid`
        object.__setattr__(self, "final", self._settled(self.final))

    def _settled(self, final: str) -> str:
        """What the spacing makes of `final`. Raises UserError where the two do not go together."""
        from .diffusion.grid_file import grid_file
        from .diffusion.spacing import SPACINGS, explicit_times

        if self.spacing == OWN_GRID:
            return final
        listed, file = explicit_times(self.spacing), grid_file(self.spacing)
        known = file or SPACINGS.get(self.spacing)
        ends_at_zero = known.ends_at_zero if known else listed is not None and listed[-1] == 0
        if ends_at_zero and final == "denoise":
            raise UserError(
                f"{self.name}: {self.spacing} spacing ends at the data; final=denoise ends where noise is left"
            )
        return "zero" if ends_at_zero else "none" if (listed or file) and final == "zero" else final

    def _implied(self, final: str, default: str) -> bool:
        """Whether `final` is what the spacing makes of the default."""
        try:
            return final == self._settled(default)
        except UserError:
            return False

    @property
    def stochastic(self) -> bool:
        """Whether it draws noise besides x_T."""
        return False

    @property
    def adaptive(self) -> bool:
        """Whether it chooses its own times between the first and the last of its grid, which then has one step."""
        return False

    @property
    def global_order(self) -> float | None:
        """The claimed order of convergence in the step size, at least; 1 unless a sampler says otherwise. A number
        between two whole ones is what is seen from 80 to 160 steps where a start of lower order keeps a method below
        its own. None where no order is claimed: what limits the predicted x_0 converges to another solution.
        """
        return 1

    @property
    def starts_at_pure_noise(self) -> bool:
        """Whether its first step may start at λ = -∞, α = 0, where `eps.x0` says all that is known. Where it may not,
        its grid starts at the schedule's `first_time`.
        """
        return False

    def unsuitable(self, schedule: NoiseSchedule, epsilon: Epsilon) -> str:
        """Why it cannot run on this path, or with this ε function, in one line; empty where it can."""
        return ""

    def label_rule(self, schedule: NoiseSchedule) -> Callable[[Any], Any] | None:
        """What gives the time whose label the network is told for a time, a number or an array, where that is another
        time; None where it is the same.
        """
        return None

    def limit_x0(self, x0: Tensor) -> Tensor:
        """What it makes of a predicted x_0: the same, or limited to the range of the data. The evaluation of
        `final=denoise` goes through it too.
        """
        return x0

    def grid(self, schedule: NoiseSchedule, steps: int) -> Sequence[float]:
        """Its own grid, for a sampler that has one: `steps` + 1 decreasing times of the path, from at most
        `schedule.first_time(self.starts_at_pure_noise)` to 0, the data, or to at least `schedule.t_min` where `final`
        is not zero; the same whenever it is asked. It is used where `spacing` is `own`, which such a sampler makes its
        default. UserError where there is no such grid.
        """
        raise NotImplementedError(f"{self.name} has no grid of its own")

    @classmethod
    def spacings(cls) -> list[str]:
        """The names that `spacing` may have: all that are registered, and `own` where it has a grid of its own."""
        from .diffusion.spacing import SPACINGS

        return [*SPACINGS, *([OWN_GRID] if cls.grid is not Sampler.grid else [])]

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
        """The most steps that `nfe` evaluations pay for, found by doubling and bisection: more steps never take fewer
        evaluations. Where a claim falls between the numbers that were tried, the answer still fits the budget, though
        more steps might.

        Raises TooFewEvaluations where `nfe` does not pay for the fewest steps it can take, ValueError where the claim
        is not a whole number, is seen to fall, or does not grow.
        """
        fewest = low = whole_number(f"{self.name}.fewest_steps", self.fewest_steps, 1)
        paid = self._claimed(low)
        if paid > nfe:
            raise TooFewEvaluations(f"{self.name} needs at least {paid} evaluations, got {nfe}")
        if self.adaptive:
            return low
        high = 2 * low
        while (claim := self._claimed(high, paid)) <= nfe:
            if high * FEWEST_PER_STEP > nfe + fewest:
                raise ValueError(f"{self.name}.evaluations({high}) is {claim}: it does not grow with the steps")
            low, high, paid = high, 2 * high, claim
        while high - low > 1:
            middle = (low + high) // 2
            claim = self._claimed(middle, paid)
            low, high, paid = (middle, high, claim) if claim <= nfe else (low, middle, paid)
        return low

    def _claimed(self, steps: int, before: int = 0) -> int:
        """What `evaluations` says of `steps`, `before` being what it said of fewer."""
        claim = whole_number(f"{self.name}.evaluations({steps})", self.evaluations(steps), 0)
        if claim < before:
            raise ValueError(f"{self.name}.evaluations({steps}) is {claim}, though fewer steps take {before}")
        return claim

    @abstractmethod
    def sample(self, eps: Denoiser, grid: TimeGrid, x: Tensor, noise: NoiseSource) -> Tensor:
        """Goes down the grid and returns x_0, of x's shape, dtype and device. Gradients are switched off: a method that
        takes them does so inside `torch.enable_grad()`, of a copy of x, and returns a tensor without.

        eps: `eps(x, t)` is ε_θ, `eps.x0(x, t)` the predicted x_0; every call is counted.
        grid: `grid.times[i]`, `alpha[i]`, `sigma[i]`, `half_log_snr[i]` for i = 0..grid.steps, the noisy end first.
            They are in variance-preserving coordinates, as x is, on every path; `scale[i]` times x is the path's own.
        x: x_T, [B, C, H, W], normal; not to be changed in place.
        noise: `noise(k)` is fresh standard normal noise of x's shape for any whole number k ≥ 0, always the same for
            the same k. Use as many a step as you need, each once.
        """

    def transition(self, eps: Denoiser, grid: TimeGrid, i: int, x: Tensor) -> tuple[Tensor, Tensor | float]:
        """Mean [B, ...] and variance (a number, or of the mean's shape) of p(x_{i+1} | x_i), for samplers that are a
        chain of Gaussians; x is x_i.
        """
        raise NotImplementedError(f"{self.name} has no transition densities")

    def spec(self) -> str:
        """The sampler as it is written on the command line, options that differ from their defaults only, and from what
        its spacing makes of `final`. Raises UserError for an option that could not be read back from there.
        """
        parts = [self.name]
        for option in options_of(type(self)):
            value = getattr(self, option.name)
            if value == option.default or (option.name == "final" and self._implied(value, str(option.default))):
                continue
            part = f"{option.name}={'none' if value is None else value}"
            if not reads_back(part, value, kinds_of(type(self))[option.name]):
                raise UserError(f"{self.name}:{option.name} is text on one line without ':' or ',', got {value!r}")
            parts.append(part)
        return ":".join(parts)


def check_options(cls: type[Sampler]) -> None:
    """Raises TypeError, in one line that names the field, where `paper` or `aliases` is not what it must be, or an
    option is not plain (see `options.check_fields`).
    """
    if not isinstance(cls.paper, str):
        raise TypeError(f"{cls.__name__}.paper is text, got {cls.paper!r}")
    if not isinstance(cls.aliases, tuple) or not all(isinstance(a, str) and a for a in cls.aliases):
        raise TypeError(f"{cls.__name__}.aliases is a tuple of names, ('a', 'b') or ('a',), got {cls.aliases!r}")
    check_fields(cls, Sampler)
    (spacing,) = (field.default for field in fields(cls) if field.name == "spacing")
    if (cls.grid is not Sampler.grid) != (spacing == OWN_GRID):
        raise TypeError(
            f'{cls.__name__} has a grid of its own; say so by spacing: str = "{OWN_GRID}"'
            if spacing != OWN_GRID
            else f"{cls.__name__}.spacing is {OWN_GRID}, and it has no method grid(schedule, steps)"
        )


def check_given(sampler: object) -> None:
    """Raises UserError where what was given as a sampler is none, or its class could not be registered."""
    if isinstance(sampler, type) and issubclass(sampler, Sampler):
        raise UserError(f"{sampler.__name__} is a class; give a sampler, {sampler.__name__}()")
    if not isinstance(sampler, Sampler):
        raise UserError(f"a sampler is a name like 'ddim:eta=0.5' or a samplerbench.Sampler, got {sampler!r}")
    try:
        check_options(type(sampler))
    except TypeError as error:
        raise UserError(str(error)) from None


def check_remade(sampler: Sampler) -> None:
    """Raises UserError where a sampler has what its options do not say: a run makes it anew from them."""
    kept = {
        name for cls in type(sampler).__mro__ for name, one in vars(cls).items() if isinstance(one, cached_property)
    }
    known = kept | {f.name for f in fields(sampler)}
    if other := sorted(set(getattr(sampler, "__dict__", ())) - known):
        raise UserError(
            f"{other[0]} was set on a {type(sampler).__name__}, and is none of its options; a run makes samplers anew "
            "from their options"
        )


def options_of(cls: type[Sampler]) -> list[Field[Any]]:
    """The fields of a sampler, its own before those that every sampler has."""
    common = {f.name for f in fields(Sampler)}
    return sorted(fields(cls), key=lambda f: f.name in common)


def make_sampler(cls: type[Sampler], options: Mapping[str, Any]) -> Sampler:
    """The sampler of class `cls` with `options`: values of the right type, or text that is read as the field's type."""
    return make(cls, options)
