"""Whole runs, on a tiny untrained model."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import samplerbench
from samplerbench import EDMSchedule, FlowSchedule, SigmasSchedule, UserError, VESchedule, VPSchedule, linear_schedule
from samplerbench.bench import store, worker
from samplerbench.bench.execute import Listener
from samplerbench.bench.plan import told_of_spacings
from samplerbench.bench.record import SCHEMA, columns_of
from samplerbench.images import quantise
from samplerbench.metrics.frechet import frechet_distance, statistics_of
from samplerbench.metrics.reference import load_reference
from samplerbench.plugins import load_plugins

MISBEHAVING = """
from dataclasses import dataclass
import torch
from samplerbench import Sampler, TooFewEvaluations, hookimpl

def make(label, body, **extra):
    def sample(self, eps, grid, x, noise):
        return body(eps, grid, x)
    namespace = {"name": label, "sample": sample, "__module__": __name__, "__annotations__": {}, **extra}
    return dataclass(frozen=True, kw_only=True)(type(label, (Sampler,), namespace))

def explode(eps, grid, x):
    raise ValueError("inner trouble")

def overspend(eps, grid, x):
    for t in grid.times[:-1]:
        x = x - 0.1 * eps(x, t)
        x = x - 0.1 * eps(x, t)
    return x

def steps_fail(self, nfe):
    raise RuntimeError("cannot count")

@hookimpl
def samplerbench_samplers(register):
    register(make("raises", explode))
    register(make("wrong-shape", lambda eps, grid, x: x[:, :, :5]))
    register(make("nan", lambda eps, grid, x: x * float("nan")))
    register(make("elsewhere", lambda eps, grid, x: x.to("meta")))
    register(make("no-tensor", lambda eps, grid, x: None))
    register(make("wrong-dtype", lambda eps, grid, x: x.double()))
    register(make("overspends", overspend))
    register(make("cannot-plan", lambda eps, grid, x: x, steps=steps_fail))
    register(make("three-a-step", lambda eps, grid, x: x, evaluations=lambda self, steps: 3 * steps))
    register(make("fine", lambda eps, grid, x: x.clamp(-1, 1)))
"""


@pytest.fixture
def misbehaving(tmp_path):
    path = tmp_path / "misbehaving.py"
    path.write_text(MISBEHAVING)
    return str(path)


@pytest.fixture
def go(tiny_model, tmp_path):
    def run(samplers, out="out", **options):
        options = {"samples": 40, "batch_size": 16, "model": str(tiny_model), "device": "cpu", "fresh": True} | options
        if "steps" not in options:
            options.setdefault("nfe", [2, 4])
        return samplerbench.run(samplers, out=tmp_path / out, **options)

    return run


def test_a_run_leaves_what_it_says(go, tmp_path, tiny_model):
    frame = go("ddim,dpm:order=1,ddpm")
    assert list(frame.columns) == columns_of(["fid"])
    assert (frame["schema"] == SCHEMA).all()
    assert (frame["fid_n"] == 40).all()
    assert frame["sampler"].tolist() == ["ddim"] * 2 + ["dpm-solver:order=1"] * 2 + ["ddpm"] * 2
    assert frame["nfe"].tolist() == [2, 4] * 3
    assert (frame["status"] == "done").all()
    assert np.isfinite(frame["fid"]).all()
    on_disk = pd.read_csv(tmp_path / "out" / "results.csv", dtype={"fid": str})
    assert on_disk["fid"].astype(float).tolist() == frame["fid"].tolist()
    assert on_disk["sampler_sha256"].nunique() == 3
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["status"] == "finished"
    assert run["samplers"]["ddim"]["distribution"].startswith("samplerbench ")
    assert run["environment"]["packages"]["torch"] == torch.__version__
    assert run["model"]["sha256"] == on_disk["model_sha256"][0]
    pictures = sorted(path.name for path in (tmp_path / "out" / "samples").iterdir())
    names = [f"{s.replace(':', '_')}_nfe={n}" for s, n in zip(frame["sampler"], frame["budget"], strict=True)]
    assert pictures == sorted(f"{name}-{key[:8]}-40.png" for name, key in zip(names, frame["key"], strict=True))
    with Image.open(tmp_path / "out" / "samples" / pictures[0]) as picture:
        assert picture.size[0] > 200


def test_fid_is_that_of_the_samples(go, tiny_model):
    """The figure of a run is the one computed by hand: same noise, the sampler's own loop, quantised, one batch."""
    frame = go("ddim", nfe=[3])
    model, extractor = samplerbench.load_model(str(tiny_model)), load_plugins().extractor("fashion-mnist-cnn")
    x = samplerbench.NoiseSource(0, range(40), (1, 28, 28)).x_T()
    x0 = samplerbench.sample("ddim", model.epsilon(), model.schedule, x, nfe=3).x0
    features = extractor(quantise(x0)).double().numpy()
    reference = load_reference(model.reference, extractor, model.image_shape)
    by_hand = frechet_distance(statistics_of(torch.from_numpy(features)), reference.statistics)
    assert frame["fid"][0] == pytest.approx(by_hand, rel=1e-6)


def test_batch_size_and_company_change_nothing_but_rounding(go):
    alone = go("ddpm", "a", nfe=[4], batch_size=40)
    together = go("ddim,ddpm", "b", nfe=[2, 4], batch_size=7)
    row = together[(together["sampler"] == "ddpm") & (together["budget"] == 4)].iloc[0]
    assert row["fid"] == pytest.approx(alone["fid"][0], rel=1e-3)
    seeded = go("ddpm", "c", nfe=[4], batch_size=40, seed=1)
    assert seeded["fid"][0] != alone["fid"][0]


def test_what_a_sampler_needs_and_the_model_lacks_is_a_reason(go):
    frame = go("analytic-ddpm,ddpm")
    assert frame["status"].tolist() == ["skipped"] * 2 + ["done"] * 2
    assert frame["reason"][0].startswith("analytic-ddpm is unsuitable: this model does not hold the mean square of ε_θ")


def test_steps_are_counted_in_evaluations(go):
    frame = go("ddim,dpm", steps="3,5")
    assert frame["steps"].tolist() == [3, 5, 3, 5]
    assert frame["nfe"].tolist() == [3, 5, 3, 5]
    assert frame["budget"].isna().all()


def test_one_failing_sampler_costs_only_its_own_cells(go, misbehaving, tmp_path):
    names = "raises,wrong-shape,nan,elsewhere,no-tensor,wrong-dtype,overspends,cannot-plan,three-a-step,fine"
    frame = go(names, nfe=[2, 4], plugins=[misbehaving]).set_index(["sampler", "budget"])
    reasons = {name: frame.loc[(name, 2), "reason"] for name in names.split(",")}
    assert reasons["raises"] == "ValueError: inner trouble"
    assert reasons["wrong-shape"] == "BadSample: wrong-shape returned shape [16, 1, 5, 28], expected [16, 1, 28, 28]"
    assert reasons["nan"] == "BadSample: nan returned NaN or infinite values in 16 of 16 samples"
    assert reasons["elsewhere"] == "BadSample: elsewhere returned a tensor on meta, expected cpu"
    assert reasons["no-tensor"] == "BadSample: no-tensor returned NoneType, expected a tensor"
    assert reasons["wrong-dtype"] == "BadSample: wrong-dtype returned torch.float64, expected torch.float32"
    assert reasons["overspends"] == "BudgetExceeded: asked for evaluation 3 on a budget of 2"
    assert reasons["cannot-plan"] == "RuntimeError: cannot count"
    assert reasons["three-a-step"] == "three-a-step needs at least 3 evaluations, got 2"
    status = frame["status"].unstack()
    assert (status.drop(["three-a-step", "fine"]) == "failed").all(axis=None)
    assert status.loc["three-a-step"].tolist() == ["skipped", "done"]
    assert status.loc["fine"].tolist() == ["done", "done"]
    assert frame.loc[("fine", 2), "nfe"] == 0  # it asked the network nothing, and that is what is counted
    traceback = next((tmp_path / "out" / "errors").glob("raises_nfe=2-*.txt")).read_text()
    assert "misbehaving.py" in traceback
    assert "ValueError: inner trouble" in traceback


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ("100/200/0", "must be decreasing, got 100, 200, 0"),
        ("2000/200/0", r"must lie in \[0, 1000\], got 2000, 200, 0"),
    ],
)
def test_listed_times_that_are_no_grid_are_an_error_at_once(go, times, message):
    with pytest.raises(UserError, match=f"ddim:spacing={times}: times {message}"):
        go(f"ddim,ddim:spacing={times}")


def test_impossible_budgets_are_skipped_with_the_reason(go):
    frame = go("ddim,ddim:spacing=uniform", nfe=[2, 900])
    assert frame["status"].tolist() == ["done", "skipped", "done", "done"]
    assert frame["reason"][1] == "900 distinct times were asked for; quadratic spacing has 801 on this schedule"


def test_duplicates_are_run_once(go):
    assert len(go("ddim,ddim:eta=0,ddim", nfe=[2, 2])) == 1


def test_out_of_memory_halves_the_batch_and_says_so(go, monkeypatch):
    class Full(Listener):
        texts: list[str] = []  # noqa: RUF012

        def notice(self, text):
            self.texts.append(text)

    real = worker.draw

    def draw(sampler, epsilon, grid, x, *others):
        if len(x) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(sampler, epsilon, grid, x, *others)

    expected = go("ddim", "plenty", nfe=[2])
    monkeypatch.setattr(worker, "draw", draw)
    frame = go("ddim", "scarce", nfe=[2], listener=Full())
    assert Full.texts == ["out of memory: going on with batches of 8", "out of memory: going on with batches of 4"]
    assert frame["batch_size"].tolist() == [4]
    assert frame["fid"][0] == pytest.approx(expected["fid"][0], rel=1e-3)


def test_no_memory_for_a_single_sample_fails_the_cell(go, monkeypatch):
    def draw(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(worker, "draw", draw)
    frame = go("ddim", nfe=[2])
    assert frame["status"].tolist() == ["failed"]
    assert "OutOfMemoryError" in frame["reason"][0]


def test_interrupted_runs_keep_their_finished_rows(go, tmp_path):
    class Impatient(Listener):
        def start(self, cell):
            if cell.cell.value == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go("ddim", listener=Impatient())
    rows = pd.read_csv(tmp_path / "out" / "results.csv")
    assert rows["nfe"].tolist() == [2]
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "interrupted"


def test_a_row_is_on_disk_before_the_next_cell_starts(go, tmp_path):
    class Reader(Listener):
        seen: list[int] = []  # noqa: RUF012

        def start(self, cell):
            self.seen.append(len(pd.read_csv(tmp_path / "out" / "results.csv")))

    go("ddim", nfe=[1, 2, 3], listener=Reader())
    assert Reader.seen == [0, 1, 2]


def test_a_full_disk_is_one_line_and_loses_nothing(go, tmp_path, monkeypatch):
    real, rows = store.os.fsync, tmp_path / "out" / "results.csv"

    def fsync(fd):
        if rows.exists() and len(rows.read_text().splitlines()) == 3:  # the header, the first row, and now the second
            raise OSError(28, "No space left on device")
        real(fd)

    monkeypatch.setattr(store.os, "fsync", fsync)
    with pytest.raises(UserError, match=r"results\.csv cannot be written: No space left on device; the rows before"):
        go("ddim", nfe=[1, 2, 3])
    assert pd.read_csv(rows)["nfe"].tolist() == [1]


class TestBadRequests:
    def test_out(self, go, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(UserError, match="is a file, expected a folder"):
            go("ddim", "file")
        with pytest.raises(UserError, match="cannot be written: Not a directory"):
            go("ddim", "file/below")
        (tmp_path / "edited").mkdir()
        (tmp_path / "edited" / "results.csv").write_text("sampler,fid\nddim,1.0\n")
        with pytest.raises(UserError, match="is of another version of samplerbench, or was edited"):
            go("ddim", "edited")
        assert (tmp_path / "edited" / "results.csv").read_text() == "sampler,fid\nddim,1.0\n"

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"nfe": [0]}, "nfe is from 1 to 100000, got 0"),
            ({"nfe": "-3"}, "nfe is from 1 to 100000, got -3"),
            ({"nfe": "ten"}, "nfe is whole numbers separated by commas, like 5,10,20, got 'ten'"),
            ({"nfe": "5", "steps": "5"}, "not --nfe and --steps"),
            ({"nfe": []}, "no nfe was given"),
            ({"samples": 1}, "samples is at least 2"),
            ({"seed": -1}, "seed is at least 0"),
            ({"batch_size": 0}, "batch-size is at least 1, got 0"),
            ({"batch_size": 10**20}, "batch-size is at most 10000000, got"),
            ({"samples": 10**20}, "samples is at most 10000000, got"),
            ({"nfe": [10**20]}, "nfe is from 1 to 100000, got"),
            ({"data_root": "nosuch"}, "--data-root nosuch: no such file or folder"),
            ({"dtype": "float23"}, "unknown dtype 'float23'; did you mean 'float32'"),
            ({"device": "gpu"}, "unknown device 'gpu'"),
            ({"model": "fashion-mnits"}, "unknown model"),
            ({"extractor": "inception"}, "unknown extractor 'inception'; did you mean 'inception-v3-compat'"),
            ({"reference": "nowhere.npz"}, "--reference nowhere.npz: no such file"),
            ({"extractor_weights": "nowhere"}, "no such file or folder"),
            ({"sampels": 3}, "unknown option of run 'sampels'; did you mean 'samples'"),
            ({"plugins": ["nowhere.py"]}, "no such file"),
        ],
    )
    def test_options(self, go, tmp_path, options, message):
        with pytest.raises(UserError, match=message):
            go("ddim", **options)
        assert not (tmp_path / "out").exists()

    def test_samplers(self, go):
        with pytest.raises(UserError, match="did you mean 'ddim'"):
            go("dimd")
        with pytest.raises(UserError, match="no sampler was named"):
            go([])

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    def test_cuda_where_there_is_none(self, go):
        with pytest.raises(UserError, match="this machine has 0 usable CUDA devices; use --device cpu"):
            go("ddim", device="cuda")

    def test_reference_of_another_extractor(self, go, tiny_model, tmp_path):
        with np.load(tiny_model / "reference.npz") as arrays:
            changed = dict(arrays)
        changed["provenance"] = np.array(str(changed["provenance"]).replace("fashion-mnist-cnn", "another"))
        np.savez(tmp_path / "other.npz", **changed)
        with pytest.raises(UserError, match="was made with extractor 'another'"):
            go("ddim", reference=tmp_path / "other.npz")


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_other_precisions_are_near(go, dtype):
    expected, got = go("ddim", "a", nfe=[3]), go("ddim", dtype, nfe=[3], dtype=dtype)
    assert got["dtype"][0] == dtype
    assert math.isclose(got["fid"][0], expected["fid"][0], rel_tol=0.1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_cuda_agrees_with_cpu(go):
    cpu, cuda = go("ddim,dpm", "cpu"), go("ddim,dpm", "cuda", device="cuda")
    assert np.allclose(cpu["fid"], cuda["fid"], rtol=1e-2)


def test_a_default_spacing_of_time_is_told_where_time_is_sigma():
    """Half-way in time σ/α is half its largest on EDM's path and on even sigmas; on a list of even log σ it is not."""
    registry = load_plugins()
    specs = ["ddpm", "ddim", "dpm", "heun", "ddim:spacing=linspace", "deis:spacing=logsnr"]
    samplers = [registry.sampler(spec) for spec in specs]
    even, geometric = np.linspace(0.01, 50, 100), np.geomspace(0.01, 50, 100)
    for path in (EDMSchedule(), SigmasSchedule(even)):
        (line,) = told_of_spacings(samplers, path)
        assert "ddpm (uniform), ddim (quadratic) by default; try :spacing=karras" in line
        assert not told_of_spacings(samplers[2:], path)
    for path in (SigmasSchedule(geometric), VESchedule(), FlowSchedule(), linear_schedule(), VPSchedule()):
        assert not told_of_spacings(samplers, path)
