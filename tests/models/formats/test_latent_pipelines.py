"""Latent and text-to-image folders from end to end: our samplers on what we read of them, beside diffusers' own
pipelines on the same folder, noise, prompts and guidance.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch

import samplerbench
from samplerbench.diffusion.noise import NoiseSource

from .tiny_pipelines import pipeline

diffusers = pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # diffusers' and transformers' own deprecations

STEPS = 5
PROMPTS = ["a red cab", "bees", "a red cab"]


def edited(path, **fields):
    """Sets fields of a JSON file; None deletes one."""
    said = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps({name: value for name, value in said.items() if value is not None}))


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Each kind of pipeline, saved once."""
    root = tmp_path_factory.mktemp("pipelines")

    def saved(kind):
        if not (root / kind).exists():
            pipeline(kind).save_pretrained(root / kind)
        if kind == "dit":  # as in the published ones
            names = {str(i): f"thing {i}, object {i}" for i in range(1000)} | {"134": "crane", "517": "crane"}
            edited(root / kind / "model_index.json", id2label=names)
        return root / kind

    return saved


def times_of(made) -> tuple[float, ...]:
    """Those that diffusers' scheduler takes, in this project's counting; of a flow even ones, before their shift."""
    if isinstance(made.scheduler, diffusers.FlowMatchEulerDiscreteScheduler):
        return tuple(1 - i / STEPS for i in range(STEPS + 1))
    made.scheduler.set_timesteps(STEPS)
    return (*(float(label) + 1 for label in made.scheduler.timesteps), 0.0)


def images_of(made, x, asked, guidance, monkeypatch, **options):
    """Images [B, H, W, C] in [0, 1] of diffusers' pipeline. Its times are its own, but those of a flow, which it shifts
    twice (diffusers' issue 13243) unless they are given.
    """
    options |= {"num_inference_steps": STEPS, "output_type": "np"}
    options |= {} if guidance is None else {"guidance_scale": guidance}
    match type(made).__name__:
        case "LDMPipeline":
            options |= {"batch_size": len(x)}
        case "DiTPipeline":
            options |= {"class_labels": [7, 999, 0]}
        case "StableDiffusion3Pipeline":
            options |= {"prompt": asked, "latents": x, "sigmas": times_of(made)[:-1]}
        case _:
            options |= {"prompt": asked, "latents": x}
    monkeypatch.setattr(sys.modules[type(made).__module__], "randn_tensor", lambda *given, **more: x)
    with torch.no_grad():
        return made(**options).images


CASES = [
    ("ldm", None, {}),
    *((kind, scale, {}) for kind in ("sd1", "sd2", "sdxl", "dit", "sd3", "sd3-without-t5") for scale in (1.0, 3.0)),
    ("sd2", 3.0, {"guidance_rescale": 0.7}),
]


@pytest.mark.parametrize(("kind", "guidance", "options"), CASES)
def test_images_are_the_pipelines_own(folder, monkeypatch, kind, guidance, options):
    path = folder(kind)
    model, rows = samplerbench.load_model(str(path)), []
    model.predictor.network.register_forward_pre_hook(lambda module, given: rows.append(len(given[0])))
    without = {"text_encoder_3": None, "tokenizer_3": None} if kind == "sd3-without-t5" else {}
    made = getattr(diffusers, type(pipeline(kind)).__name__).from_pretrained(path, **without)  # as it reads the folder
    made.set_progress_bar_config(disable=True)
    x = NoiseSource(0, range(3), model.sample_shape).x_T()
    asked = {"ldm": None, "dit": ["7", "thing 999, object 999", "0"]}.get(kind, PROMPTS)
    spec = f"cfg:scale={guidance}:rescale=0.7" if options else guidance
    ours = samplerbench.sample("ddim", model, x=x, times=times_of(made), prompts=asked, guidance=spec)
    expected = images_of(made, x, asked, guidance, monkeypatch, **options)
    images = (ours.images / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    difference = np.abs(images - expected).max()
    within = float(((expected > 0) & (expected < 1)).mean())
    print(f"{kind}, guidance {guidance}, {options}: {difference:.1e}; deviation {np.std(expected):.2f}, {within:.0%}")
    assert np.std(expected) > 0.05
    assert within > 0.8
    assert difference < 1e-4
    each = 2 if guidance and guidance > 1 else 1
    assert (ours.nfe, ours.passes, rows) == (STEPS, each * STEPS, [each * 3] * STEPS)
