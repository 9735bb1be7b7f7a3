"""What a scheduler is in our names: every name is one that `--samplers` takes, and where the times are the same, so are
the samples.
"""

from __future__ import annotations

import pytest
import torch

from samplerbench import FlowSchedule, NoiseSource, linear_schedule, sample
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


def test_spacings_of_sigmas():
    assert nearest_sampler("UniPCMultistepScheduler", {"use_exponential_sigmas": True})[0].endswith("spacing=logsnr")
    assert nearest_sampler("UniPCMultistepScheduler", {"use_beta_sigmas": True})[1] == "use_beta_sigmas"


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("kind", ["DPMSolverMultistepScheduler", "UniPCMultistepScheduler"])
def test_solvers_on_flows(kind, shift):
    """diffusers starts at 0.999 or just below 1; linspace would be 0.5 off or more."""
    flow = FlowSchedule(shift=shift)
    truth, noise = GaussianMixture(flow), NoiseSource(3, range(20), (1, 4, 4), dtype=torch.float64)
    scheduler = getattr(diffusers, kind)(
        use_flow_sigmas=True, flow_shift=shift, prediction_type="flow_prediction", timestep_spacing="linspace"
    )
    scheduler.set_timesteps(10)
    x = noise.x_T()
    for s, label in zip(scheduler.sigmas.tolist(), scheduler.timesteps, strict=False):
        eps = truth(x / (s**2 + (1 - s) ** 2) ** 0.5, s / (s + shift * (1 - s)))
        x = scheduler.step(eps - (x - s * eps) / (1 - s), label, x).prev_sample
    spec, lacks = nearest_sampler(kind, scheduler.config)
    ours = sample(spec, truth, flow, noise.x_T(), steps=10)
    assert lacks == ""
    assert float((ours.x0 - x).abs().max()) < 0.01


@pytest.mark.parametrize(("spacing", "step"), [("leading", 50), ("trailing", 50), ("linspace", None)])
def test_times_of_ddim(spacing, step):
    """diffusers goes 50 labels down at each of 20 steps; on linspace alone that is not to its next time."""
    scheduler = diffusers.DDIMScheduler(timestep_spacing=spacing)
    scheduler.set_timesteps(20)
    gaps = set((-scheduler.timesteps.diff()).tolist())
    assert gaps == {step} if step else step not in gaps
    assert ("t - T/n" in nearest_sampler("DDIMScheduler", scheduler.config)[1]) == (step is None)


@pytest.mark.parametrize(
    ("kind", "config", "spec", "lacks"),
    [
        ("DDPMScheduler", {"variance_type": "fixed_large"}, "ddpm:variance=fixed-large:spacing=uniform:clip=x0", ""),
        ("DDPMScheduler", {"clip_sample": False}, "ddpm:variance=fixed-small:spacing=uniform:clip=none", ""),
        ("PNDMScheduler", {"steps_offset": 1, "skip_prk_steps": True}, "ipndm:spacing=uniform", "steps_offset=1"),
        ("EDMEulerScheduler", {}, "ddim:spacing=karras", ""),
        ("EulerAncestralDiscreteScheduler", {}, "ddim:eta=1:spacing=linspace", ""),
        ("UniPCMultistepScheduler", {}, "unipc:order=2:variant=bh2:final=zero:spacing=linspace", ""),
        ("DDIMScheduler", {"timestep_spacing": "linspace"}, "ddim:spacing=linspace:clip=x0", "steps from t to t - T/n"),
        ("DDPMScheduler", {"timestep_spacing": "linspace"}, "ddpm:variance=fixed-small:spacing=linspace:clip=x0", ""),
        ("SASolverScheduler", {}, "", ""),
    ],
)
def test_names(kind, config, spec, lacks):
    assert nearest_sampler(kind, config) == (spec, lacks)
