"""Paths whose α is above 0 and almost nothing at t_max: no sampler divides by it."""

import pytest
import torch

from samplerbench import CosineSchedule, FlowSchedule, UserError, VESchedule, cosine_schedule, linear_schedule
from samplerbench.check.mixture import GaussianMixture
from samplerbench.diffusion.noise import NoiseSource
from samplerbench.drawing import draw
from samplerbench.plugins import load_plugins
from samplerbench.sampling import plan_grid

FAINT = {
    "cosine": cosine_schedule(),
    "linear of 4,000": linear_schedule(steps=4000),
    "linear of 10,000": linear_schedule(steps=10_000),
    "cosine-continuous": CosineSchedule(t_max=0.99999),
    "ve to 10^6": VESchedule(sigma_max=1e6),
}
SAMPLERS = ["ddim", "ddim:eta=1", "ddpm:clip=none", "dpm:order=3", "unipc", "sde-dpm-solver", "heun", "ipndm"]
IN_TIME = ["deis", "pndm"]  # what extrapolates in time amplifies rounding itself where times crowd together
REGISTRY = load_plugins()


@pytest.mark.parametrize("name", FAINT)
@pytest.mark.parametrize("spacing", ["linspace", "trailing", "time-quadratic", "uniform", "logsnr", "karras"])
def test_float32_gives_what_float64_gives(name, spacing):
    path = FAINT[name]
    for spec in [*SAMPLERS, *(IN_TIME if spacing in ("linspace", "trailing", "uniform") else [])]:
        sampler = REGISTRY.sampler(f"{spec}:spacing={spacing}")
        grid, found = plan_grid(sampler, path, steps=13), []
        assert float(path.alpha(grid.times[0])) > 6e-3
        for dtype in (torch.float32, torch.float64):
            noise = NoiseSource(3, range(50), (4,), dtype=dtype)
            x = path.prior(grid.times[0]) * noise.x_T()
            found.append(draw(sampler, GaussianMixture(path), grid, x, noise).x0.double())
        assert float((found[0] - found[1]).abs().max()) < 1e-3, spec
        assert float(found[1].abs().max()) < 5, spec  # the data lies within [-2, 2]


def test_the_start_is_the_dpm_solver_authors():
    assert [FAINT[name].first_time(pure_noise) for name in FAINT for pure_noise in (False, True)][:6] == [
        *(996, 996),
        *(2001, 2001),
        *(3148, 3148),
    ]
    assert float(FAINT["ve to 10^6"].half_log_snr(FAINT["ve to 10^6"].first_time(True))) == pytest.approx(-5.1)
    assert VESchedule(sigma_max=1348).first_time(False) == 1  # the largest published: kept
    assert linear_schedule().first_time(False) == 1000


def test_leading_grids_of_the_cosine_are_the_published_ones():
    ddpm, path = REGISTRY.sampler("ddpm"), FAINT["cosine"]
    assert plan_grid(ddpm, path, steps=10).times == (*range(901, 0, -100), 0)
    assert plan_grid(ddpm, path, steps=1000).times == tuple(range(1000, -1, -1))
    with pytest.raises(UserError, match=r"heun cannot start at time 1000, where α is 4\.9e-05; start at 996 or below"):
        plan_grid(REGISTRY.sampler("heun:spacing=1000/500/1:final=none"), path, nfe=4)


@pytest.mark.parametrize("variance", ["eta=1", "fixed-small", "fixed-large"])
def test_steps_where_nothing_but_rounding_is_left(variance):
    """α is 1 to the last digit at both ends of the last steps."""
    spec = "ddim:eta=1" if variance == "eta=1" else f"ddpm:clip=none:variance={variance}"
    found = []
    for t_min in (1e-9, 1e-5):
        path = FlowSchedule(t_min=t_min)
        grid = plan_grid(REGISTRY.sampler(f"{spec}:spacing=0.99/0.5/0.1/0.01/{t_min * 4}/{t_min}/0"), path, steps=6)
        noise = NoiseSource(3, range(50), (4,), dtype=torch.float64)
        found.append(draw(REGISTRY.sampler(spec), GaussianMixture(path), grid, noise.x_T(), noise).x0)
    assert float((found[0] - found[1]).abs().max()) < 5 * 4e-5  # the noise at the greater of the two last steps
