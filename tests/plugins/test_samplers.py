"""The shipped samplers against ground truth: exact ε, closed forms, each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from samplerbench_plugins import deis

from samplerbench import NoiseSource, TimeGrid, TooFewEvaluations, VPSchedule, linear_schedule, sample
from samplerbench.plugins import load_plugins

from ..mixture import GaussianMixture

REGISTRY = load_plugins()
LINEAR, VP = linear_schedule(), VPSchedule()
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
    "s-pndm",
    "pndm",
    "ipndm",
    "ipndm:order=2:spacing=logsnr:final=none",
    "deis",
    "deis:order=0",
    "deis:order=2",
    "deis:variant=rhoab",
    "deis:variant=logrhoab:order=2",
    "deis:variant=rho-heun",
    "deis:variant=rho-kutta3:final=zero",
    "deis:variant=rho-rk4",
]


def x_T(count: int, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return NoiseSource(11, range(count), shape or (2,), dtype=dtype).x_T()


@pytest.mark.parametrize("spec", SPECS)
def test_counted_evaluations_are_the_claimed_ones(spec):
    sampler, truth = REGISTRY.sampler(spec), GaussianMixture(LINEAR)
    for steps in range(sampler.fewest_steps, 21):
        assert sample(sampler, truth.eps, LINEAR, x_T(3), steps=steps).nfe == sampler.evaluations(steps)
    fewest = sampler.evaluations(sampler.fewest_steps)
    for budget in range(fewest, 61):
        steps = sampler.steps(budget)
        assert sampler.evaluations(steps) <= budget < sampler.evaluations(steps + 1)
        assert sample(sampler, truth.eps, LINEAR, x_T(1, 1), nfe=budget).nfe <= budget
    with pytest.raises(
        TooFewEvaluations, match=f"{sampler.name} needs at least {fewest} evaluations, got {fewest - 1}"
    ):
        sampler.steps(fewest - 1)


@pytest.mark.parametrize("spec", [s for s in SPECS if "ddpm" not in s and "eta" not in s])
@pytest.mark.parametrize("schedule", [LINEAR, VP], ids=["discrete", "continuous"])
def test_deterministic_samplers_converge_at_their_order(spec, schedule):
    sampler, truth = REGISTRY.sampler(spec), GaussianMixture(schedule)
    if schedule.discrete and "deis" in spec and sampler.variant == "tab" and sampler.degree > 1:
        pytest.skip("extrapolates in time, which has a kink at every integer of a discrete schedule")
    x, start, end = x_T(1, 200), schedule.t_max, schedule.t_min
    exact = truth.solution(x, start, end)
    errors = []
    for steps in (80, 160):
        # times even in √t, as on the quadratic grid, but not snapped to integers, so that halving the step halves it
        # everywhere
        times = torch.linspace(math.sqrt(start), math.sqrt(end), steps + 1, dtype=torch.float64) ** 2
        times[0], times[-1] = start, end
        got = sample(sampler, truth.eps, schedule, x, times=times.tolist()).x0
        errors.append((got - exact).square().mean().sqrt().item())
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


@pytest.mark.parametrize("spec", ["deis:order=0", "deis:variant=rhoab:order=0", "ipndm:order=1"])
def test_ddim_is_the_first_order_of_other_families(spec):
    truth, x = GaussianMixture(LINEAR), x_T(20)
    where = "spacing=quadratic:final=none"
    ddim = sample(f"ddim:{where}", truth.eps, LINEAR, x, steps=15).x0
    assert torch.allclose(ddim, sample(f"{spec}:{where}", truth.eps, LINEAR, x, steps=15).x0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("variant", ["rhoab", "logrhoab"])
def test_adams_bashforth_weights_integrate_polynomials_exactly(variant, degree):
    """Where ε is a polynomial of degree r in the method's own variable, order r is exact once it has its history."""
    grid = TimeGrid.make(VP, 8, "logsnr", "none")
    weights = deis.coefficients(grid, variant, degree)
    rho = np.array(grid.sigma) / np.array(grid.alpha)
    values = (rho if variant == "rhoab" else np.log(rho)) ** degree
    total = sum(w * values[i - j] for i in range(degree, 8) for j, w in enumerate(weights[i]))
    fine = np.geomspace(rho[degree], rho[-1], 400_001)
    exact = np.trapezoid((fine if variant == "rhoab" else np.log(fine)) ** degree, fine)
    assert total == pytest.approx(exact, rel=1e-8)


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
