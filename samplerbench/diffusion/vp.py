"""Paths of the variance-preserving family: discrete chains of β, the continuous ones, and sub-VP.

On a discrete chain time t = 1..T is the t of the DDPM paper, so ᾱ_0 = 1; the network's label is t - 1. Between the
integers log α is linear in t, as in DPM-Solver.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, pi
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import UserError
from .schedule import Array, NoiseSchedule, check_numbers

__all__ = [
    "CosineSchedule",
    "DiscreteSchedule",
    "SubVPSchedule",
    "VPSchedule",
    "cosine_schedule",
    "linear_schedule",
    "scaled_linear_schedule",
    "sigmoid_schedule",
]

MOST_TIMES = 10**6
LEAST_LOG_ALPHA = -300.0  # e^-600, the least α², is a normal number of float64


def _log_alpha_of(half_log_snr: ArrayLike) -> Array:
    """log α where λ is given: α² = 1/(1 + e^{-2λ})."""
    return -0.5 * np.logaddexp(0.0, -2.0 * np.asarray(half_log_snr, dtype=np.float64))


def _half_log_snr_of(log_alpha: Array) -> Array:
    """λ where log α is given; +inf at α = 1."""
    with np.errstate(divide="ignore"):
        return log_alpha - 0.5 * np.log(-np.expm1(2 * log_alpha))


class DiscreteSchedule(NoiseSchedule):
    """A chain of T betas (Ho et al. 2020, eq. 4).

    betas: [T], each in (0, 1); the last may be 1. zero_terminal_snr: √ᾱ is shifted and scaled so that the last is 0 and
    the first stays (Lin et al. 2024, Algorithm 1). With ᾱ_T = 0, α goes linearly to it from time T - 1.
    """

    name = "betas"
    discrete = True
    t_min = 1.0

    def __init__(self, betas: ArrayLike, zero_terminal_snr: bool = False) -> None:
        self.betas = np.array(betas, dtype=np.float64)
        if self.betas.ndim != 1 or len(self.betas) < 1 or not np.all((self.betas[:-1] > 0) & (self.betas[:-1] < 1)):
            raise UserError("betas must be a list of numbers in (0, 1)")
        if not 0 < self.betas[-1] <= 1:
            raise UserError("betas must be a list of numbers in (0, 1); the last may be 1")
        if len(self.betas) > MOST_TIMES:
            raise UserError(f"a discrete schedule has at most {MOST_TIMES} times, got {len(self.betas)}")
        if not isinstance(zero_terminal_snr, bool):
            raise UserError(f"zero_terminal_snr is true or false, got {zero_terminal_snr!r}")
        self.t_max = float(len(self.betas))
        with np.errstate(divide="ignore"):
            nodes = np.concatenate([[0.0], 0.5 * np.cumsum(np.log1p(-self.betas))])
            if zero_terminal_snr:
                if len(self.betas) < 2:
                    raise UserError("zero_terminal_snr needs at least two times")
                first, last = np.exp(nodes[1]), np.exp(nodes[-1])
                nodes[1:] = np.log((np.exp(nodes[1:]) - last) * (first / (first - last)))
        self._to_nothing = bool(nodes[-1] == -inf)
        if self._to_nothing and len(nodes) < 3:
            raise UserError("a chain of one time cannot end at α = 0")
        self._nodes = nodes[:-1] if self._to_nothing else nodes
        _something_left(float(self._nodes[-1]))
        self._times = np.arange(len(self._nodes), dtype=np.float64)
        for array in (self.betas, self._nodes, self._times):
            array.setflags(write=False)
        self._zero = {"zero_terminal_snr": True} if zero_terminal_snr else {}
        self._config: dict[str, Any] = {"kind": "betas", "betas": self.betas.tolist()}

    def log_alpha(self, t: ArrayLike) -> Array:
        """log α_t; 0 at t = 0, decreasing."""
        t = np.asarray(t, dtype=np.float64)
        value = np.interp(t, self._times, self._nodes)
        if not self._to_nothing:
            return value
        with np.errstate(divide="ignore"):
            return value + np.log(np.clip(self.t_max - t, 0.0, 1.0))

    def half_log_snr(self, t: ArrayLike) -> Array:
        return _half_log_snr_of(self.log_alpha(t))

    def time(self, half_log_snr: ArrayLike) -> Array:
        log_alpha = _log_alpha_of(half_log_snr)
        time = np.interp(-log_alpha, -self._nodes, self._times)
        if not self._to_nothing:
            return time
        return time + -np.expm1(np.minimum(log_alpha - self._nodes[-1], 0.0))

    def config(self) -> dict[str, Any]:
        return self._config | self._zero


def _chain(betas: Array, zero: bool, config: dict[str, Any]) -> DiscreteSchedule:
    """A chain that says in its config how its betas were made. No argument of `DiscreteSchedule`, where a file's own
    words could call a chain what it is not.
    """
    schedule = DiscreteSchedule(betas, zero)
    schedule._config = config
    return schedule


def linear_schedule(
    steps: int = 1000, beta_first: float = 1e-4, beta_last: float = 0.02, zero_terminal_snr: bool = False
) -> DiscreteSchedule:
    """β from beta_first to beta_last in equal increments (Ho et al. 2020, §4)."""
    return _between("linear", steps, beta_first, beta_last, zero_terminal_snr, 1.0)


def scaled_linear_schedule(
    steps: int = 1000, beta_first: float = 0.00085, beta_last: float = 0.012, zero_terminal_snr: bool = False
) -> DiscreteSchedule:
    """√β in equal increments (Rombach et al. 2022, latent diffusion)."""
    return _between("scaled-linear", steps, beta_first, beta_last, zero_terminal_snr, 0.5)


def _between(kind: str, steps: int, first: float, last: float, zero: bool, power: float) -> DiscreteSchedule:
    _check_steps(steps)
    check_numbers("a schedule", beta_first=first, beta_last=last)
    if min(first, last) <= 0:
        raise UserError("betas must be a list of numbers in (0, 1)")
    config = {"kind": kind, "steps": steps, "beta_first": first, "beta_last": last}
    betas = np.linspace(first, last, steps) if power == 1 else np.linspace(first**power, last**power, steps) ** 2
    return _chain(betas, zero, config)


def sigmoid_schedule(
    steps: int = 1000, beta_first: float = 1e-4, beta_last: float = 0.02, zero_terminal_snr: bool = False
) -> DiscreteSchedule:
    """β a sigmoid over [-6, 6] between beta_first and beta_last (Xu et al. 2022, GeoDiff)."""
    _check_steps(steps)
    check_numbers("a schedule", beta_first=beta_first, beta_last=beta_last)
    config = {"kind": "sigmoid", "steps": steps, "beta_first": beta_first, "beta_last": beta_last}
    share = 1 / (1 + np.exp(-np.linspace(-6, 6, steps)))
    return _chain(beta_first + (beta_last - beta_first) * share, zero_terminal_snr, config)


def cosine_schedule(
    steps: int = 1000, offset: float = 0.008, beta_limit: float = 0.999, zero_terminal_snr: bool = False
) -> DiscreteSchedule:
    """ᾱ_t = f(t)/f(0), f(t) = cos²((t/T + s)/(1 + s)·π/2), with β clipped (Nichol & Dhariwal 2021, eq. 17)."""
    _check_steps(steps)
    check_numbers("a schedule", offset=offset, beta_limit=beta_limit)
    if offset < 0:
        raise UserError(f"offset of a cosine schedule is at least 0, got {offset}")
    if not 0 < beta_limit < 1:
        raise UserError(f"beta_limit of a cosine schedule lies between 0 and 1, got {beta_limit}")
    f = np.cos((np.arange(steps + 1) / steps + offset) / (1 + offset) * pi / 2) ** 2
    config = {"kind": "cosine", "steps": steps, "offset": offset, "beta_limit": beta_limit}
    return _chain(np.minimum(1 - f[1:] / f[:-1], beta_limit), zero_terminal_snr, config)


@dataclass(frozen=True)
class VPSchedule(NoiseSchedule):
    """The continuous variance-preserving process with linear β(t), t in [0, 1] (Song et al. 2021, eq. 33):
    log α_t = -t²(β_1-β_0)/4 - t β_0/2.
    """

    name = "vp"
    t_max = 1.0

    beta_0: float = 0.1
    beta_1: float = 20.0
    t_min: float = 1e-3

    def __post_init__(self) -> None:
        check_numbers("a schedule", beta_0=self.beta_0, beta_1=self.beta_1, t_min=self.t_min)
        if not (0 <= self.beta_0 <= self.beta_1 and self.beta_1 > 0 and 0 < self.t_min < 1):
            raise UserError(
                "a VP schedule needs 0 <= beta_0 <= beta_1 and 0 < t_min < 1, "
                f"got {self.beta_0}, {self.beta_1}, {self.t_min}"
            )
        _something_left(-0.25 * (self.beta_1 - self.beta_0) - 0.5 * self.beta_0)

    def log_alpha(self, t: ArrayLike) -> Array:
        """log of the factor of x_0; 0 at t = 0, decreasing."""
        t = np.asarray(t, dtype=np.float64)
        return -0.25 * t**2 * (self.beta_1 - self.beta_0) - 0.5 * t * self.beta_0

    def half_log_snr(self, t: ArrayLike) -> Array:
        return _half_log_snr_of(self.log_alpha(t))

    def time(self, half_log_snr: ArrayLike) -> Array:
        return self._time_of(_log_alpha_of(half_log_snr))

    def _time_of(self, log_alpha: Array) -> Array:
        twice = -2.0 * log_alpha
        return 2 * twice / (np.sqrt(self.beta_0**2 + 2 * (self.beta_1 - self.beta_0) * twice) + self.beta_0)


@dataclass(frozen=True)
class SubVPSchedule(VPSchedule):
    """The sub-VP process: α_t of the VP process with σ_t = 1 - α_t² (Song et al. 2021, eq. 29)."""

    name = "sub-vp"

    def half_log_snr(self, t: ArrayLike) -> Array:
        log_alpha = self.log_alpha(t)
        with np.errstate(divide="ignore"):
            return log_alpha - np.log(-np.expm1(2 * log_alpha))

    def time(self, half_log_snr: ArrayLike) -> Array:
        inverse = np.exp(-np.asarray(half_log_snr, dtype=np.float64))  # of α/(1 - α²)
        return self._time_of(-np.log((inverse + np.sqrt(inverse**2 + 4)) / 2))

    def scale(self, t: ArrayLike) -> Array:
        log_alpha = self.log_alpha(t)
        return np.hypot(np.exp(log_alpha), -np.expm1(2 * log_alpha))


@dataclass(frozen=True)
class CosineSchedule(NoiseSchedule):
    """The continuous cosine process: α_t = cos((t + s)/(1 + s)·π/2) / cos(s/(1 + s)·π/2) (Nichol & Dhariwal 2021, eq.
    17). It is 0 at t = 1; DPM-Solver's code starts at 0.9946.
    """

    name = "cosine-continuous"

    offset: float = 0.008
    t_max: float = 0.9946
    t_min: float = 1e-3

    def __post_init__(self) -> None:
        check_numbers("a schedule", offset=self.offset, t_max=self.t_max, t_min=self.t_min)
        if not (self.offset >= 0 and 0 < self.t_min < self.t_max <= 1):
            raise UserError(
                "a cosine schedule needs offset >= 0 and 0 < t_min < t_max <= 1, "
                f"got {self.offset}, {self.t_min}, {self.t_max}"
            )

    def half_log_snr(self, t: ArrayLike) -> Array:
        t = np.asarray(t, dtype=np.float64)
        with np.errstate(divide="ignore"):
            log_alpha = np.log(np.cos((t + self.offset) / (1 + self.offset) * pi / 2) / self._first)
        return np.where(t >= 1, -inf, _half_log_snr_of(np.minimum(log_alpha, 0.0)))

    def time(self, half_log_snr: ArrayLike) -> Array:
        angle = np.arccos(np.exp(_log_alpha_of(half_log_snr)) * self._first)
        return np.asarray(angle * (1 + self.offset) / (pi / 2) - self.offset)

    @property
    def _first(self) -> float:
        return float(np.cos(self.offset / (1 + self.offset) * pi / 2))


def _check_steps(steps: int) -> None:
    if type(steps) is not int or not 1 <= steps <= MOST_TIMES:
        raise UserError(f"steps of a schedule is a whole number from 1 to {MOST_TIMES}, got {steps!r}")


def _something_left(log_alpha: float) -> None:
    """Raises UserError where α² is 0 in float64 at the schedule's end: every step from there would divide by it."""
    if log_alpha < LEAST_LOG_ALPHA:
        raise UserError(f"the schedule ends at α = exp({log_alpha:.4g}), which is 0 in float64")
