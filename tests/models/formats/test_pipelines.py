"""A diffusers folder from end to end: our samplers on what we read of it, beside diffusers' own pipelines on the same
folder and the same noise. With SAMPLERBENCH_FULL=1 the network is the CIFAR-10 one of 35.7 M weights.
"""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
import torch

import samplerbench
from samplerbench.diffusion.noise import NoiseSource
from samplerbench.drawing import draw
from samplerbench.sampling import plan_grid

from ..originals import filled

diffusers = pytest.importorskip("diffusers")

CIFAR10 = {
    "sample_size": 32,
    "block_out_channels": (128, 256, 256, 256),
    "layers_per_block": 2,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "freq_shift": 1,
    "flip_sin_to_cos": False,
    "downsample_padding": 0,
    "norm_eps": 1e-6,
    "attention_head_dim": None,
}
SMALL = CIFAR10 | {"sample_size": 16, "block_out_channels": (32, 32, 64, 64), "layers_per_block": 1}


@pytest.fixture(scope="module")
def network():
    return filled(diffusers.UNet2DModel(**(CIFAR10 if os.environ.get("SAMPLERBENCH_FULL") else SMALL))).eval()


@pytest.mark.parametrize(
    ("spec", "steps", "scheduler", "pipeline"),
    [
        ("ddim:spacing=uniform", 10, diffusers.DDIMScheduler, diffusers.DDIMPipeline),
        ("ddpm:clip=none:variance=fixed-small", 20, diffusers.DDPMScheduler, diffusers.DDPMPipeline),
    ],
)
def test_images_are_the_pipelines_own(network, save, monkeypatch, spec, steps, scheduler, pipeline):
    folder = save(scheduler(clip_sample=False), network)
    model = samplerbench.load_model(str(folder))
    noise = NoiseSource(0, range(2), model.sample_shape)
    grid = plan_grid(sampler := samplerbench.plugins.load_plugins().sampler(spec), model.schedule, nfe=steps)
    ours = draw(sampler, model.epsilon(), grid, noise.x_T(), noise, budget=steps)
    assert ours.nfe == steps

    draws = iter([noise.x_T(), *map(noise, range(steps))])
    for function in (pipeline.__call__, scheduler.step):
        module = sys.modules[function.__module__]
        monkeypatch.setattr(module, "randn_tensor", lambda *arguments, **options: next(draws))
    theirs = pipeline.from_pretrained(folder)
    theirs.set_progress_bar_config(disable=True)
    with torch.no_grad():
        images = theirs(batch_size=2, num_inference_steps=steps, output_type="np").images
    difference = np.abs((ours.x0 / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy() - images).max()
    print(f"{sum(p.numel() for p in network.parameters()):,} weights, {spec} in {steps}: {difference:.1e}")
    assert np.std(images) > 0.1
    assert difference < 1e-4
