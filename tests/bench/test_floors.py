"""Floors: what is computed is what a run and a bare FID give, and a report draws it."""

import json
import shutil

import numpy as np
import pytest
import torch

import samplerbench
from samplerbench.diffusion.noise import NoiseSource
from samplerbench.images import quantise
from samplerbench.metrics.frechet_error import frechet
from samplerbench.metrics.reference import load_reference
from samplerbench.models.vae import load_vae
from samplerbench.plugins import load_plugins


def of_npz(model, folder):
    """A copy of a model that says where its test images are."""
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    config["training"] = {"recipe": {"data": {"dataset": "npz"}}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def model(tiny_model, tmp_path):
    return of_npz(tiny_model, tmp_path / "model")


@pytest.fixture
def latent(tiny_latent, tmp_path):
    return of_npz(tiny_latent, tmp_path / "latent")


@pytest.fixture
def real(tmp_path):
    images = torch.randint(0, 256, (40, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    np.savez(tmp_path / "images.npz", images=images[:, 0].numpy(), test_images=images[:, 0].numpy())
    return images


def test_floors_are_what_is_measured_beside_them(command, model, real, tmp_path):
    data = ["--data-root", tmp_path / "images.npz"]
    code, text, errors = command("models", "floors", model, "--samples", "32,48", "--nfe", 4, *data)
    assert code == 0, errors
    first, second, third = json.loads((model / "floors.json").read_text())["floors"]  # there are 40 images, not 48
    rows = samplerbench.run("dpm-solver", nfe=[2, 4], model=model, samples=32, out=tmp_path / "run")
    assert second["value"] == rows["fid"][1]
    assert second["se"] == rows["fid_se"][1]
    assert (third["samples"], first["samples"]) == (48, 32)
    for hashed in ("reference_sha256", "extractor_sha256", "model_sha256"):
        assert second[hashed] == rows[hashed][0]
    extractor = load_plugins().extractor("fashion-mnist-cnn")
    reference = load_reference(model / "reference.npz", extractor, (1, 28, 28))
    expected = frechet(extractor(real[:32]), reference.statistics)
    assert first["value"] == pytest.approx(expected.value, rel=1e-9)
    assert first["model_sha256"] is None
    change = rows["fid"][0] - rows["fid"][1]
    assert f"its own samples, dpm-solver with 4 evaluations; half the evaluations: {change:+.2g}" in text
    code, text, _ = command("report", tmp_path / "run", "-o", tmp_path / "report.html")
    assert code == 0
    assert "real test images" in (tmp_path / "report.html").read_text()


def test_a_latent_model_has_a_floor_of_its_decoder_and_of_each_guidance(command, latent, real, tmp_path):
    data = ["--data-root", tmp_path / "images.npz"]
    code, text, errors = command("models", "floors", latent, "--samples", 32, "--nfe", 4, "--guidance", "1,3", *data)
    assert code == 0, errors
    found = json.loads((latent / "floors.json").read_text())["floors"]
    assert [floor["about"] for floor in found] == [
        "real test images",
        "real test images through its encoder and decoder",
        "its own samples, dpm-solver with 4 evaluations, guidance 1",
        "its own samples, dpm-solver with 4 evaluations, guidance 3",
    ]
    extractor, coder = load_plugins().extractor("fashion-mnist-cnn"), load_vae(latent / "vae")
    reference = load_reference(latent / "reference.npz", extractor, (1, 28, 28))
    noise = NoiseSource(0, range(32), coder.latent_shape).x_T()
    back = quantise(coder.decode(coder.encode(real[:32], noise)))
    expected = frechet(extractor(back), reference.statistics)
    assert found[1]["value"] == pytest.approx(expected.value, rel=1e-6)
    assert found[1]["value"] > found[0]["value"]
    assert f"; the images themselves: {found[0]['value'] - found[1]['value']:+.2g}" in text
    rows = samplerbench.run("dpm-solver", nfe=[2, 4], model=latent, samples=32, guidance=[1, 3], out=tmp_path / "run")
    assert [found[2]["value"], found[3]["value"]] == rows["fid"].tolist()[1::2]
    assert {floor.get("model_sha256") for floor in found} == {None, rows["model_sha256"][0]}
    assert found[3]["asked_sha256"] == rows["asked_sha256"][0]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["fashion-mnist"], "'fashion-mnist' is no folder that floors.json could stand in; say where with --out FILE"),
        (["--nfe", "1"], "floors are of one sampler with one number of evaluations, 2 or more"),
        (["--samples", "1"], "samples is at least 2"),
        (["--samples", "2,x"], "samples is whole numbers separated by commas"),
        (["--sampler", "dddim"], "did you mean 'ddim'"),
        (["--guidance", "2"], "is asked for nothing, so there is nothing to lean away from"),
        ([], "no floor of real images: model 'tiny' does not say which dataset it was trained on"),
    ],
)
def test_bad_input(command, tiny_model, arguments, line):
    model = [] if arguments and arguments[0] == "fashion-mnist" else [tiny_model]
    code, _, errors = command("models", "floors", *model, *arguments)
    assert code != 0
    assert line in errors
    assert len(errors.splitlines()) == 1
    assert not (tiny_model / "floors.json").exists()
