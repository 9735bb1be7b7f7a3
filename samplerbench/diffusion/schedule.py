"""The forward process q(x_t | x_0) = N(α_t x_0, σ_t² I), variance preserving: σ² = 1 - α².

Everything is float64 and derived from log α, so that nothing cancels at either end of the chain. Time 0 is the data; a
sampler goes from `schedule.t_max` down. On a discrete schedule time t = 1..T is the t of the DDPM paper, so ᾱ_0 = 1;
the network's label is t - 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError, one_line, unknown

__all__ = [
    "DiscreteSchedule",
    "NoiseSchedule",
    "VPSchedule",
    "cosine_schedule",
    "linear_schedule",
    "schedule_from_config",
]

Array = NDArray[np.float64]
MOST_TIMES = 10**6
LEAST_LOG_ALPHA = -300.0  # e^-600, the least α², is a normal number of float64


class NoiseSchedule(ABC):
    """α, σ and λ = log(α/σ) as functions of time, the time of a λ, and the label a network expects for a time.

    Every method takes a float or an array of times and returns float64 of the same shape.

    Attributes:
        t_max: the time of (almost) pure noise, where sampling starts.
        t_min: the smallest time at which a network may be asked; a solver that does not step to 0 ends here.
        discrete: whether the network was trained at the integer times 1..t_max alone.
    """

    t_max: float
    t_min: float
    discrete: bool

    @abstractmethod
    def log_alpha(self, t: ArrayLike) -> Array:
        """log α_t; 0 at t = 0, decreasing."""

    @abstractmethod
    def time(self, half_log_snr: ArrayLike) -> Array:
        """The time at which λ has the given value (inverse of `half_log_snr`)."""

    @abstractmethod
    def label(self, t: ArrayLike) -> Array:
        """What the network is given for time t."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Plain values from which `schedule_from_config` makes the same schedule."""

    def alpha(self, t: ArrayLike) -> Array:
        """α_t, the factor of x_0 (√ᾱ_t in the DDPM paper's letters)."""
        return np.exp(self.log_alpha(t))

    def sigma(self, t: ArrayLike) -> Array:
        """σ_t, the standard deviation of the noise (√(1-ᾱ_t))."""
        return np.sqrt(-np.expm1(2 * self.log_alpha(t)))

    def half_log_snr(self, t: ArrayLike) -> Array:
        """λ_t = log(α_t/σ_t), half the log of the signal-to-noise ratio (DPM-Solver, §3.1); +inf at t = 0."""
        log_alpha = self.log_alpha(t)
        with np.errstate(divide="ignore"):
            return log_alpha - 0.5 * np.log(-np.expm1(2 * log_alpha))


def _log_alpha_of(half_log_snr: ArrayLike) -> Array:
    """log α where λ is given: α² = 1/(1 + e^{-2λ})."""
    return -0.5 * np.logaddexp(0.0, -2.0 * np.asarray(half_log_snr, dtype=np.float64))


class DiscreteSchedule(NoiseSchedule):
    """A chain of T betas (Ho et al. 2020, eq. 4); log α is linear in t between the integers, as in DPM-Solver.

    betas: [T], each in (0, 1).
    """

    discrete = True
    t_min = 1.0

    def __init__(self, betas: ArrayLike, config: dict[str, Any] | None = None) -> None:
        self.betas = np.array(betas, dtype=np.float64)
        if self.betas.ndim != 1 or len(self.betas) < 1 or not np.all((self.betas > 0) & (self.betas < 1)):
            raise UserError("betas must be a list of numbers in (0, 1)")
        if len(self.betas) > MOST_TIMES:
            raise UserError(f"a discrete schedule has at most {MOST_TIMES} times, got {len(self.betas)}")
        self.t_max = float(len(self.betas))
        self._nodes = np.concatenate([[0.0], 0.5 * np.cumsum(np.log1p(-self.betas))])
        _something_left(float(self._nodes[-1]))
        self._times = np.arange(len(self._nodes), dtype=np.float64)
        for array in (self.betas, self._nodes, self._times):
            array.setflags(write=False)
        self._config = config or {"kind": "betas", "betas": self.betas.tolist()}

    def log_alpha(self, t: ArrayLike) -> Array:
        return np.interp(np.asarray(t, dtype=np.float64), self._times, self._nodes)

    def time(self, half_log_snr: ArrayLike) -> Array:
        return np.interp(-_log_alpha_of(half_log_snr), -self._nodes, self._times)

    def label(self, t: ArrayLike) -> Array:
        return np.maximum(np.asarray(t, dtype=np.float64) - 1.0, 0.0)

    def config(self) -> dict[str, Any]:
        return dict(self._config)


class VPSchedule(NoiseSchedule):
    """The continuous variance-preserving process with linear β(t), t in [0, 1] (Song et al. 2021, eq. 33).

    log α_t = -t²(β_1-β_0)/4 - t β_0/2. Labels are `label_scale`·t.
    """

    discrete = False
    t_max = 1.0

    def __init__(
        self, beta_0: float = 0.1, beta_1: float = 20.0, t_min: float = 1e-3, label_scale: float = 999.0
    ) -> None:
        _check_numbers(beta_0=beta_0, beta_1=beta_1, t_min=t_min, label_scale=label_scale)
        if not (0 <= beta_0 <= beta_1 and beta_1 > 0 and 0 < t_min < 1):
            raise UserError(
                f"a VP schedule needs 0 <= beta_0 <= beta_1 and 0 < t_min < 1, got {beta_0}, {beta_1}, {t_min}"
            )
        if label_scale <= 0:
            raise UserError(f"label_scale of a VP schedule is above 0, got {label_scale}")
        _something_left(-0.25 * (beta_1 - beta_0) - 0.5 * beta_0)
        self.beta_0, self.beta_1, self.t_min, self.label_scale = beta_0, beta_1, t_min, label_scale

    def log_alpha(self, t: ArrayLike) -> Array:
        t = np.asarray(t, dtype=np.float64)
        return -0.25 * t**2 * (self.beta_1 - self.beta_0) - 0.5 * t * self.beta_0

    def time(self, half_log_snr: ArrayLike) -> Array:
        twice = -2.0 * _log_alpha_of(half_log_snr)
        return 2 * twice / (np.sqrt(self.beta_0**2 + 2 * (self.beta_1 - self.beta_0) * twice) + self.beta_0)

    def label(self, t: ArrayLike) -> Array:
        return self.label_scale * np.asarray(t, dtype=np.float64)

    def config(self) -> dict[str, Any]:
        return {
            "kind": "vp",
            "beta_0": self.beta_0,
            "beta_1": self.beta_1,
            "t_min": self.t_min,
            "label_scale": self.label_scale,
        }


def linear_schedule(steps: int = 1000, beta_first: float = 1e-4, beta_last: float = 0.02) -> DiscreteSchedule:
    """β from beta_first to beta_last in equal increments (Ho et al. 2020, §4)."""
    _check_steps(steps)
    _check_numbers(beta_first=beta_first, beta_last=beta_last)
    config = {"kind": "linear", "steps": steps, "beta_first": beta_first, "beta_last": beta_last}
    return DiscreteSchedule(np.linspace(beta_first, beta_last, steps), config)


def cosine_schedule(steps: int = 1000, offset: float = 0.008, beta_limit: float = 0.999) -> DiscreteSchedule:
    """ᾱ_t = f(t)/f(0), f(t) = cos²((t/T + s)/(1 + s)·π/2), with β clipped (Nichol & Dhariwal 2021, eq. 17)."""
    _check_steps(steps)
    _check_numbers(offset=offset, beta_limit=beta_limit)
    if offset < 0:
        raise UserError(f"offset of a cosine schedule is at least 0, got {offset}")
    f = np.cos((np.arange(steps + 1) / steps + offset) / (1 + offset) * np.pi / 2) ** 2
    config = {"kind": "cosine", "steps": steps, "offset": offset, "beta_limit": beta_limit}
    return DiscreteSchedule(np.minimum(1 - f[1:] / f[:-1], beta_limit), config)


def _check_steps(steps: int) -> None:
    if type(steps) is not int or not 1 <= steps <= MOST_TIMES:
        raise UserError(f"steps of a schedule is a whole number from 1 to {MOST_TIMES}, got {steps!r}")


def _check_numbers(**values: Any) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < inf:
            raise UserError(f"{name} of a schedule is a finite number, got {value!r}")


def _something_left(log_alpha: float) -> None:
    """Raises UserError where α² is 0 in float64 at the schedule's end: every step from there would divide by it."""
    if log_alpha < LEAST_LOG_ALPHA:
        raise UserError(f"the schedule ends at α = exp({log_alpha:.4g}), which is 0 in float64")


_KINDS: dict[str, Callable[..., NoiseSchedule]] = {
    "linear": linear_schedule,
    "cosine": cosine_schedule,
    "vp": VPSchedule,
    "betas": lambda betas: DiscreteSchedule(betas),
}


def schedule_from_config(config: dict[str, Any]) -> NoiseSchedule:
    """The schedule described by `config`, whose `kind` is linear, cosine, vp or betas; the other keys are its
    arguments.
    """
    options = dict(config)
    kind = options.pop("kind", None)
    if not isinstance(kind, str) or kind not in _KINDS:
        raise unknown("schedule", kind, _KINDS)
    try:
        return _KINDS[kind](**options)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise UserError(f"schedule '{kind}': {one_line(error)}") from None
