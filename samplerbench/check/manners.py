"""How a sampler behaves: noise, shapes, gradients, batches, precision, NaN."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..diffusion.denoiser import Time
from ..diffusion.noise import NoiseSource
from ..diffusion.schedule import NoiseSchedule
from ..drawing import BadSample
from ..errors import BudgetExceeded
from ..sampler import Sampler
from ..settings import GENERATORS, changed, states
from .finding import Failed
from .mixture import GaussianMixture
from .rig import noise_of, run, some_grid

__all__ = ["batch", "gradients", "images", "nan", "noise", "precision", "repeatable"]

ROUNDING, EQUAL = 1e-5, 1e-6
"""Tolerances: of float32; of two ways to compute the same."""


def noise(sampler: Sampler, path: NoiseSchedule) -> str:
    """Where it claims to be stochastic other noise gives another result; where it does not, the same."""
    truth, grid, x = GaussianMixture(path), some_grid(sampler, path), noise_of(6).x_T()
    one, other = (run(sampler, truth, grid, noise_of(6, seed=seed), x.clone()).x0 for seed in (1, 2))
    change = float((one - other).abs().max())
    if sampler.stochastic and not change > EQUAL:
        raise Failed(f"it claims to be stochastic; other noise changes its result by {change:.1e}, not above {EQUAL:g}")
    if not sampler.stochastic and change > 0:
        raise Failed(
            f"it claims to be deterministic, and other noise changes its result by {change:.1e}; the property "
            "`stochastic` of a sampler that draws noise returns True"
        )
    return f"other noise changes its result by {change:.1e}" if change else "other noise changes nothing"


def images(sampler: Sampler, path: NoiseSchedule) -> str:
    """Images of one to three channels, square and not: each number becomes what it becomes in a row of numbers."""
    truth, grid, shapes = GaussianMixture(path), some_grid(sampler, path), ((1, 6, 10), (3, 8, 4), (2, 5, 5))
    for shape in shapes:
        images = run(sampler, truth, grid, noise_of(2, shape)).x0
        row = run(sampler, truth, grid, noise_of(2, (math.prod(shape),))).x0
        difference = float((images.flatten(1) - row).abs().max())
        if not difference <= EQUAL:
            raise Failed(f"images {list(shape)} differ by {difference:.1e} from the same numbers in a row ({EQUAL:g})")
    return f"{' and '.join(str([2, *shape]) for shape in shapes)} are the same numbers as in a row, within {EQUAL:g}"


def gradients(sampler: Sampler, path: NoiseSchedule) -> str:
    """It runs where gradients are switched off, and what it returns has none."""
    calls: list[bool] = []

    class Watched(GaussianMixture):
        def exact(self, x: Tensor, t: Time) -> Tensor:
            calls.append(torch.is_grad_enabled() and x.requires_grad)
            return super().exact(x, t)

    noise = noise_of(2)
    x = noise.x_T()
    run(sampler, Watched(path), some_grid(sampler, path), noise, x)
    if x.requires_grad or x.grad is not None:
        raise Failed("it had gradients taken of the x_T it was given; x.detach().requires_grad_() is its own")
    return f"it takes gradients of ε, in {sum(calls)} of {len(calls)} evaluations" if any(calls) else "it needs none"


def batch(sampler: Sampler, path: NoiseSchedule) -> str:
    """A sample alone is the same sample in a batch, bit for bit."""
    truth, grid = GaussianMixture(path), some_grid(sampler, path)
    whole = run(sampler, truth, grid, noise_of(6)).x0
    alone = run(sampler, truth, grid, NoiseSource(1, [4], (4,), dtype=torch.float64)).x0
    difference = float((alone - whole[4:5]).abs().max())
    if difference > 0:
        raise Failed(f"sample 4 of 6 differs by {difference:.1e} from itself alone")
    return "a sample of six is itself alone"


def repeatable(sampler: Sampler, path: NoiseSchedule) -> str:
    """Two runs are identical, no global random state is touched, and x_T is not modified."""
    truth, grid, noise = GaussianMixture(path), some_grid(sampler, path), noise_of(6)
    x = noise.x_T()
    before, generators = x.clone(), states(GENERATORS)
    first = run(sampler, truth, grid, noise, x).x0
    if not torch.equal(x, before):
        raise Failed("it changed x_T in place; x = factor * x makes a new tensor, x *= factor does not")
    for library in changed(GENERATORS, generators):
        raise Failed(f"it drew from the global generator of {library}; noise(i) is what it is given")
    if not torch.equal(run(sampler, truth, grid, noise, x).x0, first):
        raise Failed("two runs differ")
    return "two runs agree; x_T and global random states are as they were"


def precision(sampler: Sampler, path: NoiseSchedule) -> str:
    """In float32 it is what it is in float64, but for rounding: that of ε alone, tenfold, where that is much. Some
    methods are unstable in a dozen steps from near λ = -∞, which is no fault of their arithmetic.
    """

    class Rounded(GaussianMixture):
        def exact(self, x: Tensor, t: Time) -> Tensor:
            return super().exact(x, t).float().to(x.dtype)

    truth, grid = GaussianMixture(path), some_grid(sampler, path)
    double = run(sampler, truth, grid, noise_of(50)).x0
    rounded = run(sampler, Rounded(path), grid, noise_of(50)).x0
    allowed = max(ROUNDING, 10 * float((rounded - double).abs().median()))
    single = run(sampler, truth, grid, noise_of(50, dtype=torch.float32)).x0
    difference = float((single - double).abs().median())
    if not difference < allowed:
        raise Failed(f"median difference {difference:.1e} between float32 and float64, expected below {allowed:.2g}")
    return f"float32 differs from float64 by {difference:.1e} (median), below {allowed:.2g}"


def nan(sampler: Sampler, path: NoiseSchedule) -> str:
    """A NaN from the network ends the run and is not hidden."""
    calls = 0

    class Failing(GaussianMixture):
        def exact(self, x: Tensor, t: Time) -> Tensor:
            nonlocal calls
            calls += 1
            return x * float("nan") if calls > 1 else x * 0.5

    try:
        run(sampler, Failing(path), some_grid(sampler, path), noise_of(2), budget=3000)
    except BadSample:
        return f"reported after {calls} evaluations"
    except BudgetExceeded:
        raise Failed(f"still going after {calls} evaluations") from None
    raise Failed("the network gave NaN, and the samples do not show it")
