"""The shipped samplers against ground truth: exact ε, closed forms, each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from samplerbench_plugins import deis

from samplerbench import (
    FlowSchedule,
    NoiseSource,
    TimeGrid,
    UserError,
    VPSchedule,
    linear_schedule,
    sample,
)
from samplerbench.check.checks import check_sampler
from samplerbench.check.mixture import GaussianMixture
from samplerbench.diffusion.denoiser import Meter
from samplerbench.plugins import load_plugins

REGISTRY = load_plugins()
LINEAR, VP = linear_schedule(), VPSchedule()
SPECS = [
    "ddpm",
    "ddpm:variance=fixed-large",
    "ddpm:clip=none:spacing=quadratic",
    "analytic-ddpm",
    "ddim",
    "ddim:eta=0.5",
    "ddim:eta=1:spacing=uniform",
    "ddim:spacing=logsnr:final=none",
    "dpm-solver",
    "dpm-solver:prediction=eps",
    "dpm-solver:order=1",
    "dpm-solver:final=zero:spacing=quadratic",
    "dpm-solver:order=3",
    "dpm-solver:order=3:prediction=eps:lower_order_final=false",
    "dpm-solver:order=3-published:prediction=eps",
    "dpm-solver:mode=singlestep",
    "dpm-solver:mode=singlestep:order=3:prediction=eps",
    "dpm-solver:mode=singlestep:order=3:final=zero",
    "dpm-solver:mode=fast:order=3:prediction=eps",
    "dpm-solver:mode=fast:order=2",
    "unipc",
    "unipc:order=2:lower_order_final=false",
    "unipc:lower_order_final=false:variant=bh1",
    "unipc:lower_order_final=false:prediction=eps",
    "unipc:corrector=false:lower_order_final=false",
    "heun",
    "heun:final=none",
    "sde-dpm-solver",
    "sde-dpm-solver:order=1:final=zero",
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
    "ddim:spacing=karras:rho=5",
    "ddim:spacing=trailing",
    "ddim:spacing=linspace:final=denoise",
    "ddim:spacing=linspace",
]
DETERMINISTIC = [s for s in SPECS if not REGISTRY.sampler(s).stochastic]


def x_T(count: int, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return NoiseSource(11, range(count), shape or (2,), dtype=dtype).x_T()


@pytest.mark.parametrize("spec", SPECS)
def test_every_shipped_sampler_passes_the_check(spec):
    findings = check_sampler(REGISTRY.sampler(spec))
    assert [f"{f.check}: {f.text}" for f in findings if f.verdict == "failed"] == []
    assert sum(f.verdict == "passed" for f in findings) >= 6


@pytest.mark.parametrize(
    "spec", [s for s in DETERMINISTIC if s.startswith(("ddim", "dpm-solver:order", "s-pndm", "unipc"))]
)
def test_orders_on_a_discrete_schedule(spec):
    """log α is linear between the integers; methods in λ or ρ do not notice, those in t would (deis:variant=tab)."""
    sampler, truth = REGISTRY.sampler(spec), GaussianMixture(LINEAR)
    x, errors = x_T(1, 200), []
    exact = truth.solution(x, 1000, 1)
    for steps in (80, 160):
        times = np.linspace(math.sqrt(1000), 1, steps + 1) ** 2
        times[0], times[-1] = 1000, 1
        got = sampler.sample(Meter(truth, 1).denoiser(), TimeGrid(LINEAR, tuple(times.tolist())), x, None)
        errors.append((got - exact).square().mean().sqrt().item())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(sampler.global_order, abs=0.3)


@pytest.mark.parametrize("final", ["zero", "none"])
@pytest.mark.parametrize("spacing", ["uniform", "quadratic", "logsnr"])
def test_ddim_is_dpm_solver_of_order_one(spacing, final):
    truth, x = GaussianMixture(LINEAR), x_T(20)
    where = f"spacing={spacing}:final={final}"
    ddim = sample(f"ddim:{where}", truth, LINEAR, x, steps=15).x0
    for prediction in ("x0", "eps"):
        other = sample(f"dpm-solver:order=1:prediction={prediction}:{where}", truth, LINEAR, x, steps=15).x0
        assert torch.allclose(ddim, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("spec", ["deis:order=0", "deis:variant=rhoab:order=0", "ipndm:order=1"])
def test_ddim_is_the_first_order_of_other_families(spec):
    truth, x = GaussianMixture(LINEAR), x_T(20)
    where = "spacing=quadratic:final=none"
    ddim = sample(f"ddim:{where}", truth, LINEAR, x, steps=15).x0
    assert torch.allclose(ddim, sample(f"{spec}:{where}", truth, LINEAR, x, steps=15).x0, rtol=0, atol=1e-12)


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
    values = (fine if variant == "rhoab" else np.log(fine)) ** degree
    exact = float(torch.trapezoid(torch.from_numpy(values), torch.from_numpy(fine)))
    assert total == pytest.approx(exact, rel=1e-8)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("dpm-solver:order=3", "unipc:order=3:corrector=false:lower_order_final=false"),
        ("dpm-solver:mode=singlestep:order=1", "ddim"),
        ("unipc:order=1:corrector=false", "ddim"),
        ("deis:variant=rho-heun", "heun"),
        ("sde-dpm-solver:order=1", "ddim:eta=1"),
    ],
)
def test_two_names_for_one_method(one, other):
    truth, x = GaussianMixture(LINEAR), x_T(20)
    where = "spacing=logsnr:final=none"
    results = [sample(f"{spec}:{where}", truth, LINEAR, x, steps=15, seed=8).x0 for spec in (one, other)]
    assert torch.allclose(*results, rtol=0, atol=1e-9 if "order=3" in one else 1e-12)


def test_a_third_order_step_in_eps_is_log_rho_adams_bashforths():
    """The weights of the third step, found by giving one evaluation after the other ε = 1 and the rest 0; the warm-up
    before it differs: 2M's is not exact for ε linear in λ."""
    times = TimeGrid.make(LINEAR, 3, "logsnr", "none").times
    zero = torch.zeros(1, 1).double()

    def weight(spec, k):
        def last(steps):
            calls = iter(range(100))
            x = sample(spec, lambda x, t: zero + float(next(calls) == k), LINEAR, zero, times=times[: steps + 1])
            return float(x.x0) / float(LINEAR.alpha(times[steps]))

        return last(3) - last(2)

    for k in range(3):
        ours = weight("dpm:order=3:prediction=eps:lower_order_final=false", k)
        assert ours == pytest.approx(weight("deis:variant=logrhoab:order=2", k), rel=1e-9)


def test_ddim_at_eta_one_is_ddpm_with_the_small_variance():
    truth, x = GaussianMixture(LINEAR), x_T(20)
    ddim = sample("ddim:eta=1:spacing=uniform", truth, LINEAR, x, steps=30, seed=4).x0
    ddpm = sample("ddpm:clip=none", truth, LINEAR, x, steps=30, seed=4).x0
    assert torch.allclose(ddim, ddpm, rtol=0, atol=1e-12)


def test_ddim_against_the_papers_equation():
    """Eq. 12 of the paper as printed, with its ᾱ-letters, over two steps and η = 0.7."""
    truth, x = GaussianMixture(LINEAR), x_T(5)
    noise = NoiseSource(3, range(5), (2,), dtype=torch.float64)
    abar = {t: float(LINEAR.alpha(t)) ** 2 for t in (700, 200, 0)}
    expected = x
    for i, (t, s) in enumerate(((700, 200), (200, 0))):
        eps = truth(expected, t)
        predicted_x0 = (expected - math.sqrt(1 - abar[t]) * eps) / math.sqrt(abar[t])
        sigma = 0.7 * math.sqrt((1 - abar[s]) / (1 - abar[t])) * math.sqrt(1 - abar[t] / abar[s])
        expected = math.sqrt(abar[s]) * predicted_x0 + math.sqrt(1 - abar[s] - sigma**2) * eps + sigma * noise(i)
    got = sample("ddim:eta=0.7", truth, LINEAR, x, times=[700, 200, 0], seed=3).x0
    assert torch.allclose(got, expected, rtol=0, atol=1e-13)


def test_ddpm_against_the_papers_posterior():
    """Eq. 7 as printed, on adjacent times, where β is the schedule's own."""
    truth, x, t = GaussianMixture(LINEAR), x_T(5), 400
    noise = NoiseSource(3, range(5), (2,), dtype=torch.float64)
    beta = float(LINEAR.betas[t - 1])
    now, before = (float(LINEAR.alpha(s)) ** 2 for s in (t, t - 1))
    x0 = ((x - math.sqrt(1 - now) * truth(x, t)) / math.sqrt(now)).clamp(-1, 1)
    mean = math.sqrt(before) * beta / (1 - now) * x0 + math.sqrt(1 - beta) * (1 - before) / (1 - now) * x
    for variance, value in (("fixed-large", beta), ("fixed-small", (1 - before) / (1 - now) * beta)):
        got = sample(f"ddpm:variance={variance}", truth, LINEAR, x, times=[t, t - 1], seed=3).x0
        assert torch.allclose(got, mean + math.sqrt(value) * noise(0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("clip", ["x0", "x0-and-eps"])
def test_ddim_clips_x0(clip):
    def large(x, t):
        return -5 * torch.ones_like(x)

    assert sample(f"ddim:clip={clip}", large, LINEAR, x_T(5), steps=1).x0.abs().max() <= 1
    assert sample("ddim", large, LINEAR, x_T(5), steps=1).x0.abs().max() > 1
    # where nothing exceeds [-1, 1], nothing changes
    narrow = GaussianMixture(LINEAR, means=(0.1,), deviations=(0.05,), weights=(1.0,))
    same = [sample(f"ddim:clip={c}", narrow, LINEAR, x_T(5), steps=9).x0 for c in ("none", clip)]
    assert torch.allclose(*same, rtol=0, atol=1e-12)


def test_the_two_ways_to_clip_differ():
    """One step, by hand: x_0 is clipped to 1; ε is kept by one and recomputed by the other."""
    x = torch.full((1, 1), 2.0).double()
    alpha, sigma, alpha_next, sigma_next = (float(f(t)) for t in (500, 100) for f in (LINEAR.alpha, LINEAR.sigma))
    kept, recomputed = (
        sample(f"ddim:clip={c}", lambda x, t: 0 * x, LINEAR, x, times=[500, 100]).x0.item()
        for c in ("x0", "x0-and-eps")
    )
    assert 2.0 / alpha > 1
    assert kept == pytest.approx(alpha_next, rel=1e-12)
    assert recomputed == pytest.approx(alpha_next + sigma_next * (2.0 - alpha) / sigma, rel=1e-12)


def test_ddpm_clips_x0():
    def eps(x, t):
        return -5 * torch.ones_like(x)

    assert sample("ddpm", eps, LINEAR, x_T(5), steps=1).x0.abs().max() <= 1
    assert sample("ddpm:clip=none", eps, LINEAR, x_T(5), steps=1).x0.abs().max() > 1


def test_what_a_sample_takes_is_given_once():
    truth, x = GaussianMixture(LINEAR), x_T(2)
    for given in ({}, {"nfe": 5, "steps": 5}, {"steps": 2, "times": [1000, 500, 0]}):
        with pytest.raises(UserError, match="steps or times"):
            sample("ddim", truth, LINEAR, x, **given)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("dpm:order=3-published:mode=singlestep", "is a multistep method"),
        ("dpm:order=1:mode=fast", "mode=fast takes order 2 or 3, got 1"),
        ("dpm:mode=adaptive:rtol=0", "rtol and atol are above 0"),
        ("dpm:mode=adaptive:final=zero", "ends at the schedule's smallest time"),
        ("dpm:thresholding=true:prediction=eps", "goes with prediction=x0"),
        ("dpm:mode=adaptive:max_evaluations=3", "is at least 4, got 3"),
        ("unipc:order=5", "unipc:order is 1, 2, 3 or 4, got 5"),
        ("ipndm:order=0", "ipndm:order is 1, 2, 3 or 4, got 0"),
        ("deis:order=4", "deis:order is 0, 1, 2 or 3, got 4"),
        ("deis:variant=rho-rk4:order=2", "order goes with tab, rhoab and logrhoab"),
        ("sde-dpm-solver:order=3", "order is 1 or 2, got 3"),
        ("ddim:rho=5", "goes with spacing=karras, got 5"),
        ("ddim:spacing=801/x/0", "decreasing times like 801/401/1/0"),
    ],
)
def test_combinations_that_do_not_exist(spec, message):
    with pytest.raises(UserError, match=message):
        REGISTRY.sampler(spec)


def test_grids_that_do_not_exist():
    truth, x = GaussianMixture(LINEAR), x_T(2)
    with pytest.raises(UserError, match=r"pndm takes at least 4 steps \(13 evaluations\), got 2"):
        sample("pndm", truth, LINEAR, x, times=[1000, 500, 0])
    with pytest.raises(UserError, match="chooses its own times between the first and the last; list those two"):
        sample("dpm:mode=adaptive", truth, LINEAR, x, times=[1000, 500, 1])
    flow = FlowSchedule()
    with pytest.raises(UserError, match=r"heun cannot start at time 1, where α is 0; start at 0\.999"):
        sample("heun", GaussianMixture(flow), flow, x, times=[1, 0.5, 0])
    with pytest.raises(UserError, match=r"pndm takes at least 4 steps \(13 evaluations\), got 3"):
        sample("pndm", truth, LINEAR, x, steps=3)
    with pytest.raises(UserError, match="times must be decreasing"):
        sample("ddim:spacing=1/801/0", truth, LINEAR, x, steps=2)
    with pytest.raises(UserError, match="lists 2 steps, not 3"):
        sample("ddim:spacing=801/1/0", truth, LINEAR, x, steps=3)
    with pytest.raises(UserError, match="2 steps of listed times need more than 1 evaluations"):
        sample("ddim:spacing=801/1/0", truth, LINEAR, x, nfe=1)
    assert sample("ddim:spacing=801/1/0", truth, LINEAR, x, nfe=7).nfe == 2


@pytest.mark.parametrize("steps", [2, 5, 20])
def test_analytic_variances_are_exact_on_gaussian_data(steps):
    """However few the steps, every x_t has its own variance; with either of the paper's variances it has not."""
    deviation = 0.3
    truth = GaussianMixture(LINEAR, means=(0.0,), deviations=(deviation,), weights=(1.0,))
    x = NoiseSource(0, range(20), (4000,), dtype=torch.float64).x_T()
    found = {}
    for name in ("analytic-ddpm", "ddpm", "ddpm:variance=fixed-large"):
        plain = ":clip_pixel=none" if name == "analytic-ddpm" else ""
        spec = f"{name}:clip=none:final=none:spacing=linspace{plain}"
        found[name] = float(sample(REGISTRY.sampler(spec), truth, LINEAR, x, steps=steps).x0.var())
    exact = (float(LINEAR.alpha(1)) * deviation) ** 2 + float(LINEAR.sigma(1)) ** 2
    assert abs(found["analytic-ddpm"] / exact - 1) < 4 * math.sqrt(2 / x.numel())
    assert all(abs(found[name] / exact - 1) > 0.02 for name in ("ddpm", "ddpm:variance=fixed-large"))


def test_the_last_noise_of_analytic_ddpm_is_clipped():
    """To 2 grey levels of 255 each way, by E|z| = √(2/π); the steps before keep theirs."""
    truth = GaussianMixture(LINEAR)
    grid = TimeGrid(LINEAR, (801.0, 401.0, 1.0, 0.0))
    x, eps = torch.zeros(1, 5, dtype=torch.float64), Meter(truth, 1).denoiser()
    clipped, free = REGISTRY.sampler("analytic-ddpm"), REGISTRY.sampler("analytic-ddpm:clip_pixel=none")
    both = [[float(each.transition(eps, grid, i, x)[1]) for i in range(2)] for each in (clipped, free)]
    assert both[0][0] == both[1][0]
    assert both[0][1] < both[1][1]
    assert math.sqrt(both[0][1]) * math.sqrt(2 / math.pi) == pytest.approx(2 * 2 / 255)


def test_analytic_variances_need_the_models_constant():
    with pytest.raises(UserError, match="does not hold the mean square of ε_θ"):
        sample("analytic-ddpm", lambda x, t: x, LINEAR, torch.randn(2, 3), nfe=3)
