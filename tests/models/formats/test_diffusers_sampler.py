"""What a scheduler is in our names: every name is one that `--samplers` takes, and where the times are the same, so are
the samples.
"""

from __future__ import annotations

import pytest
import torch

from samplerbench import NoiseSource, linear_schedule, sample
from samplerbench.check.mixture import GaussianMixture
from samplerbench.models.formats.diffusers_sampler import nearest_sampler
from samplerbench.models.formats.diffusers_scheduler import CHAINS, EDMS, FLOWS
from samplerbench.plugins import load_plugins

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore")  # its own deprecations

LINEAR = linear_schedule()
TRUTH = GaussianMixture(LINEAR)
NOISE = NoiseSource(3, range(20), (1, 4, 4), dtype=torch.float64)


@pytest.mark.parametrize("kind", [*CHAINS, *FLOWS, *EDMS])
def test_every_name_is_one_that_is_taken(kind):
    for config in ({}, {"thresholding": True, "solver_order": 3}, {"use_karras_sigmas": True, "clip_sample": False}):
        spec, _ = nearest_sampler(kind, config)
        if spec:
            load_plugins().sampler(spec)
    assert bool(spec) == (not kind.startswith(("LMS", "KDPM2", "DPMSolverSDE", "SASolver")))


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        (diffusers.DDIMScheduler(), "ddim:spacing=uniform:clip=x0"),
        (diffusers.DDIMScheduler(clip_sample=False, timestep_spacing="trailing"), "ddim:spacing=trailing"),
        (
            diffusers.DPMSolverMultistepScheduler(final_sigmas_type="sigma_min"),
            "dpm-solver:order=2:spacing=linspace",
        ),
        (
            diffusers.DEISMultistepScheduler(lower_order_final=False),
            "deis:variant=logrhoab:order=1:spacing=linspace",
        ),
    ],
)
def test_the_same_samples(scheduler, expected):
    steps = 20
    spec, lacks = nearest_sampler(type(scheduler).__name__, scheduler.config)
    assert (spec, lacks) == (expected, "")
    scheduler.set_timesteps(steps)
    x = NOISE.x_T()
    for label in scheduler.timesteps:
        x = scheduler.step(TRUTH(x, float(label) + 1), label, x).prev_sample
    ours = sample(spec, TRUTH, LINEAR, NOISE.x_T(), steps=steps)
    assert float((ours.x0 - x).abs().max()) < 2e-4


@pytest.mark.parametrize(
    ("kind", "config", "spec", "lacks"),
    [
        ("DDPMScheduler", {"variance_type": "fixed_large"}, "ddpm:variance=fixed-large:spacing=uniform:clip=x0", ""),
        ("DDPMScheduler", {"clip_sample": False}, "ddpm:variance=fixed-small:spacing=uniform:clip=none", ""),
        ("PNDMScheduler", {"steps_offset": 1, "skip_prk_steps": True}, "ipndm:spacing=uniform", "steps_offset=1"),
        ("EDMEulerScheduler", {}, "ddim:spacing=karras", ""),
        ("EulerAncestralDiscreteScheduler", {}, "ddim:eta=1:spacing=linspace", ""),
        ("UniPCMultistepScheduler", {}, "unipc:order=2:variant=bh2:final=zero:spacing=linspace", ""),
        ("SASolverScheduler", {}, "", ""),
    ],
)
def test_names(kind, config, spec, lacks):
    assert nearest_sampler(kind, config) == (spec, lacks)
