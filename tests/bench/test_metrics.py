"""Metrics inside a run: a column each, own ones included, and what a failing one costs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import samplerbench
from samplerbench import UserError
from samplerbench.bench.execute import Listener
from samplerbench.bench.record import COLUMNS, columns_of, metrics_in
from samplerbench.bench.worker import Worker

OWN = """
from samplerbench import Measured, Metric, Unmeasurable, hookimpl

class Brightness(Metric):
    name = "brightness"
    direction = "higher"
    about = "mean grey value"

    def measure(self, drawn):
        means = drawn.x0.mean(dim=(1, 2, 3))
        return Measured(float(means.mean()), float(means.std()) / len(means) ** 0.5, len(means))

class Broken(Metric):
    name = "broken"

    def measure(self, drawn):
        raise RuntimeError("no such luck")

class Shy(Metric):
    name = "shy"

    def measure(self, drawn):
        raise Unmeasurable("shy is not measured today")

@hookimpl
def samplerbench_metrics(register):
    for metric in (Brightness, Broken, Shy):
        register(metric)
"""


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return str(path)


@pytest.fixture
def go(tiny_model, tmp_path):
    def run(samplers="ddim", out="out", **options):
        options = {"nfe": [2, 4], "samples": 60, "batch_size": 16, "model": str(tiny_model), "device": "cpu"} | options
        return samplerbench.run(samplers, out=tmp_path / out, **options)

    return run


def test_every_metric_is_three_columns(go):
    names = ["fid", "fid_inf", "kid", "precision", "recall", "isc"]
    frame = go(metrics=",".join(names))
    assert list(frame.columns) == columns_of(names)
    assert metrics_in(list(frame.columns)) == names
    for name in names:
        assert np.isfinite(frame[name]).all(), name
        assert (frame[f"{name}_n"] == 60).all()
    for name in ("kid", "isc"):
        assert (frame[f"{name}_se"] >= 0).all()
    assert frame["fid_se"].isna().all()  # 60 samples are too few for 224 features


def test_too_few_samples_are_a_reason_and_no_failure(go, tmp_path):
    frame = go(metrics="precision,fid", samples=30)
    assert "precision and recall need 40 samples and reference features, got 30 and 300" in frame["reason"][0]
    assert not (tmp_path / "out" / "errors").exists()


def test_an_own_metric_becomes_a_column(go, own, tmp_path):
    frame = go(metrics="brightness,fid", plugins=[own])
    assert list(frame.columns) == columns_of(["brightness", "fid"])
    on_disk = pd.read_csv(tmp_path / "out" / "results.csv", dtype={"brightness": str})
    assert on_disk["brightness"].astype(float).tolist() == frame["brightness"].tolist()
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["metrics"]["brightness"]["direction"] == "higher"
    assert run["metrics"]["brightness"]["sha256"] == frame["brightness_sha256"][0]


def test_a_metric_whose_code_was_changed_is_measured_again(go, own):
    before = go(metrics="brightness", plugins=[own])
    Path(own).write_text(OWN.replace("float(means.mean())", "float(means.mean()) + 1"))
    after = go(metrics="brightness", plugins=[own])
    assert after["brightness"].tolist() == pytest.approx((before["brightness"] + 1).tolist())


def test_a_failing_metric_costs_its_own_column(go, own, tmp_path):
    frame = go(metrics="broken,shy,fid", plugins=[own])
    assert (frame["status"] == "done").all()
    assert frame["broken"].isna().all()
    assert frame["shy"].isna().all()
    assert np.isfinite(frame["fid"]).all()
    assert "broken failed: RuntimeError: no such luck; shy is not measured today" in frame["reason"][0]
    assert "RuntimeError: no such luck" in next((tmp_path / "out" / "errors").glob("ddim_nfe=2-*.txt")).read_text()


def test_another_metric_later_draws_no_sample_again(go, monkeypatch, tmp_path):
    first = go()
    monkeypatch.setattr(Worker, "draw", None)
    more = go(metrics="fid,kid")
    assert np.isfinite(more["kid"]).all()
    assert more["fid"].tolist() == first["fid"].tolist()
    go(metrics="precision")
    on_disk = pd.read_csv(tmp_path / "out" / "results.csv")
    assert {"fid", "kid", "precision"} <= set(metrics_in(list(on_disk.columns)))
    assert on_disk[["fid", "kid", "precision"]].notna().all(axis=None)


def test_distance_to_the_ode_ranks_solvers(go, monkeypatch):
    frame = go("ddim,dpm,ddpm", metrics="ode_rmse", nfe=[10, 20], samples=8)
    rows = frame.set_index(["sampler", "nfe"])["ode_rmse"]
    assert rows["dpm-solver", 20] < rows["dpm-solver", 10]
    assert rows["dpm-solver", 20] < rows["ddim", 20]
    assert (frame["ode_rmse_n"].dropna() == 8).all()
    stochastic = frame[frame["sampler"] == "ddpm"]
    assert stochastic["ode_rmse"].isna().all()
    assert stochastic["reason"].str.contains("ddpm is stochastic").all()
    # in double precision too
    double = go("dpm", "double", metrics="ode_rmse", nfe=[20], samples=8, dtype="float64")
    assert double["ode_rmse"][0] == pytest.approx(rows["dpm-solver", 20], rel=0.01)
    # the solution is kept: the second time nobody solves
    monkeypatch.setattr("samplerbench.metrics.flow_solution.solve_flow", None)
    again = go("ddim", "other", metrics="ode_rmse", nfe=[10], samples=8)
    assert again["ode_rmse"][0] == rows["ddim", 10]


def test_the_bound_is_of_test_images(go, tiny_model, tmp_path):
    config = json.loads((tiny_model / "config.json").read_text())
    assert config["training"] == {}
    frame = go("ddpm", metrics="vlb_bpd", steps=[3], nfe=None)
    assert frame["reason"][0] == "model 'tiny' does not say which dataset it was trained on"
    model = tmp_path / "model"
    model.mkdir()
    for file in tiny_model.iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    config["training"] = {"recipe": {"data": {"dataset": "npz"}}}
    (model / "config.json").write_text(json.dumps(config))
    pictures = torch.randint(0, 256, (30, 28, 28), dtype=torch.uint8).numpy()
    np.savez(tmp_path / "images.npz", images=pictures, test_images=pictures)
    options = {"metrics": "vlb_bpd", "steps": [3], "nfe": None, "model": str(model)}
    frame = go("ddpm,ddim", "b", data_root=tmp_path / "images.npz", **options)
    assert frame["vlb_bpd"][0] > 1
    assert frame["vlb_bpd_n"][0] == 30
    assert frame["reason"][1] == "ddim has no transition densities"
    # other test images are another result
    np.savez(tmp_path / "images.npz", images=pictures, test_images=pictures // 2)
    other = go("ddpm,ddim", "b", data_root=tmp_path / "images.npz", **options)
    assert other["vlb_bpd"][0] != frame["vlb_bpd"][0]
    assert other["key"].tolist() == frame["key"].tolist()
    assert other["vlb_bpd_sha256"][0] != frame["vlb_bpd_sha256"][0]
    again = go("ddpm,ddim", "b", data_root=tmp_path / "images.npz", **options)
    assert again["finished"][0] == other["finished"][0]


def test_a_metric_that_asks_for_images_has_to_say_so(go, tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from samplerbench import Measured, Metric, hookimpl\nclass Mine(Metric):\n    name = 'mine'\n"
        "    def measure(self, drawn):\n        return Measured(float(drawn.real_images().sum()))\n"
        "@hookimpl\ndef samplerbench_metrics(register):\n    register(Mine)\n"
    )
    frame = go("ddim", metrics="mine", plugins=[str(plugin)])
    assert frame["reason"][0].endswith("mine asks for real images; it has to say so: needs_images = True")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": "fdi"}, "unknown metric 'fdi'; did you mean 'fid'"),
        ({"metrics": ""}, "unknown metric ''"),
        ({"metrics": []}, "no metric was named"),
    ],
)
def test_bad_metrics(go, changes, message):
    with pytest.raises(UserError, match=re.escape(message)):
        go(**changes)


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ('name = "seed"', "name 'seed' is another column's of results.csv"),
        ('name = "fid_se"', "name 'fid_se' is another column's of results.csv"),
        ('name = "a_sha256"', "name 'a_sha256' is another column's of results.csv"),
        ('name = "a/b"', "name is part of file names: expected at most 60 bytes of characters that print, and no '/'"),
        ('name = "a\\x1b[31m"', "expected at most 60 bytes of characters that print"),
        ('name = "a\\ud800"', "expected at most 60 bytes of characters that print"),
        ('name = "a" * 61', "expected at most 60 bytes of characters that print"),
        ('name = "two words"', "must be a word without"),
        ('name = "x"\n    direction = "up"', "direction is 'lower' or 'higher', got 'up'"),
    ],
)
def test_metrics_that_cannot_be_registered(go, tmp_path, definition, message):
    path = tmp_path / "bad.py"
    path.write_text(
        f"from samplerbench import Metric, hookimpl\n\nclass M(Metric):\n    {definition}\n"
        "    def measure(self, drawn): ...\n\n@hookimpl\ndef samplerbench_metrics(register):\n    register(M)\n"
    )
    with pytest.raises(UserError, match=re.escape(message)):
        go(plugins=[str(path)])


def test_a_foreign_reference_is_shown_as_unknown(go, tiny_model, tmp_path):
    notices = []

    class Ears(Listener):
        def notice(self, text):
            notices.append(text)

    with np.load(tiny_model / "reference.npz") as arrays:
        np.savez(tmp_path / "foreign.npz", mu=arrays["mu"], sigma=arrays["sigma"])
    frame = go(metrics="fid,kid", reference=tmp_path / "foreign.npz", listener=Ears())
    assert np.isfinite(frame["fid"]).all()
    assert frame["reference_count"].isna().all()
    assert "does not say its extractor, layer, extractor_sha256, data, data_sha256, count" in notices[0]
    assert "kid needs features of real images, and the reference holds statistics only" in frame["reason"][0]


def test_the_page_on_results_files_documents_every_column():
    text = (Path(__file__).parents[2] / "docs" / "results-files.md").read_text()
    for name, meaning in COLUMNS.items():
        assert f"| `{name}` | {meaning} |" in text
