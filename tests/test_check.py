"""`samplerbench check` finds what it is there to find: for each check, a sampler that breaks that promise alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from samplerbench import Sampler
from samplerbench.check.checks import CHECKS, check_sampler


@dataclass(frozen=True, kw_only=True)
class Euler(Sampler):
    """DDIM with faults, one at a time."""

    name = "euler"
    final: str = "none"
    fault: str = ""
    seen: ClassVar[list[float]] = []

    @property
    def stochastic(self):
        return self.fault == "moments"

    @property
    def global_order(self):
        return 2 if self.fault == "order" else 1

    def evaluations(self, steps):
        return steps - 1 if self.fault == "evaluations" and steps > 10 else steps

    def steps(self, nfe):
        return nfe + 1 if self.fault == "budget" and nfe > 30 else nfe

    def sample(self, eps, grid, x, noise):
        if self.fault == "in place":
            x *= 1
            x[0] += 1
        if self.fault == "spacings" and not grid.schedule.discrete:
            raise RuntimeError("only for integer times")
        for i in range(grid.steps):
            ratio = grid.alpha[i + 1] / grid.alpha[i]
            e = eps(x, grid.times[i])
            if self.fault == "batch":
                e = e - 1e-3 * e.mean()
            if self.fault == "torch":
                torch.randn(1)
            if self.fault == "numpy":
                np.random.rand()
            if self.fault == "nan":
                e = e.nan_to_num()
            if self.fault == "precision":
                e = e.bfloat16().to(x.dtype) if x.dtype == torch.float32 else e
            x = ratio * x + (grid.sigma[i + 1] - ratio * grid.sigma[i]) * e
            if self.fault == "moments":
                x = x + 0.01 * noise(i)
        if self.fault == "repeatable":
            self.seen.append(0.0)
            x = x + len(self.seen)
        return x


def failures(sampler):
    return {f.check: f.text for f in check_sampler(sampler) if f.verdict == "failed"}


def test_a_good_sampler_passes():
    assert failures(Euler()) == {}
    assert {f.check for f in check_sampler(Euler())} == set(CHECKS)


@pytest.mark.parametrize(
    ("fault", "check", "text"),
    [
        ("evaluations", "evaluations", "11 steps took 11 evaluations, declared 10"),
        ("budget", "budget", "on a budget of 31: asked for evaluation 32"),
        ("order", "order", "measured 1.00, declared 2"),
        ("moments", "moments", "variance"),
        ("batch", "batch", "sample 4 of 6 differs by"),
        ("repeatable", "repeatable", "two runs differ"),
        ("in place", "repeatable", "it changed x_T in place"),
        ("torch", "repeatable", "drew from the global generator of torch"),
        ("numpy", "repeatable", "drew from the global generator of numpy"),
        ("precision", "precision", "median difference"),
        ("nan", "nan", "the samples do not show it"),
        ("spacings", "spacings", "uniform on vp: RuntimeError: only for integer times"),
    ],
)
def test_each_broken_promise_is_found(fault, check, text):
    found = failures(Euler(fault=fault))
    assert text in found.get(check, "nothing")


def test_a_sampler_that_raises_fails_with_its_traceback():
    @dataclass(frozen=True, kw_only=True)
    class Broken(Euler):
        def sample(self, eps, grid, x, noise):
            if len(grid.times) > 15:
                raise ValueError("inner trouble")
            return super().sample(eps, grid, x, noise)

    finding = next(f for f in check_sampler(Broken()) if f.check == "evaluations")
    assert finding.verdict == "failed"
    assert finding.text == "ValueError: inner trouble"
    assert "Traceback" in finding.details


def test_endless_loops_on_nan_are_cut_off():
    @dataclass(frozen=True, kw_only=True)
    class Endless(Euler):
        def sample(self, eps, grid, x, noise):
            for t in grid.times[:-1]:
                while eps(x, t).isnan().any():
                    pass
            return x

    assert "still going after" in failures(Endless())["nan"]
