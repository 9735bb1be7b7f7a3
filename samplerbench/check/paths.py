"""Whether a sampler is right on every path: the same x_0 from the same λ, and a start where no data is left.

A sampler may read more of a grid than α, σ and λ: the time itself (a polynomial in t), or the path's own scale. Then
its steps differ between paths, as they must. Two paths tell, each of which is VP but for one of the two: the clock runs
otherwise on one, the scale is another on the other. Such a sampler is exempt from equality, and its order on each path is measured.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..diffusion.denoiser import Time
from ..diffusion.grid import TimeGrid
from ..diffusion.schedule import Array, NoiseSchedule
from ..diffusion.spacing import SPACINGS, explicit_times
from ..diffusion.vp import VPSchedule
from ..errors import UserError, one_line
from ..sampler import Sampler
from ..sampling import plan_grid
from . import claims
from .finding import Failed, Inapplicable
from .kinds import FAMILIES
from .mixture import GaussianMixture
from .rig import noise_of, run

__all__ = ["paths", "spacings", "starts"]

SAME = 1e-10
FIRST, LAST = -3.8, 4.5  # λ that all families reach
NEAR, SMALL = -18.0, 2e-3  # a start so near to λ = -∞ gives the same x_0, but for this


class _OtherClock(VPSchedule):
    """VP at the square of the time."""

    def half_log_snr(self, t: ArrayLike) -> Array:
        return super().half_log_snr(np.square(np.asarray(t, dtype=np.float64)))

    def time(self, half_log_snr: ArrayLike) -> Array:
        return np.sqrt(super().time(half_log_snr))


class _OtherScale(VPSchedule):
    """VP in coordinates that grow with the time."""

    def scale(self, t: ArrayLike) -> Array:
        return 1.0 + np.asarray(t, dtype=np.float64)


def paths(sampler: Sampler, *others: NoiseSchedule) -> str:
    """The same λ's and the same exact data give the same x_0 on a path of each family; starts at λ = -∞ are right."""
    chosen: Mapping[str, NoiseSchedule] = {path.kind: path for path in others} if others else FAMILIES
    told = [f"{name}: {why}" for name, path in chosen.items() if (why := unsuitable(sampler, path))]
    suited = {name: path for name, path in chosen.items() if not unsuitable(sampler, path)}
    if not suited:
        raise Inapplicable("; ".join(told))
    plain = _on_one_grid(sampler, VPSchedule()) if not unsuitable(sampler, VPSchedule()) else None
    reads = [
        (what, change)
        for what, path in (("the time itself", _OtherClock()), ("the path's own scale", _OtherScale()))
        if plain is not None and (change := _gap(plain, _on_one_grid(sampler, path))) > SAME
    ]
    if reads:
        what, change = reads[0]
        told.append(f"it reads {what} (which changes its x_0 by {change:.1g}), so its x_0 differs between paths")
        check = claims.moments if sampler.stochastic else claims.order
        for name, path in suited.items():
            try:
                told.append(f"{name}: {check(sampler, path)}")
            except Inapplicable as reason:
                told.append(f"{name}: {reason}")
            except Failed as reason:
                raise Failed(f"{name}: {reason}") from None
    else:
        results = {name: _on_one_grid(sampler, path) for name, path in suited.items()}
        first, *rest = results
        gaps = {name: _gap(results[first], results[name]) for name in rest}
        for name, gap in gaps.items():
            if not gap <= SAME:
                raise Failed(f"on the same λ x_0 differs by {gap:.1e} between {first} and {name} (at most {SAME:g})")
        if gaps:
            told.insert(0, f"x_0 on {', '.join(results)} differs by {max(gaps.values()):.0e} at most, on the same λ")
    for name, path in suited.items():
        if path.reaches_pure_noise:
            told.append(f"{name}: {starts(sampler, path)}")
    return "; ".join(told)


def unsuitable(sampler: Sampler, path: NoiseSchedule) -> str:
    """Why it cannot run on this path; empty where it can."""
    return sampler.unsuitable(path, GaussianMixture(path))


def _on_one_grid(sampler: Sampler, path: NoiseSchedule) -> Tensor:
    """x_0 of five samples, from λ's that do not depend on the path, in variance-preserving coordinates."""
    steps = 1 if sampler.adaptive else max(12, sampler.fewest_steps)
    times = [float(t) for t in path.time(np.linspace(FIRST, LAST, steps + 1))]
    grid = TimeGrid(path, (*times, 0.0) if sampler.final == "zero" and not sampler.adaptive else tuple(times))
    noise = noise_of(5, (6,), seed=3)
    x = noise.x_T() / path.prior(grid.times[0])
    return run(sampler, GaussianMixture(path), grid, noise, x).x0 / grid.scale[-1]


def _gap(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


def starts(sampler: Sampler, path: NoiseSchedule) -> str:
    """Where nothing is left of the data at the start: x_0 is finite, and the limit of starts ever nearer to there."""
    if not path.reaches_pure_noise:
        raise Inapplicable("something of the data is left at its start")
    listed = explicit_times(sampler.spacing)
    if listed is not None:
        raise Inapplicable("its times are listed")
    noise, steps = noise_of(50, seed=3), max(13, sampler.fewest_steps)
    grid = plan_grid(sampler, path, steps=steps)
    run(sampler, GaussianMixture(path), grid, noise)  # which looks for NaN
    if not sampler.starts_at_pure_noise:
        return f"it starts at time {grid.times[0]:g}, α = {grid.alpha[0]:.2g}"
    times = (*(float(t) for t in path.time(np.linspace(-4, 4, steps))), 0.0)
    near = path.time(NEAR)
    at, by = (
        run(sampler, GaussianMixture(path), TimeGrid(path, (float(start), *times)), noise).x0
        for start in (path.t_max, near)
    )
    gap = _gap(at, by)
    if not gap <= SMALL:
        raise Failed(f"starting at λ = -∞ it is {gap:.1e} from where it is from λ = {NEAR:g} (at most {SMALL:g})")
    return f"starts at λ = -∞, {gap:.0e} from a start at λ = {NEAR:g}"


def spacings(sampler: Sampler, *on: NoiseSchedule) -> str:
    """It runs on every spacing, on every path given, at the times that the spacing gives."""
    if explicit_times(sampler.spacing):
        raise Inapplicable("its times are listed")
    visited: list[float] = []

    class Watched(GaussianMixture):
        def exact(self, x: Tensor, t: Time) -> Tensor:
            visited.append(float(torch.as_tensor(t).max()))
            return super().exact(x, t)

    seen: dict[tuple[float, ...], TimeGrid] = {}
    for path in on:
        for spacing in SPACINGS:
            steps = max(12, sampler.fewest_steps)
            try:
                grid = plan_grid(sampler, path, steps=steps)
                if not sampler.adaptive:
                    start = path.first_time(sampler.starts_at_pure_noise)
                    grid = TimeGrid.make(path, steps, spacing, sampler.final, start=start)
                visited.clear()
                run(sampler, Watched(path), grid, noise_of(2))
            except (UserError, RuntimeError) as error:
                raise Failed(f"{spacing} on {path.kind}: {one_line(error)}") from error
            other = seen.setdefault(tuple(visited), grid)
            if other.times != grid.times:
                raise Inapplicable("its times are its own: two spacings gave the same")
            if sampler.adaptive:
                break
    where = "discrete and continuous" if {p.discrete for p in on} == {True, False} else on[0].kind
    return f"its own times, {where}" if sampler.adaptive else f"{', '.join(SPACINGS)}, {where}"
