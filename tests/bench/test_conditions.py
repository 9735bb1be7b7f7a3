"""Runs of models that are asked for something, with guidance as an axis."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

import samplerbench
from samplerbench import UserError
from samplerbench.bench.record import LATER, Record
from samplerbench.bench.store import Store
from samplerbench.diffusion.grid import TimeGrid
from samplerbench.diffusion.noise import NoiseSource
from samplerbench.metrics.bound import joint_terms
from samplerbench.plugins import load_plugins


def rows(folder):
    with (folder / "results.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("a white dress\nboot\n")
    return path


def run(folder, model, **options):
    return samplerbench.run("ddim,heun", model=model, nfe=4, samples=6, batch_size=4, out=folder, **options)


def test_guidance_is_an_axis_and_its_passes_are_counted(tiny_latent, tmp_path):
    found = run(tmp_path / "out", tiny_latent, guidance=[1, 2, "cfg:scale=2:high=1"])
    assert found["guidance"].tolist() == [""] * 2 + ["2"] * 2 + ["cfg:high=1:scale=2"] * 2
    assert found["nfe"].tolist() == [4, 3] * 3
    assert found["passes"].tolist()[:4] == [4, 3, 8, 6]
    assert (found["passes"] > found["nfe"])[4:].all()
    assert (found["passes"] < 2 * found["nfe"])[4:].all()
    assert found["key"].nunique() == 6
    assert found["asked_sha256"].nunique() == 1
    assert (found["seconds_decoding"] > 0).all()
    assert found["fid"].nunique() == 6
    plain = run(tmp_path / "plain", tiny_latent)
    assert plain["fid"].tolist() == found["fid"].tolist()[:2]
    assert plain["key"].tolist() == found["key"].tolist()[:2]  # a scale of 1 is no guidance


def test_a_budget_of_passes(tiny_latent, tmp_path):
    found = samplerbench.run("ddim", model=tiny_latent, passes="5,8", samples=4, guidance=[1, 2], out=tmp_path / "out")
    assert list(zip(found["budget"], found["nfe"], found["passes"], strict=True)) == [
        (5, 5, 5), (8, 8, 8), (2, 2, 4), (4, 4, 8),
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"--passes 1 pays for no guided evaluation, which takes two \(guidance 2\)"):
        samplerbench.run("ddim", model=tiny_latent, passes=1, guidance=2)
    with pytest.raises(UserError, match="not --nfe and --passes"):
        samplerbench.run("ddim", model=tiny_latent, passes=1, nfe=2)


def test_prompts_are_in_the_key(tiny_latent, tmp_path, prompts):
    default, asked = run(tmp_path / "a", tiny_latent), run(tmp_path / "b", tiny_latent, prompts=prompts)
    assert not set(default["key"]) & set(asked["key"])
    assert default["asked_sha256"][0] != asked["asked_sha256"][0]
    again = run(tmp_path / "b", tiny_latent, prompts=prompts)
    assert again["cached"].tolist() == asked["cached"].tolist()  # rows of the first run


def test_a_worker_in_another_process_draws_the_same(tiny_latent, tmp_path, prompts, monkeypatch):
    one = run(tmp_path / "one", tiny_latent, guidance=2, prompts=prompts)
    monkeypatch.setenv("SAMPLERBENCH_CACHE", str(tmp_path / "other"))
    two = run(tmp_path / "two", tiny_latent, guidance=2, prompts=prompts, workers=1)
    for column in ("key", "fid", "nfe", "passes", "guidance"):
        assert one[column].tolist() == two[column].tolist()


def test_a_run_is_repeated_with_its_prompts_and_guidance(tiny_latent, tmp_path, prompts, command):
    run(tmp_path / "one", tiny_latent, guidance=[1, 2], prompts=prompts)
    said = json.loads((tmp_path / "one/run.json").read_text())["config"]
    assert said["guidance"] == ["1", "2"]
    code, _, errors = command("run", "--config", tmp_path / "one/run.json", "--out", tmp_path / "two", "--quiet")
    assert code == 0, errors
    assert [row["key"] for row in rows(tmp_path / "two")] == [row["key"] for row in rows(tmp_path / "one")]


def test_rows_without_these_columns_are_read(tiny_model, tmp_path):
    """Results of earlier versions: a model that is asked for nothing, without guidance."""
    found = run(tmp_path / "out", tiny_model)
    assert found["guidance"].tolist() == ["", ""]
    written = pd.read_csv(tmp_path / "out/results.csv", dtype=str, keep_default_na=False)
    written.drop(columns=list(LATER)).to_csv(tmp_path / "out/results.csv", index=False)
    store = Store(tmp_path / "out", lambda text: pytest.fail(text))
    records = store.open()
    store.close()
    assert [type(record) for record in records] == [Record, Record]
    assert run(tmp_path / "out", tiny_model)["finished"].tolist() == found["finished"].tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"guidance": -1}, "scale is a number from 0 up"),
        ({"guidance": "cfg:scale=2:low=1000"}, "no σ/α of this path"),
        ({"guidance": "auto:scale=2"}, "model names the worse model"),
        ({"guidance": ""}, "unknown guider ''"),
        ({"prompts": "none.txt"}, "cannot be read"),
    ],
)
def test_bad_conditions_end_a_run_before_it_starts(tiny_latent, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        run(tmp_path / "out", tiny_latent, **options)
    assert not (tmp_path / "out/results.csv").exists()


def test_prompts_that_the_model_does_not_know(tiny_latent, tiny_model, tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("a boot\na boat\n")
    with pytest.raises(UserError, match="unknown word in prompt 'a boat': 'boat'; did you mean 'boot'"):
        run(tmp_path / "out", tiny_latent, prompts=path)
    with pytest.raises(UserError, match="model 'tiny' cannot be asked for anything"):
        run(tmp_path / "out", tiny_model, prompts=path)


def test_a_table_tells_guidances_apart(tiny_latent, tmp_path, command):
    code, out, errors = command(
        "run", "--model", tiny_latent, "--samplers", "ddim,dpm", "--nfe", "4", "--samples", "8", "--guidance", "1,4",
        "--out", tmp_path / "out", "--baseline", "ddim",
    )  # fmt: skip
    assert code == 0, errors
    assert "ddim (quadratic), guidance 4" in out
    assert "more than once" not in out
    code, out, errors = command("table", tmp_path / "out", "--where", "guidance=4")
    assert code == 0, errors
    assert out.count("guidance 4") == 2


def test_the_bound_of_a_latent_model_has_the_vaes_terms(tiny_latent, tmp_path):
    model, pictures = tmp_path / "model", np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    shutil.copytree(tiny_latent, model)
    config = json.loads((model / "config.json").read_text())
    config["training"] = {"recipe": {"data": {"dataset": "npz"}}}
    (model / "config.json").write_text(json.dumps(config))
    np.savez(tmp_path / "images.npz", images=pictures, test_images=pictures)
    found = samplerbench.run(
        "ddpm:clip=none", steps=3, model=model, samples=4, guidance=[1, 2], metrics="vlb_bpd",
        data_root=tmp_path / "images.npz", out=tmp_path / "out",
    )  # fmt: skip
    assert found["vlb_bpd_n"].tolist()[0] == 20
    assert found["reason"].tolist()[1] == "vlb_bpd is of what the model predicts, without guidance"
    loaded = samplerbench.load_model(str(model))
    coder, images = loaded.checkpoint.decoder, torch.from_numpy(pictures)[:, None]
    epsilon, grid = loaded.epsilon("float32", [""] * 20), TimeGrid.make(loaded.schedule, 3)
    noise, sampler = NoiseSource(0, range(20), (2, 7, 7)), load_plugins().sampler("ddpm:clip=none")
    terms = joint_terms(sampler, epsilon, grid, coder, images, noise.x_T(), noise)
    assert found["vlb_bpd"][0] == pytest.approx(float(terms.total.mean()), rel=1e-6)


@pytest.mark.parametrize(
    ("sampler", "advice"),
    [
        (
            "ddpm",
            "limits the predicted x_0 to the range of pixels, .* latents, which have no such range; use clip=none",
        ),
        ("ddim:clip=x0-and-eps", "use clip=none"),
        ("analytic-ddpm:clip=none", "clip_pixel is of grey levels, .* latents; use clip_pixel=none"),
    ],
)
def test_what_limits_pixels_is_unsuitable_for_latents(tiny_latent, tmp_path, sampler, advice):
    found = samplerbench.run(sampler, nfe=4, model=tiny_latent, samples=4, guidance=[1, 2], out=tmp_path / "out")
    assert found["status"].tolist() == ["skipped", "skipped"]
    assert found["reason"].str.contains(advice).all()
    with pytest.raises(UserError, match=advice):
        samplerbench.sample(sampler, str(tiny_latent), samples=2, nfe=4, guidance=2)


def test_sample_draws_those_of_a_run(tiny_latent, tmp_path, command):
    picture = tmp_path / "boots.png"
    code, out, errors = command(
        "sample", "--model", tiny_latent, "--prompt", "a boot", "--prompt", "white dress", "--sampler", "ddim",
        "--nfe", "4", "--guidance", "2", "--out", picture,
    )  # fmt: skip
    assert code == 0, errors
    assert out == f"{picture}: 2 samples in 4 evaluations, 8 passes through the network each\n"
    assert picture.read_bytes().startswith(b"\x89PNG")
    strip = tmp_path / "strip.png"
    asked = ["--model", tiny_latent, "--trajectory", "--count", 2, "--nfe", 4]
    code, out, errors = command("sample", *asked, "--out", strip)
    assert code == 0, errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "boots.jpg"], "expected a name that ends in .png"),
        (["--count", "0"], "--count is from 1 to 4096, got 0"),
        (["--nfe", "4", "--steps", "4"], "give --nfe or --steps, not both"),
        (["--nfe", "0"], "nfe is at least 1, got 0"),
        (["--prompt", "boot"], "cannot be asked for anything"),
        (["--guidance", "2"], "is asked for nothing"),
    ],
)
def test_bad_samples(tiny_model, tmp_path, command, options, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, errors = command("sample", "--model", tiny_model, *options)
    assert code == 2
    assert message in errors
    assert errors.count("\n") == 1


def test_class_accuracy_is_paired_where_some_prompts_name_no_class(tiny_latent, tmp_path, command):
    """Its count is of those that do, its influences are of all: they are those of a ratio."""
    (tmp_path / "prompts.txt").write_text("a boot\nwhite\na dress\n")
    found = run(tmp_path / "out", tiny_latent, prompts=tmp_path / "prompts.txt", metrics="class_accuracy")
    assert found["class_accuracy_n"].tolist() == [4, 4]
    code, out, errors = command("compare", tmp_path / "out", "--baseline", "ddim", "--metric", "class_accuracy")
    assert code == 0, errors
    assert "damaged" not in out + errors
    assert "unpaired" not in out + errors
