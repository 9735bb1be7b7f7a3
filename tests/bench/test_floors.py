"""Floors: what is computed is what a run and a bare FID give, and a report draws it."""

import json
import shutil

import numpy as np
import pytest
import torch

import samplerbench
from samplerbench.metrics.frechet_error import frechet
from samplerbench.metrics.reference import load_reference
from samplerbench.plugins import load_plugins


@pytest.fixture
def model(tiny_model, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    config["training"] = {"recipe": {"data": {"dataset": "npz"}}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


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


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["fashion-mnist"], "'fashion-mnist' is no folder that floors.json could stand in; say where with --out FILE"),
        (["--nfe", "1"], "floors are of one sampler with one number of evaluations, 2 or more"),
        (["--samples", "1"], "samples is at least 2"),
        (["--samples", "2,x"], "samples is whole numbers separated by commas"),
        (["--sampler", "dddim"], "did you mean 'ddim'"),
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
