"""Latent and text-to-image folders from end to end: our samplers on what we read of them, beside diffusers' own
pipelines on the same folder, noise, prompts and guidance.
"""

from __future__ import annotations

import sys
from dataclasses import replace

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
    *((kind, 3.0, {"negative_prompt": 3 * ["old bees"]}) for kind in ("sd1", "sdxl", "sd3")),
]
SPECS = {"guidance_rescale": "cfg:scale=3:rescale=0.7", "negative_prompt": "cfg:scale=3:negative=old bees"}


@pytest.mark.parametrize(("kind", "guidance", "options"), CASES)
def test_images_are_the_pipelines_own(saved_pipeline, monkeypatch, kind, guidance, options):
    path = saved_pipeline(kind)
    model, rows = samplerbench.load_model(str(path)), []
    model.predictor.network.register_forward_pre_hook(lambda module, given: rows.append(len(given[0])))
    without = {"text_encoder_3": None, "tokenizer_3": None} if kind == "sd3-without-t5" else {}
    made = getattr(diffusers, type(pipeline(kind)).__name__).from_pretrained(path, **without)  # as it reads the folder
    made.set_progress_bar_config(disable=True)
    x = NoiseSource(0, range(3), model.sample_shape).x_T()
    asked = {"ldm": None, "dit": ["7", "thing 999, object 999", "0"]}.get(kind, PROMPTS)
    spec = SPECS[next(iter(options))] if options else guidance
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


def drawn(model, prompts=("a red cab", "bees"), **options):
    """Images of two steps."""
    x = NoiseSource(0, range(2), model.sample_shape).x_T()
    return samplerbench.sample("ddim", model, x=x, steps=2, prompts=list(prompts), **options).images


def _towers(model, *numbers):
    model.conditioner.towers = tuple(model.conditioner.towers[i] for i in numbers)


def _labels(model, offset):
    convention = model.predictor.preconditioning
    model.predictor.preconditioning = replace(convention, label=replace(convention.label, offset=offset))


MISTAKES = {
    "prompts in another order": ("sd1", {"prompts": ("bees", "a red cab")}, lambda model: None),
    "the first encoder twice": ("sd3", {}, lambda m: _towers(m, 0, 0, 2)),
    "labels off by one": ("sd1", {}, lambda m: _labels(m, 1)),
    "another size in the time ids": ("sdxl", {}, lambda m: m.predictor.network.ids.mul_(2)),
    "nothing is an empty prompt": ("sdxl", {"guidance": 3}, lambda m: setattr(m.conditioner, "zeros", False)),
    "without T5": ("sd3", {}, lambda m: _towers(m, 0, 1)),
    "another null class": ("dit", {"prompts": ("7", "8"), "guidance": 3}, lambda m: setattr(m.conditioner, "null", 9)),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_this_comparison_would_find(saved_pipeline, mistake):
    kind, options, make = MISTAKES[mistake]
    right, wrong = (samplerbench.load_model(str(saved_pipeline(kind))) for _ in range(2))
    expected = drawn(right, **({} if "another order" in mistake else options))
    make(wrong)
    assert (drawn(wrong, **options) - expected).abs().max() > 1e-3


def test_the_shift_hangs_on_the_resolution(saved_pipeline):
    """That of 256 patches is exp(0.5) and of 4096 exp(1.15), and log-linear between: here there are 16."""
    model = samplerbench.load_model(str(saved_pipeline("sd3-without-t5")))
    shift = np.exp(0.5 + (1.15 - 0.5) * (16 - 256) / (4096 - 256))
    assert model.schedule.shift == pytest.approx(shift, rel=1e-12)
    assert f"shift {shift:.4g}, of 16 patches (exponential time shift)" in model.checkpoint.notes
    assert samplerbench.load_model(str(saved_pipeline("sd3"))).schedule.shift == 3


def test_shapes_and_notes(saved_pipeline):
    model = samplerbench.load_model(str(saved_pipeline("sdxl")))
    assert (model.sample_shape, model.image_shape) == ((4, 8, 8), (3, 16, 16))
    notes = " | ".join(model.checkpoint.notes)
    for part in (
        "told that images are 16 × 16 and not cropped",
        "no watermark",
        "divided by 0.13025 before they are decoded",
        "an empty prompt is zeros",
        "12 by tokenizer, 12 by tokenizer_2",
    ):
        assert part in notes
    names = {file.relative_to(saved_pipeline("sdxl")).parts[0] for file in model.checkpoint.files}
    assert names >= {"model_index.json", "unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "scheduler"}
    dit = samplerbench.load_model(str(saved_pipeline("dit")))
    assert dit.checkpoint.learned_range
    assert any("the first half is ε" in note for note in dit.checkpoint.notes)
    rows = dit.conditioner.rows(["0", "thing 3, object 3", "crane (517)", ""])["labels"]
    assert rows.tolist() == [0, 3, 517, 1000]
    twice = samplerbench.sample(
        "ddpm:variance=learned-range:clip=none", dit, samples=1, steps=3, prompts="7", guidance=2
    )
    assert twice.passes == 6


def test_a_line_is_encoded_once(saved_pipeline):
    model, sizes = samplerbench.load_model(str(saved_pipeline("sd1"))), []
    model.conditioner.towers[0].encoder.register_forward_pre_hook(
        lambda module, given, named: sizes.append(len(named["input_ids"])), with_kwargs=True
    )
    rows = model.rows(["bees", "", "bees", "a cab"])["text"]
    assert sizes == [3]
    assert torch.equal(rows[0], rows[2])
    assert not torch.allclose(rows[0], rows[1], atol=1e-2)
