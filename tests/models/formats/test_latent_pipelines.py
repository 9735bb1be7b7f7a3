"""Latent and text-to-image folders from end to end: our samplers on what we read of them, beside diffusers' own
pipelines on the same folder, noise, prompts and guidance.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

import samplerbench
from samplerbench.diffusion.noise import NoiseSource
from samplerbench.sampling import plan_grid

from .tiny_pipelines import pipeline

diffusers = pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # diffusers' and transformers' own deprecations

STEPS = 5
PROMPTS = ["a red cab", "bees", "a red cab"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Each kind of pipeline, saved once."""
    root = tmp_path_factory.mktemp("pipelines")

    def saved(kind):
        if not (root / kind).exists():
            pipeline(kind).save_pretrained(root / kind)
        return root / kind

    return saved


def theirs(kind, folder, monkeypatch, x, guidance, model, **options):
    """Images [B, H, W, C] in [0, 1] of diffusers' pipeline, as it reads the folder itself."""
    made = getattr(diffusers, type(pipeline(kind)).__name__).from_pretrained(folder)
    made.set_progress_bar_config(disable=True)
    options |= {"num_inference_steps": STEPS, "output_type": "np"}
    if kind == "ldm":
        options |= {"batch_size": len(x)}
    elif kind == "dit":
        options |= {"class_labels": [7, 999, 0], "guidance_scale": guidance}
    else:
        options |= {"prompt": PROMPTS, "guidance_scale": guidance, "latents": x}
    if kind.startswith("sd3"):
        options |= {"sigmas": plan_grid(sampler("ddim"), model.schedule, steps=STEPS).times[:-1]}
    module = sys.modules[type(made).__module__]
    monkeypatch.setattr(module, "randn_tensor", lambda *given, **more: x)
    return made(**options).images


def sampler(spec):
    return samplerbench.plugins.load_plugins().sampler(spec)


CASES = [("ldm", None, {}), *((kind, scale, {}) for kind in ("sd1", "sd2", "sdxl", "dit", "sd3", "sd3-without-t5")
         for scale in (1.0, 3.0)), ("sd2", 3.0, {"guidance_rescale": 0.7})]  # fmt: skip


@pytest.mark.parametrize(("kind", "guidance", "options"), CASES)
def test_images_are_the_pipelines_own(folder, monkeypatch, kind, guidance, options):
    model, rows = samplerbench.load_model(str(folder(kind))), []
    model.predictor.network.register_forward_pre_hook(lambda module, given: rows.append(len(given[0])))
    x = NoiseSource(0, range(3), model.sample_shape).x_T()
    asked = {"ldm": None, "dit": ["7", "thing 999, object 999", "0"]}.get(kind, PROMPTS)
    spec = f"cfg:scale={guidance}:rescale=0.7" if options else guidance
    spacing = "linspace" if kind.startswith("sd3") else "uniform"
    if kind.startswith("sd3"):
        spacing = plan_grid(sampler("ddim"), model.schedule, steps=STEPS)
        ours = samplerbench.sample("ddim", model, x=x, steps=STEPS, prompts=asked, guidance=spec)
    else:
        ours = samplerbench.sample(f"ddim:spacing={spacing}", model, x=x, steps=STEPS, prompts=asked, guidance=spec)
    expected = theirs(kind, folder(kind), monkeypatch, x, guidance, model, **options)
    images = (ours.images / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    difference = np.abs(images - expected).max()
    within = float(((expected > 0) & (expected < 1)).mean())
    print(f"{kind}, guidance {guidance}, {options}: {difference:.1e}; deviation {np.std(expected):.2f}, {within:.0%}")
    assert np.std(expected) > 0.1
    assert within > 0.8
    assert difference < 1e-4
    each = 2 if guidance and guidance > 1 else 1
    assert (ours.nfe, ours.passes, rows) == (STEPS, each * STEPS, [each * 3] * STEPS)
