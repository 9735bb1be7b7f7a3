"""Each example of docs/models.md runs as it stands, and means what the papers mean."""

from __future__ import annotations

import json
import re
import shlex
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

import samplerbench
from samplerbench.diffusion.paths import PATHS
from samplerbench.diffusion.spacing import SPACINGS
from samplerbench.models.formats.ddpm_ckpt import SIZES
from samplerbench.models.formats.guided_flags import flags_of
from samplerbench.plugins import load_plugins

PAGE = (Path(__file__).parents[1] / "docs" / "models.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
FACTORIES = {name: code for code in EXAMPLES for name in re.findall(r"^def (edm|flow)\(", code, re.MULTILINE)}
(NETWORK,) = [code for code in EXAMPLES if "class MyNetwork" in code]


@pytest.fixture
def factory(tmp_path, monkeypatch):
    """The spec of a documented factory, with its network and weights beside it."""
    (tmp_path / "my_networks.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    network = torch.nn.Module()
    network.mix = torch.nn.Conv2d(1, 1, 3, padding=1)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")

    def of(name):
        path = tmp_path / "my_model.py"
        path.write_text(FACTORIES[name])
        return f"{path}:{name}"

    return of


def test_they_are_short():
    assert {name: len(code.strip().splitlines()) for name, code in FACTORIES.items()} == {"edm": 19, "flow": 19}


def test_edm(factory):
    """D = c_skip x + c_out F(c_in x; c_noise), Karras et al. 2022, eq. 7 and table 1, with x = x_0 + σ ε."""
    model = samplerbench.load_model(factory("edm"))
    network, epsilon = model.checkpoint.network, model.epsilon()
    noise = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    for sigma in (0.01, 0.7, 60.0):
        x = sigma * noise
        root = (sigma**2 + 0.5**2) ** 0.5
        raw = network(x / root, torch.full((3,), np.log(sigma) / 4))
        denoised = 0.25 / root**2 * x + sigma * 0.5 / root * raw
        preserving = x / (1 + sigma**2) ** 0.5
        assert torch.allclose(epsilon.x0(preserving, sigma), denoised, atol=1e-5)
        assert torch.allclose(epsilon(preserving, sigma), (x - denoised) / sigma, atol=1e-4)


def test_flow(factory):
    """x_0 = x - t v and ε = x + (1 - t) v, where v = ε - x_0 (Liu et al. 2023)."""
    model = samplerbench.load_model(factory("flow"))
    network, epsilon = model.checkpoint.network, model.epsilon()
    x = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    for t in (0.1, 0.5, 0.9, 1.0):
        velocity = network(x, torch.full((3,), 1000 * t))
        preserving = x / (t**2 + (1 - t) ** 2) ** 0.5
        assert torch.allclose(epsilon(preserving, t), x + (1 - t) * velocity, atol=1e-5)
        assert torch.allclose(epsilon.x0(preserving, t), x - t * velocity, atol=1e-5)


def test_the_commands_run_as_they_stand(tmp_path, monkeypatch, command):
    """In a folder with the three pieces of code; `PYTHONPATH=.` is what puts it on the path, where the page says so."""
    (tmp_path / "my_networks.py").write_text(NETWORK)
    (tmp_path / "my_model.py").write_text(FACTORIES["flow"])
    start = PAGE.index("this runs as it stands:")
    block = PAGE[start : PAGE.index("Where noise is at t = 0", start)]
    first, *lines = [shlex.split(line) for line in block.splitlines() if line.startswith("    ")]
    monkeypatch.chdir(tmp_path)
    assert first[:2] == ["python", "-c"]  # which finds modules in the folder it is called in
    with monkeypatch.context() as path:
        path.syspath_prepend(tmp_path)
        exec(first[2], {})
    monkeypatch.delitem(sys.modules, "my_networks")
    for line in lines:
        with monkeypatch.context() as path:
            if line[0] == "PYTHONPATH=.":
                path.syspath_prepend(tmp_path)
                line = line[1:]
            assert line[0] == "samplerbench"
            code, _, error = command(*line[1:])
            assert code == 0, error
    (rows,) = (tmp_path / "results").glob("*/results.csv")
    assert list(pd.read_csv(rows)["status"]) == ["done", "done"]


def test_every_field_of_a_checkpoint_is_named():
    table = PAGE[PAGE.index("**What else a Checkpoint may say.**") : PAGE.index("## A path, a spacing")]
    named = {"network", "schedule", "preconditioning", "sample_shape", *re.findall(r"^\| `(\w+)`", table, re.MULTILINE)}
    assert named == {field.name for field in fields(samplerbench.Checkpoint)}


def test_the_flags_and_shapes_of_the_page():
    (text,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    flags = flags_of(json.loads(text), "")
    assert (flags.variance, flags.label_factor, flags.head_width) == ("learned-range", 0.25, 64)
    rows = re.findall(r"^\| ([\d, ]+) \| (\d) \| (\d+) \|", PAGE, re.MULTILINE)
    assert {(tuple(map(int, grow.split(", "))), int(at)): int(side) for grow, at, side in rows} == SIZES


@pytest.mark.parametrize("name", FACTORIES)
def test_a_run(factory, name, tmp_path, tiny_model):
    options = {"reference": tiny_model / "reference.npz", "samples": 8, "out": tmp_path / "out", "device": "cpu"}
    rows = samplerbench.run("ddim,dpm:order=2,ddpm", model=factory(name), nfe=[3], **options)
    assert list(rows["status"]) == ["done"] * 3, list(rows["reason"])
    assert np.isfinite(rows["fid"].astype(float)).all()


def test_the_path_and_the_spacing(tmp_path):
    codes = [code for code in EXAMPLES if "samplerbench_paths" in code or "samplerbench_spacings" in code]
    before = dict(SPACINGS), dict(PATHS)
    for i, code in enumerate(codes):
        (tmp_path / f"plugin{i}.py").write_text(code)
    try:
        registry = load_plugins([str(tmp_path)])
        assert [r.cls.name for r in (*registry.paths, *registry.spacings)] == ["logistic", "sine"]
    finally:
        for table, entries in zip((SPACINGS, PATHS), before, strict=True):
            table.clear()
            table.update(entries)


def test_every_kind_that_it_names_is_there():
    listed = PAGE[PAGE.index("**The path**") : PAGE.index("A sampler sees every path")]
    named = set(re.findall(r"`([a-z-]+)`", listed)) - {"samplerbench list paths", "shift", "zero_terminal_snr"}
    assert named == set(PATHS)
