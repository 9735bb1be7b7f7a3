"""The path from data to noise, q(x_t | x_0) = N(α_t x_0, σ_t² I), described by one function: λ(t) = log(α_t/σ_t).

Samplers see every path in variance-preserving coordinates, x_t / √(α_t² + σ_t²). There λ and ε are what they are in the
path's own coordinates, and α² = sigmoid(2λ), σ² = sigmoid(-2λ). So a sampler that is right on one path is right on all.
What a path is natively is a factor, `scale(t)` = √(α_t² + σ_t²), which the network's side multiplies by.

Everything is float64. Time 0 is the data; a sampler goes from `schedule.t_max` down.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, is_dataclass
from math import inf
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError

__all__ = ["SMALLEST_ALPHA", "Array", "NoiseSchedule", "check_numbers"]

Array = NDArray[np.float64]
SMALLEST_ALPHA = 1e-3  # where a sampler starts that cannot start at α = 0
FAINTEST_ALPHA = 1e-4  # of a start; below it sampling starts at CLEAR
CLEAR = -5.1  # a λ (Lu et al. 2022, the authors' code of DPM-Solver); DDPM's schedule starts at -5.06


class NoiseSchedule(ABC):
    """A path: λ as a function of time and its inverse, with α and σ in variance-preserving coordinates.

    Every method takes a float or an array of times and returns float64 of the same shape. A path of one's own is a
    frozen dataclass with these methods, registered by the hook `samplerbench_paths`.

    Attributes:
        name: the `kind` of it in a model's config.json.
        t_max: the time of (almost) pure noise, where sampling starts.
        t_min: the smallest time at which a network may be asked; a solver that does not step to 0 ends here.
        discrete: whether the network was trained at the integer times 1..t_max alone.
    """

    name: ClassVar[str]
    t_max: float
    t_min: float
    discrete: bool = False

    @abstractmethod
    def half_log_snr(self, t: ArrayLike) -> Array:
        """λ_t = log(α_t/σ_t), half the log of the signal-to-noise ratio (DPM-Solver, §3.1): +inf at t = 0, decreasing;
        -inf where nothing is left of the data.
        """

    @abstractmethod
    def time(self, half_log_snr: ArrayLike) -> Array:
        """The time at which λ has the given value."""

    def scale(self, t: ArrayLike) -> Array:
        """√(α_t² + σ_t²) of the path's own α and σ: 1 where it preserves variance."""
        return np.ones_like(np.asarray(t, dtype=np.float64))

    def prior(self, t: float) -> float:
        """The standard deviation of x_T where sampling starts at time t, in variance-preserving coordinates: 1, or what
        the path's authors draw.
        """
        return 1.0

    def config(self) -> dict[str, Any]:
        """Plain values from which `schedule_from_config` makes the same path."""
        if not is_dataclass(self):
            raise NotImplementedError(f"{type(self).__name__}.config is not defined")
        return {"kind": self.name, **asdict(self)}

    def alpha(self, t: ArrayLike) -> Array:
        """α_t, the factor of x_0 (√ᾱ_t in the DDPM paper's letters): sigmoid(2λ)^½."""
        return np.exp(-0.5 * np.logaddexp(0.0, -2.0 * self.half_log_snr(t)))

    def sigma(self, t: ArrayLike) -> Array:
        """σ_t, the standard deviation of the noise (√(1-ᾱ_t)): sigmoid(-2λ)^½."""
        return np.exp(-0.5 * np.logaddexp(0.0, 2.0 * self.half_log_snr(t)))

    @property
    def reaches_pure_noise(self) -> bool:
        """Whether λ = -∞ at t_max: zero terminal signal-to-noise ratio."""
        return float(self.half_log_snr(self.t_max)) == -inf

    def first_time(self, pure_noise: bool) -> float:
        """Where sampling starts: t_max, unless α is 0 or faint there.

        At α = 0 only a sampler starts that can (`pure_noise`). Another starts at the last label before it on a discrete
        path, and at α = SMALLEST_ALPHA on a continuous one. Where α is above 0 and below FAINTEST_ALPHA, as on the
        squared cosine, a network's error in ε is thousands of times as large in x_0: there all start at the last time,
        or label, with λ at least CLEAR.
        """
        alpha = float(self.alpha(self.t_max))
        if alpha >= FAINTEST_ALPHA or (pure_noise and alpha == 0):
            return self.t_max
        if alpha == 0 and self.discrete:
            return self.t_max - 1
        last = float(self.time(CLEAR if alpha > 0 else _half_log_snr(SMALLEST_ALPHA)))
        return max(float(np.floor(last)) if self.discrete else last, self.t_min)


def _half_log_snr(alpha: float) -> float:
    return float(np.log(alpha) - 0.5 * np.log1p(-(alpha**2)))


def check_numbers(what: str, **values: Any) -> None:
    """Raises UserError for what is no finite number."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < inf:
            raise UserError(f"{name} of {what} is a finite number, got {value!r}")
