"""The shipped samplers against ground truth: exact ε, closed forms, each other."""

from __future__ import annotations

import math

import pytest
import torch

from samplerbench import NoiseSource, TimeGrid, TooFewEvaluations, VPSchedule, linear_schedule, sample
from samplerbench.plugins import load_plugins

from ..mixture import GaussianMixture

REGISTRY = load_plugins()
LINEAR, VP = linear_schedule(), VPSchedule(t_min=1e-2)
SPECS = [
    "ddpm",
    "ddpm:variance=fixed-large",
    "ddpm:clip=none:spacing=quadratic",
    "ddim",
    "ddim:eta=0.5",
    "ddim:eta=1:spacing=uniform",
    "ddim:spacing=logsnr:final=none",
    "dpm-solver",
    "dpm-solver:prediction=eps",
    "dpm-solver:order=1",
    "dpm-solver:final=zero:spacing=quadratic",
]


def x_T(count: int, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return NoiseSource(11, range(count), shape or (2,), dtype=dtype).x_T()


@pytest.mark.parametrize("spec", SPECS)
def test_counted_evaluations_are_the_claimed_ones(spec):
    sampler, truth = REGISTRY.sampler(spec), GaussianMixture(LINEAR)
    for steps in range(1, 21):
        assert sample(sampler, truth.eps, LINEAR, x_T(3), steps=steps).nfe == sampler.evaluations(steps)
    for budget in range(1, 61):
        steps = sampler.steps(budget)
        assert sampler.evaluations(steps) <= budget < sampler.evaluations(steps + 1)
        assert sample(sampler, truth.eps, LINEAR, x_T(1, 1), nfe=budget).nfe <= budget
    with pytest.raises(TooFewEvaluations, match=f"{sampler.name} needs at least 1 evaluations, the budget is 0"):
        sampler.steps(0)


@pytest.mark.parametrize("spec", [s for s in SPECS if "ddpm" not in s and "eta" not in s])
@pytest.mark.parametrize("schedule", [LINEAR, VP], ids=["discrete", "continuous"])
def test_deterministic_samplers_converge_at_their_order(spec, schedule):
    sampler, truth = REGISTRY.sampler(spec), GaussianMixture(schedule)
    x, start, end = x_T(1, 40), schedule.t_max, schedule.t_min * 10
    exact = truth.solution(x, start, end)
    errors = []
    for steps in (80, 160):
        # times even in √t, as on the quadratic grid, but not snapped to integers, so that halving the step halves it
        # everywhere
        times = torch.linspace(math.sqrt(start), math.sqrt(end), steps + 1, dtype=torch.float64) ** 2
        times[0], times[-1] = start, end
        got = sample(sampler, truth.eps, schedule, x, times=times.tolist()).x0
        # the median: a few samples start near the border between two modes, where any error is amplified
        errors.append((got - exact).abs().median().item())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(sampler.global_order, abs=0.3)


@pytest.mark.parametrize("final", ["zero", "none"])
@pytest.mark.parametrize("spacing", ["uniform", "quadratic", "logsnr"])
def test_ddim_is_dpm_solver_of_order_one(spacing, final):
    truth, x = GaussianMixture(LINEAR), x_T(20)
    where = f"spacing={spacing}:final={final}"
    ddim = sample(f"ddim:{where}", truth.eps, LINEAR, x, steps=15).x0
    for prediction in ("x0", "eps"):
        other = sample(f"dpm-solver:order=1:prediction={prediction}:{where}", truth.eps, LINEAR, x, steps=15).x0
        assert torch.allclose(ddim, other, rtol=0, atol=1e-12)


def test_ddim_at_eta_one_is_ddpm_with_the_small_variance():
    truth, x = GaussianMixture(LINEAR), x_T(20)
    ddim = sample("ddim:eta=1:spacing=uniform", truth.eps, LINEAR, x, steps=30, seed=4).x0
    ddpm = sample("ddpm:clip=none", truth.eps, LINEAR, x, steps=30, seed=4).x0
    assert torch.allclose(ddim, ddpm, rtol=0, atol=1e-12)


def test_ddim_against_the_papers_equation():
    """Eq. 12 of the paper as printed, with its ᾱ-letters, over two steps and η = 0.7."""
    truth, x = GaussianMixture(LINEAR), x_T(5)
    noise = NoiseSource(3, range(5), (2,), dtype=torch.float64)
    abar = {t: float(LINEAR.alpha(t)) ** 2 for t in (700, 200, 0)}
    expected = x
    for i, (t, s) in enumerate(((700, 200), (200, 0))):
        eps = truth.eps(expected, t)
        predicted_x0 = (expected - math.sqrt(1 - abar[t]) * eps) / math.sqrt(abar[t])
        sigma = 0.7 * math.sqrt((1 - abar[s]) / (1 - abar[t])) * math.sqrt(1 - abar[t] / abar[s])
        expected = math.sqrt(abar[s]) * predicted_x0 + math.sqrt(1 - abar[s] - sigma**2) * eps + sigma * noise(i)
    got = sample("ddim:eta=0.7", truth.eps, LINEAR, x, times=[700, 200, 0], seed=3).x0
    assert torch.allclose(got, expected, rtol=0, atol=1e-13)


def test_ddpm_against_the_papers_posterior():
    """Eq. 7 as printed, on adjacent times, where β is the schedule's own."""
    truth, x, t = GaussianMixture(LINEAR), x_T(5), 400
    noise = NoiseSource(3, range(5), (2,), dtype=torch.float64)
    beta = float(LINEAR.betas[t - 1])
    now, before = (float(LINEAR.alpha(s)) ** 2 for s in (t, t - 1))
    x0 = ((x - math.sqrt(1 - now) * truth.eps(x, t)) / math.sqrt(now)).clamp(-1, 1)
    mean = math.sqrt(before) * beta / (1 - now) * x0 + math.sqrt(1 - beta) * (1 - before) / (1 - now) * x
    for variance, value in (("fixed-large", beta), ("fixed-small", (1 - before) / (1 - now) * beta)):
        got = sample(f"ddpm:variance={variance}", truth.eps, LINEAR, x, times=[t, t - 1], seed=3).x0
        assert torch.allclose(got, mean + math.sqrt(value) * noise(0), rtol=0, atol=1e-12)


def test_ddpm_clips_x0():
    def eps(x, t):
        return -5 * torch.ones_like(x)

    assert sample("ddpm", eps, LINEAR, x_T(5), steps=1).x0.abs().max() <= 1
    assert sample("ddpm:clip=none", eps, LINEAR, x_T(5), steps=1).x0.abs().max() > 1


@pytest.mark.parametrize(
    "spec", ["ddpm:clip=none", "ddpm:clip=none:variance=fixed-large", "ddim:eta=1", "ddim:eta=0.5"]
)
def test_stochastic_samplers_reproduce_gaussian_data(spec):
    """Where the data is N(m, s²) and every step is small, x_0 is N(m, s²); 400 of 1,000 times leave a bias well below
    the tolerance.
    """
    truth = GaussianMixture(LINEAR, means=(0.3,), deviations=(0.5,), weights=(1.0,))
    x0 = sample(spec, truth.eps, LINEAR, x_T(20, 1000), steps=400, seed=1).x0
    n = x0.numel()
    assert x0.mean().item() == pytest.approx(0.3, abs=4 * 0.5 / math.sqrt(n))
    assert x0.var().item() == pytest.approx(0.25, abs=4 * 0.25 * math.sqrt(2 / n) + 0.002)


@pytest.mark.parametrize("spec", SPECS)
def test_a_sample_alone_is_the_same_sample_in_a_batch(spec):
    sampler, truth = REGISTRY.sampler(spec), GaussianMixture(LINEAR)
    grid = TimeGrid.make(LINEAR, 12, sampler.spacing, sampler.final)
    x, noise = x_T(6), NoiseSource(2, range(6), (2,), dtype=torch.float64)
    whole = sampler.sample(truth.eps, grid, x, noise)
    one = NoiseSource(2, [4], (2,), dtype=torch.float64)
    assert torch.equal(sampler.sample(truth.eps, grid, x[4:5], one), whole[4:5])


@pytest.mark.parametrize("spec", SPECS)
def test_good_manners(spec):
    """x_T is left alone, no global random state is used, two runs agree, and float32 is float64 but for rounding."""
    truth, x = GaussianMixture(LINEAR), x_T(50)
    before, state = x.clone(), torch.random.get_rng_state()
    first = sample(spec, truth.eps, LINEAR, x, steps=10, seed=1).x0
    assert torch.equal(x, before)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(sample(spec, truth.eps, LINEAR, x, steps=10, seed=1).x0, first)
    single = sample(spec, truth.eps, LINEAR, x.float(), steps=10, seed=1).x0
    assert single.dtype == torch.float32
    assert (single - first).abs().median() < 1e-5
