"""DEIS: diffusion exponential integrator samplers (Zhang & Chen 2023).

In v = x/α and ρ = σ/α the probability-flow ODE is dv/dρ = ε, so that only ε has to be approximated between the grid's
times. The AB variants extrapolate the noises of the last steps by a polynomial and integrate it; they take one
evaluation a step and start with lower orders. The RK variants are explicit Runge-Kutta methods in ρ, with an evaluation
a stage. All are deterministic. A last step to time 0 (`final=zero`) is of first order. Order 0 is DDIM.

The papers' code sums the integrals by a left Riemann rule, wrong in the fourth digit; here they are Gauss-Legendre sums
in log ρ, broken where the schedule is (a discrete one has a kink at every integer time), good to about 1e-13.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import exp, log
from typing import TYPE_CHECKING, Literal

import numpy as np

from samplerbench import Sampler, UserError, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from samplerbench import Denoiser, NoiseSource, TimeGrid

# stages as (fraction c of the step, weights a of the earlier stages), and the weights b
TABLEAUS: dict[str, tuple[list[tuple[float, list[float]]], list[float]]] = {
    "rho-heun": ([(0, []), (1, [1])], [1 / 2, 1 / 2]),
    "rho-kutta3": ([(0, []), (1 / 2, [1 / 2]), (1, [-1, 2])], [1 / 6, 4 / 6, 1 / 6]),
    "rho-rk4": ([(0, []), (1 / 2, [1 / 2]), (1 / 2, [0, 1 / 2]), (1, [0, 0, 1])], [1 / 6, 2 / 6, 2 / 6, 1 / 6]),
}


@dataclass(frozen=True, kw_only=True)
class DEIS(Sampler):
    """variant: `tab` extrapolates in time (the paper's best), `rhoab` in ρ, `logrhoab` in log ρ; `rho-heun`,
    `rho-kutta3` and `rho-rk4` are Runge-Kutta in ρ. order: degree of the extrapolation, 0 to 3; goes with the AB
    variants.
    """

    name = "deis"
    paper = "Zhang & Chen 2023, arXiv:2204.13902, eq. 14 to 16"

    variant: Literal["tab", "rhoab", "logrhoab", "rho-heun", "rho-kutta3", "rho-rk4"] = "tab"
    order: int | None = None
    spacing: str = "time-quadratic"
    final: str = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variant in TABLEAUS:
            if self.order is not None:
                raise UserError(f"deis:order goes with tab, rhoab and logrhoab; variant={self.variant} has its own")
        elif self.order not in (None, 0, 1, 2, 3):
            raise UserError(f"deis:order is 0, 1, 2 or 3, got {self.order}")

    @property
    def degree(self) -> int:
        return 3 if self.order is None else self.order

    @property
    def global_order(self) -> float:
        if self.degree == 3 and self.variant not in TABLEAUS:  # below 4: the first step is of order 1, the second of 2
            return {"tab": 3.3, "rhoab": 3.7, "logrhoab": 3.5}[self.variant]
        return {"rho-heun": 2, "rho-kutta3": 3, "rho-rk4": 4}.get(self.variant, self.degree + 1)

    def evaluations(self, steps: int) -> int:
        if self.variant not in TABLEAUS:
            return steps
        stages = len(TABLEAUS[self.variant][1])
        return stages * (steps - 1) + 1 if self.final == "zero" else stages * steps

    def sample(self, eps: Denoiser, grid: TimeGrid, x: Tensor, noise: NoiseSource) -> Tensor:
        step = self._runge_kutta if self.variant in TABLEAUS else self._adams_bashforth
        v, history = x / grid.alpha[0], []  # type: ignore[var-annotated]
        for i in range(grid.steps):
            first = eps(grid.alpha[i] * v, grid.times[i])
            history = [first, *history[: self.degree]]
            if grid.times[i + 1] == 0:
                return v - grid.sigma[i] / grid.alpha[i] * first
            v = step(eps, grid, i, v, history)
        return grid.alpha[-1] * v

    def _adams_bashforth(self, eps: Denoiser, grid: TimeGrid, i: int, v: Tensor, history: list[Tensor]) -> Tensor:
        for weight, past in zip(coefficients(grid, self.variant, self.degree)[i], history, strict=True):
            v = v + weight * past
        return v

    def _runge_kutta(self, eps: Denoiser, grid: TimeGrid, i: int, v: Tensor, history: list[Tensor]) -> Tensor:
        stages, weights = TABLEAUS[self.variant]
        rho, rho_next = grid.sigma[i] / grid.alpha[i], grid.sigma[i + 1] / grid.alpha[i + 1]
        h, slopes = rho_next - rho, [history[0]]
        for c, row in stages[1:]:
            t = grid.times[i + 1] if c == 1 else float(grid.schedule.time(-log(rho + c * h)))
            ahead = v
            for a, slope in zip(row, slopes, strict=True):
                if a:
                    ahead = ahead + (a * h) * slope
            slopes.append(eps(float(grid.schedule.alpha(t)) * ahead, t))
        for b, slope in zip(weights, slopes, strict=True):
            v = v + (b * h) * slope
        return v


@lru_cache(maxsize=64)
def coefficients(grid: TimeGrid, variant: str, degree: int) -> list[list[float]]:
    """The weights C_ij of eq. 15 in ρ: for each step, those of the newest noise and of the ones before it.

    C_ij = ∫ L_j dρ from ρ_i to ρ_{i+1}, L_j the Lagrange polynomials over the times (or ρ, or log ρ) of the noises.
    """
    log_rho = [-value for value in grid.half_log_snr]
    variable = {"tab": list(grid.times), "rhoab": [exp(u) for u in log_rho], "logrhoab": log_rho}[variant]
    nodes, weights = np.polynomial.legendre.leggauss(32)
    table = []
    for i in range(grid.steps):
        if grid.times[i + 1] == 0:
            break
        known = [variable[i - j] for j in range(min(i, degree) + 1)]
        breaks = [log_rho[i], *_kinks(grid, i, variant), log_rho[i + 1]]
        left, right = np.array(breaks[:-1])[:, None], np.array(breaks[1:])[:, None]
        u = (left + right) / 2 + (right - left) / 2 * nodes
        rho = np.exp(u)
        measure = weights * (right - left) / 2 * rho  # dρ = ρ dlogρ
        z = {"tab": lambda u=u: grid.schedule.time(-u), "rhoab": lambda rho=rho: rho, "logrhoab": lambda u=u: u}[
            variant
        ]()
        row = []
        for j, own in enumerate(known):
            others = [other for k, other in enumerate(known) if k != j]
            basis = np.ones_like(z)
            for other in others:
                basis = basis * (z - other) / (own - other)
            row.append(float((measure * basis).sum()))
        table.append(row)
    return table


def _kinks(grid: TimeGrid, i: int, variant: str) -> list[float]:
    """log ρ at the integer times inside step i, where the time of a discrete schedule has kinks as a function of ρ."""
    if variant != "tab" or not grid.schedule.discrete:
        return []
    inside = np.arange(np.ceil(grid.times[i]) - 1, np.floor(grid.times[i + 1]), -1)
    return [float(-value) for value in grid.schedule.half_log_snr(inside)] if len(inside) else []


@hookimpl
def samplerbench_samplers(register):
    register(DEIS)
