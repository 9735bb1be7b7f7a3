"""Paths: what each is, and that a sampler written once is right on all of them."""

import math

import numpy as np
import pytest
import torch

from samplerbench import (
    CosineSchedule,
    EDMSchedule,
    FlowSchedule,
    SigmasSchedule,
    SubVPSchedule,
    TimeGrid,
    UserError,
    VESchedule,
    VPSchedule,
    cosine_schedule,
    linear_schedule,
    sample,
    scaled_linear_schedule,
    sigmoid_schedule,
)
from samplerbench.check.mixture import GaussianMixture
from samplerbench.diffusion.noise import NoiseSource
from samplerbench.diffusion.paths import check_path, schedule_from_config
from samplerbench.diffusion.schedule import NoiseSchedule
from samplerbench.diffusion.spacing import SPACINGS
from samplerbench.drawing import draw
from samplerbench.plugins import load_plugins
from samplerbench.sampling import plan_grid

PATHS: dict[str, NoiseSchedule] = {
    "linear": linear_schedule(),
    "linear, zero SNR": linear_schedule(zero_terminal_snr=True),
    "scaled-linear": scaled_linear_schedule(),
    "scaled-linear, zero SNR": scaled_linear_schedule(zero_terminal_snr=True),
    "sigmoid": sigmoid_schedule(),
    "cosine": cosine_schedule(),
    "vp": VPSchedule(),
    "sub-vp": SubVPSchedule(),
    "cosine-continuous": CosineSchedule(),
    "cosine-continuous to 1": CosineSchedule(t_max=1.0),
    "edm": EDMSchedule(),
    "ve": VESchedule(),
    "sigmas": SigmasSchedule(np.geomspace(0.01, 50, 100)),
    "flow": FlowSchedule(),
    "flow, shift 3": FlowSchedule(shift=3.0),
}
REGISTRY = load_plugins()
TO_NOTHING = [name for name, path in PATHS.items() if path.reaches_pure_noise]


def times_of(path, count=41):
    return np.linspace(path.t_min, path.t_max, count)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_a_path_is_lambda_and_its_inverse(path):
    check_path(path)
    t = times_of(path)
    assert np.allclose(path.alpha(t) ** 2 + path.sigma(t) ** 2, 1, rtol=1e-15)
    assert (path.alpha(0.0), path.sigma(0.0), path.scale(0.0)) == (1, 0, 1)


def native(path, t):
    """The path's own α and σ, as its source has them."""
    if isinstance(path, SubVPSchedule):
        alpha = np.exp(-0.25 * t**2 * 19.9 - 0.05 * t)
        return alpha, 1 - alpha**2
    if isinstance(path, EDMSchedule):
        return np.ones_like(t), t
    if isinstance(path, VESchedule):
        return np.ones_like(t), 0.01 * 5000**t
    assert isinstance(path, FlowSchedule)
    own = path.shift * t / (1 + (path.shift - 1) * t)
    return 1 - own, own


@pytest.mark.parametrize("name", ["sub-vp", "edm", "ve", "flow", "flow, shift 3"])
def test_scale_leads_back_to_the_paths_own_coordinates(name):
    path = PATHS[name]
    t = times_of(path)
    alpha, sigma = native(path, t)
    assert np.allclose(path.scale(t) * path.alpha(t), alpha, rtol=1e-12)
    assert np.allclose(path.scale(t) * path.sigma(t), sigma, rtol=1e-12)


def test_zero_terminal_snr_is_lins_algorithm():
    path, plain = linear_schedule(zero_terminal_snr=True), linear_schedule()
    t = np.arange(1, 1001)
    roots = np.sqrt(np.cumprod(1 - plain.betas))
    wanted = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
    assert np.allclose(path.alpha(t), wanted, rtol=1e-9)
    assert path.half_log_snr(1000) == -math.inf
    assert path.first_time(pure_noise=False) == 999
    assert float(path.alpha(999.5)) == pytest.approx(float(path.alpha(999)) / 2)


@pytest.mark.parametrize("name", TO_NOTHING)
def test_what_cannot_start_at_nothing_starts_at_the_smallest_alpha(name):
    path = PATHS[name]
    start = path.first_time(pure_noise=False)
    assert path.first_time(pure_noise=True) == path.t_max
    if path.discrete:
        assert start == path.t_max - 1
    else:
        assert float(path.alpha(start)) == pytest.approx(1e-3)


def test_the_prior_of_an_exploding_path_is_its_own():
    assert PATHS["edm"].prior(80.0) * PATHS["edm"].scale(80.0) == pytest.approx(80.0)
    assert {PATHS[name].prior(PATHS[name].t_max) for name in ("linear", "vp", "flow")} == {1.0}


# every sampler of the λ and ρ families; `deis` tab extrapolates in time, and pndm's midpoints are in time
FAMILY = [
    "ddim",
    "ddim:eta=1",
    "ddpm:clip=none",
    "ddpm:variance=fixed-large",
    "dpm",
    "dpm:order=3",
    "dpm:prediction=eps",
    "dpm:mode=singlestep:order=3",
    "dpm:mode=adaptive",
    "unipc",
    "unipc:variant=bh1:prediction=eps",
    "sde-dpm-solver",
    "heun",
    "deis:variant=rhoab",
    "deis:variant=logrhoab",
    "deis:variant=rho-kutta3",
    "ipndm",
    "s-pndm",
    "analytic-ddpm",
]


@pytest.mark.parametrize("spec", FAMILY)
def test_one_lambda_grid_gives_one_result_on_every_path(spec):
    """The same λ's and the same exact data give the same x_0, to 1e-10, stochastic samplers included."""
    sampler, lam = REGISTRY.sampler(spec), np.linspace(-3.8, 4.5, 13)
    noise = NoiseSource(3, range(5), (6,), dtype=torch.float64)
    found = {}
    for name in ("vp", "sub-vp", "edm", "ve", "flow", "flow, shift 3", "cosine-continuous"):
        path = PATHS[name]
        times = [float(t) for t in path.time(lam)]
        times = [times[0], times[-1]] if sampler.adaptive else times
        grid = TimeGrid(path, (*times, 0.0) if sampler.final == "zero" else tuple(times))
        x = noise.x_T() / path.prior(grid.times[0])
        drawing = draw(sampler, GaussianMixture(path), grid, x, noise)
        found[name] = drawing.x0 / grid.scale[-1], drawing.nfe
    first, nfe = found["vp"]
    for name, (x0, count) in found.items():
        assert float((x0 - first).abs().max()) < 1e-10, name
        assert count == nfe


STARTING = [
    "ddim",
    "ddpm",
    "ddpm:variance=fixed-large",
    "dpm",
    "dpm:order=3",
    "unipc",
    "unipc:variant=bh1",
    "sde-dpm-solver",
]


@pytest.mark.parametrize("name", TO_NOTHING)
@pytest.mark.parametrize("spec", [*STARTING, "heun", "deis", "ipndm", "pndm", "dpm:mode=singlestep", "analytic-ddpm"])
def test_never_nan_where_nothing_is_left_of_the_data(name, spec):
    path, noise = PATHS[name], NoiseSource(3, range(100), (4,), dtype=torch.float64)
    for spacing in SPACINGS:
        sampler = REGISTRY.sampler(f"{spec}:spacing={spacing}")
        assert sampler.starts_at_pure_noise == (spec in STARTING)
        grid = plan_grid(sampler, path, steps=13)
        if spacing not in ("uniform", "quadratic") or not path.discrete:
            assert grid.times[0] == path.first_time(sampler.starts_at_pure_noise)
        x0 = draw(sampler, GaussianMixture(path), grid, noise.x_T(), noise).x0  # it looks for NaN itself
        if spec in STARTING:  # pndm and heun are unstable in so few steps from so near to nothing
            assert float(x0.abs().max()) < 5  # the data lies within [-2, 2]
            if spacing == "logsnr":
                assert float(x0.mean()) == pytest.approx(-0.04, abs=0.15)


@pytest.mark.parametrize("spec", ["dpm", "dpm:order=3", "unipc", "ddim:spacing=logsnr", "sde-dpm-solver"])
def test_a_start_at_nothing_is_the_limit_of_starts_near_it(spec):
    path, sampler = FlowSchedule(), REGISTRY.sampler(f"{spec}:final=zero")
    inner = [float(t) for t in path.time(np.linspace(-4, 4, 12))]
    noise = NoiseSource(3, range(50), (4,), dtype=torch.float64)
    found = [
        draw(sampler, GaussianMixture(path), TimeGrid(path, (start, *inner, 0.0)), noise.x_T(), noise).x0
        for start in (1.0, float(path.time(-18.0)))
    ]
    assert float((found[0] - found[1]).abs().max()) < 2e-3 if "sde" not in spec else 1


def test_samplers_that_cannot_start_there_say_so():
    x = torch.zeros(1, 2)
    with pytest.raises(UserError, match=r"heun cannot start at time 1, where α is 0; start at 0\.999"):
        sample("heun:spacing=1/0.5/0", GaussianMixture(FlowSchedule()), FlowSchedule(), x, nfe=9)
    with pytest.raises(UserError, match="ε at time 1, where α = 0, says nothing of x_0"):
        sample("dpm", lambda x, t: x, FlowSchedule(), x, nfe=4)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"kind": "flow", "shift": 0}, "a flow needs shift > 0"),
        ({"kind": "edm", "sigma_min": 2, "sigma_max": 1}, "0 < sigma_min < sigma_max"),
        ({"kind": "ve", "t_min": 0}, "t_min of a VE schedule"),
        ({"kind": "sigmas", "sigmas": [3, 2, 1]}, "sigmas increase"),
        ({"kind": "sigmas", "sigmas": [1]}, "at least two"),
        ({"kind": "cosine-continuous", "t_max": 2}, "t_max <= 1"),
        ({"kind": "linear", "zero_terminal_snr": "yes"}, "zero_terminal_snr is true or false"),
        ({"kind": "linear", "steps": 1, "zero_terminal_snr": True}, "at least two times"),
        ({"kind": "flwo"}, "did you mean 'flow'"),
    ],
)
def test_paths_that_cannot_be(config, message):
    with pytest.raises(UserError, match=message):
        schedule_from_config(config)


class Backwards(VPSchedule):
    def half_log_snr(self, t):
        return -super().half_log_snr(t)


class NotInverse(VPSchedule):
    def time(self, half_log_snr):
        return super().time(half_log_snr) ** 2


@pytest.mark.parametrize(
    ("cls", "message"), [(Backwards, "is \\+inf at time 0 and decreases"), (NotInverse, "not the inverse")]
)
def test_what_is_no_path_is_refused(cls, message):
    with pytest.raises(UserError, match=message):
        check_path(cls())
