"""Whether a sampler is right on every path: the same x_0 from the same λ, and a start where no data is left.

A sampler that reads more of a grid than α, σ and λ (`reads`) is exempt from equality, and its order on each path is
measured.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ..diffusion.denoiser import Time
from ..diffusion.grid import TimeGrid
from ..diffusion.schedule import NoiseSchedule
from ..diffusion.spacing import SPACINGS
from ..errors import UserError, one_line
from ..sampler import Sampler
from ..sampling import fixed_steps, plan_grid
from . import claims
from .finding import Failed, Inapplicable
from .kinds import FAMILIES
from .mixture import GaussianMixture
from .reads import SAME, gap, on_one_grid, reads, unsuitable
from .rig import noise_of, run

__all__ = ["paths", "spacings", "starts"]

NEAR, SMALL = -11.0, 2e-3
"""A start at this λ, α = 2e-5, gives what one at -∞ does, but for so much. It is no nearer because `unipc`'s corrector
with B(h) = h has no limit: in the first step alone it grows with h, and is left out at -∞.
"""


def paths(sampler: Sampler, *others: NoiseSchedule) -> str:
    """The same λ's and the same exact data give the same x_0 on a path of each family; starts at λ = -∞ are right."""
    chosen: Mapping[str, NoiseSchedule] = {path.config()["kind"]: path for path in others} if others else FAMILIES
    told = [f"{name}: {why}" for name, path in chosen.items() if (why := unsuitable(sampler, path))]
    suited = {name: path for name, path in chosen.items() if not unsuitable(sampler, path)}
    if not suited:
        raise Inapplicable("; ".join(told))
    if (read := reads(sampler)) is not None:
        what, change = read
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
        results = {name: on_one_grid(sampler, path) for name, path in suited.items()}
        first, *rest = results
        gaps = {name: gap(results[first], results[name]) for name in rest}
        for name, size in gaps.items():
            if not size <= SAME:
                raise Failed(f"on the same λ x_0 differs by {size:.1e} between {first} and {name} (at most {SAME:g})")
        if gaps:
            told.insert(0, f"x_0 on {', '.join(results)} differs by {max(gaps.values()):.0e} at most, on the same λ")
    for name, path in suited.items():
        if path.reaches_pure_noise:
            told.append(f"{name}: {starts(sampler, path)}")
    return "; ".join(told)


def starts(sampler: Sampler, path: NoiseSchedule) -> str:
    """Where nothing is left of the data at the start: x_0 is finite, and the limit of starts ever nearer to there."""
    if not path.reaches_pure_noise:
        raise Inapplicable("something of the data is left at its start")
    if fixed_steps(sampler):
        raise Inapplicable("its times are listed")
    noise, steps = noise_of(50, seed=3), max(13, sampler.fewest_steps)
    grid = plan_grid(sampler, path, steps=steps)
    run(sampler, GaussianMixture(path), grid, noise)  # which looks for NaN
    if not sampler.starts_at_pure_noise:
        return f"it starts at time {grid.times[0]:g}, α = {grid.alpha[0]:.2g}"
    times = (*(float(t) for t in path.time(np.linspace(-4, 4, steps))), 0.0)
    at, near = (
        run(sampler, GaussianMixture(path), TimeGrid(path, (float(start), *times)), noise).x0
        for start in (path.t_max, path.time(NEAR))
    )
    off = gap(at, near)
    if not off <= SMALL:
        raise Failed(f"starting at λ = -∞ it is {off:.1e} from where it is from λ = {NEAR:g} (at most {SMALL:g})")
    return f"starts at λ = -∞, {off:.0e} from a start at λ = {NEAR:g}"


def spacings(sampler: Sampler, *on: NoiseSchedule) -> str:
    """It runs on every spacing, on every path given, at the times that the spacing gives."""
    if fixed_steps(sampler):
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
                raise Failed(f"{spacing} on {path.config()['kind']}: {one_line(error)}") from error
            other = seen.setdefault(tuple(visited), grid)
            if len(other.times) != len(grid.times) or not np.allclose(other.times, grid.times, rtol=1e-5):
                raise Inapplicable("its times are its own: two spacings gave the same")
            if sampler.adaptive:
                break
    where = "discrete and continuous" if {p.discrete for p in on} == {True, False} else on[0].config()["kind"]
    return f"its own times, {where}" if sampler.adaptive else f"{', '.join(SPACINGS)}, {where}"
