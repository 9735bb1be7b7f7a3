"""`samplerbench check` finds what it is there to find: for each check, a sampler that breaks that promise alone."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from samplerbench import Sampler, linear_schedule
from samplerbench.check.checks import CHECKS, check_sampler
from samplerbench.check.mixture import GaussianMixture
from samplerbench.diffusion.grid import TimeGrid
from samplerbench.report.terminal.findings import print_findings


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
            if self.fault == "default dtype":
                torch.set_default_dtype(torch.float64)
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


EARLIER = []
TRUTH = GaussianMixture(linear_schedule())


def closures(function, found=None):
    """Whatever a function holds on to, and what that holds on to."""
    found = {} if found is None else found
    for cell in getattr(function, "__closure__", None) or ():
        inner = cell.cell_contents
        if id(inner) not in found:
            found[id(inner)] = inner
            closures(inner, found)
    return list(found.values())


def by_attribute(eps, x, t):
    return eps._epsilon(x, t)


def without_a_budget(eps, x, t):
    eps.budget = None
    eps._rows = 0
    return eps(x, t)


def by_closures(eps, x, t):
    (hidden,) = [value for value in closures(eps._ask) if isinstance(value, GaussianMixture)]
    return hidden(x, t)


def with_counts_put_back(eps, x, t):
    out = eps(x, t)
    for counts in closures(eps._ask):
        if isinstance(counts, dict):
            counts.update(dict.fromkeys(counts, 0))
    return out


def by_an_earlier_denoiser(eps, x, t):
    EARLIER.append(eps)
    return EARLIER[0](x, t)


def by_a_captured_truth(eps, x, t):
    return TRUTH(x, t)


LIES = [by_attribute, without_a_budget, by_closures, with_counts_put_back, by_an_earlier_denoiser, by_a_captured_truth]


@pytest.mark.parametrize("ask", LIES, ids=lambda ask: ask.__name__)
def test_liars_about_evaluations_fail(ask):
    """Each asks twice a step, once where it hopes not to be counted."""
    EARLIER.clear()

    @dataclass(frozen=True, kw_only=True)
    class Liar(Euler):
        def sample(self, eps, grid, x, noise):
            hidden = Hidden(eps, lambda y, t: eps(y, t) + 0 * ask(eps, y, t))
            return super().sample(hidden, grid, x, noise)

    found = failures(Liar())
    assert {"evaluations", "budget", "order", "spacings"} <= found.keys()


class Hidden:
    def __init__(self, eps, ask):
        self.eps, self.ask = eps, ask

    def __call__(self, x, t):
        return self.ask(x, t)


def with_a_change(change):
    """Euler whose result is changed in some way."""

    @dataclass(frozen=True, kw_only=True)
    class Changed(Euler):
        def sample(self, eps, grid, x, noise):
            return change(super().sample(eps, grid, x, noise), noise)

    return Changed()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda x, noise: x.flatten(1).T, r"returned shape"),
        (lambda x, noise: x[:1], "returned shape"),
        (lambda x, noise: x.float() if x.dtype == torch.float64 else x.double(), "returned torch.float32"),
        (lambda x, noise: x.to("meta"), "returned a tensor on meta"),
        (lambda x, noise: x.clone().requires_grad_(), "requires a gradient"),
        (lambda x, noise: x.numpy(), "returned ndarray, expected a tensor"),
        (lambda x, noise: None, "returned NoneType, expected a tensor"),
    ],
)
def test_what_is_no_batch_of_samples_fails_everywhere(change, text):
    found = failures(with_a_change(change))
    assert {"evaluations", "images", "batch", "gradients"} <= found.keys()
    assert all(text in found[name] for name in ("evaluations", "images"))


def test_a_deterministic_sampler_that_draws_is_found():
    found = failures(with_a_change(lambda x, noise: x + 1e-9 * noise(0)))
    assert "it claims to be deterministic, and other noise changes its result by" in found["noise"]
    assert "the property `stochastic`" in found["noise"]


@pytest.mark.parametrize("size", [0.0, 1e-9])
def test_a_claim_to_be_stochastic_is_no_way_round_the_order(size):
    @dataclass(frozen=True, kw_only=True)
    class Pretending(Euler):
        @property
        def stochastic(self):
            return True

        def sample(self, eps, grid, x, noise):
            return super().sample(eps, grid, x, noise) + size * noise(0)

    assert "it claims to be stochastic; other noise changes its result by" in failures(Pretending())["noise"]


def test_numbers_that_depend_on_their_place_in_an_image_are_found():
    assert "differ by" in failures(with_a_change(lambda x, noise: x.roll(1, dims=-1) if x.ndim == 4 else x))["images"]

    @dataclass(frozen=True, kw_only=True)
    class Flat(Euler):
        def sample(self, eps, grid, x, noise):
            _rows, _columns = x.shape
            return super().sample(eps, grid, x, noise)

    found = failures(Flat())
    assert found.keys() == {"images"}
    assert "too many values to unpack" in found["images"]


@dataclass(frozen=True, kw_only=True)
class Differentiating(Euler):
    copy: bool = True

    def sample(self, eps, grid, x, noise):
        with torch.enable_grad():
            leaf = x.detach().requires_grad_() if self.copy else x.requires_grad_()
            torch.autograd.grad(eps(leaf, grid.times[0]).sum(), leaf)
        return super().sample(eps, grid, x.detach(), noise)

    def evaluations(self, steps):
        return steps + 1

    def steps(self, nfe):
        return Sampler.steps(self, nfe)


def test_samplers_that_need_gradients_are_told_apart():
    assert failures(Differentiating()) == {}
    text = {f.check: f.text for f in check_sampler(Differentiating())}
    assert text["gradients"] == "it takes gradients of ε, in 1 of 13 evaluations"
    assert {f.check: f.text for f in check_sampler(Euler())}["gradients"] == "it needs none"
    assert "it had gradients taken of the x_T it was given" in failures(Differentiating(copy=False))["gradients"]


def test_a_grid_of_its_own_passes_no_spacing():
    @dataclass(frozen=True, kw_only=True)
    class Stubborn(Euler):
        def sample(self, eps, grid, x, noise):
            own = TimeGrid.make(grid.schedule, grid.steps, "linspace", "none")
            return super().sample(eps, own, x, noise)

    finding = next(f for f in check_sampler(Stubborn()) if f.check == "spacings")
    assert (finding.verdict, finding.text) == ("skipped", "its times are its own: two spacings gave the same")


@pytest.mark.parametrize("claim", [3, 2.5, None, "3", -1])
def test_claims_that_never_grow_fail_in_seconds(claim):
    @dataclass(frozen=True, kw_only=True)
    class Fixed(Euler):
        def evaluations(self, steps):
            return claim

        def steps(self, nfe):
            return Sampler.steps(self, nfe)

    started = time.perf_counter()
    found = failures(Fixed())
    assert time.perf_counter() - started < 20
    assert {"evaluations", "budget"} <= found.keys()
    assert "evaluations(" in found["budget"]


@pytest.mark.parametrize("end", [SystemExit(0), GeneratorExit(), BaseException("all")], ids=repr)
@pytest.mark.parametrize("where", ["sample", "stochastic"])
def test_an_end_of_the_program_fails_its_check_alone(end, where):
    def stop(*_):
        raise end

    changed = type("Ending", (Euler,), {where: stop if where == "sample" else property(stop)})
    found = failures(changed())
    assert type(end).__name__ in found["order"]
    assert ("evaluations" in found) == (where == "sample")


def test_ctrl_c_ends_the_checks():
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_sampler(type("Interrupted", (Euler,), {"sample": stop})())


def test_tolerances_are_told():
    text = {f.check: f.text for f in [*check_sampler(Euler()), *check_sampler(Euler(fault="moments"))]}
    assert "declared 1 or more, within 0.3" in " ".join(f.text for f in check_sampler(Euler()))
    assert re.search(r"mean .* ± 0\.\d+, variance .* ± 0\.\d+", text["moments"])
    assert "below 1e-05" in text["precision"]
    assert "within 1e-06" in text["images"]


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
        ("order", "order", "measured 1.00, declared 2 or more"),
        ("moments", "moments", "variance"),
        ("batch", "batch", "sample 4 of 6 differs by"),
        ("repeatable", "repeatable", "two runs differ"),
        ("in place", "repeatable", "it changed x_T in place"),
        ("torch", "repeatable", "drew from the global generator of torch"),
        ("numpy", "repeatable", "drew from the global generator of numpy"),
        ("default dtype", "budget", "it changed torch's default dtype"),
        ("precision", "precision", "median difference"),
        ("nan", "nan", "the samples do not show it"),
        ("spacings", "spacings", "uniform on vp: RuntimeError: only for integer times"),
    ],
)
def test_each_broken_promise_is_found(fault, check, text):
    found = failures(Euler(fault=fault))
    assert text in found.get(check, "nothing")


def test_noise_is_not_blamed_for_what_is_done_in_place():
    """The second of two runs starts from what the first left of x_T."""

    @dataclass(frozen=True, kw_only=True)
    class InPlace(Euler):
        def sample(self, eps, grid, x, noise):
            x0 = super().sample(eps, grid, x, noise)
            x *= 2
            return x0

    assert failures(InPlace()) == {
        "repeatable": "it changed x_T in place; x = factor * x makes a new tensor, x *= factor does not"
    }


def test_one_mistake_is_said_once(capsys, monkeypatch):
    @dataclass(frozen=True, kw_only=True)
    class Typo(Euler):
        def sample(self, eps, grid, x):
            return x

    monkeypatch.setenv("COLUMNS", "160")
    assert print_findings([Typo()]) == 1
    out = capsys.readouterr().out.partition("Traceback")[0]
    assert out.count("takes 4 positional arguments but 5 were given") == 1
    assert re.search(r"11 checks more +│ failed +│ the same: TypeError", out)


@pytest.mark.parametrize(("claim", "verdict"), [(0.5, "passed"), (1.5, "failed"), (None, "skipped")])
def test_an_order_is_a_claim_of_at_least(claim, verdict):
    @dataclass(frozen=True, kw_only=True)
    class Claiming(Euler):
        @property
        def global_order(self):
            return claim

    (order,) = [finding for finding in check_sampler(Claiming()) if finding.check == "order"]
    assert order.verdict == verdict
    assert ("it claims no order" if claim is None else "measured 1.00, declared") in order.text


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
