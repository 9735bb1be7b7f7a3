"""What a row promises is there, before it, whole, and its own."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import samplerbench
from samplerbench import NoiseSource, UserError, linear_schedule
from samplerbench.bench import task, worker
from samplerbench.bench.execute import Listener
from samplerbench.bench.influences import Kept, influence_path, load_kept, save_kept
from samplerbench.bench.shards import PARTS, Batch, Shard
from samplerbench.bench.store import Store, _file_name
from samplerbench.check.mixture import GaussianMixture
from samplerbench.drawing import draw
from samplerbench.files import Damaged, load_arrays, save_arrays, write_whole
from samplerbench.plugins import load_plugins
from samplerbench.sampling import plan_grid


@pytest.fixture
def drawn(monkeypatch):
    """How many samples were really drawn; shards hold 16."""
    counts, real = [], worker.draw

    def draw(sampler, epsilon, grid, x, *others):
        counts.append(len(x))
        return real(sampler, epsilon, grid, x, *others)

    monkeypatch.setattr(worker, "draw", draw)
    monkeypatch.setattr(task, "SHARD", 16)
    return counts


@pytest.fixture
def go(tiny_model, tmp_path):
    def run(samplers="ddim,ddpm", out="out", **options):
        options = {"samples": 40, "nfe": [2], "batch_size": 8, "model": str(tiny_model), "device": "cpu"} | options
        return samplerbench.run(samplers, out=tmp_path / out, **options)

    return run


class Notices(Listener):
    def __init__(self):
        self.texts = []

    def notice(self, text):
        self.texts.append(text)


def contents(out: Path) -> dict[str, bytes]:
    """Every artefact of a run by name, and its rows without times."""
    found = {
        str(file.relative_to(out)): file.read_bytes()
        for folder in ("samples", "influences", "errors")
        for file in (out / folder).glob("*")
    }
    rows = pd.read_csv(out / "results.csv")
    apart = ("finished", "cached", "checksum", "images_per_second", "memory_mb")
    times = [name for name in rows.columns if name.startswith("seconds") or name in apart]
    status = json.loads((out / "run.json").read_text())["status"]
    return found | {"rows": rows.drop(columns=times).to_csv().encode(), "status": status.encode()}


class TestFiles:
    def test_arrays_and_values_are_under_the_checksum(self, tmp_path):
        path = tmp_path / "some" / "file.safetensors"
        arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.zeros((0, 4), np.float32)}
        save_arrays(path, arrays, {"n": 3})
        read, about = load_arrays(path)
        assert about == {"n": 3}
        assert all((read[name] == array).all() and read[name].shape == array.shape for name, array in arrays.items())
        whole = path.read_bytes()
        for change in (whole[:-3], whole[:40], b"", whole.replace(b'\\"n\\": 3', b'\\"n\\": 4'), whole[:-1] + b"\x07"):
            assert change != whole
            path.write_bytes(change)
            with pytest.raises(Damaged):
                load_arrays(path)
        with pytest.raises(FileNotFoundError):
            load_arrays(tmp_path / "none")

    def test_a_write_that_fails_leaves_what_was_there(self, tmp_path, monkeypatch):
        path = tmp_path / "file"
        write_whole(path, b"before")

        def full(fd):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            write_whole(path, b"after")
        assert [file.name for file in tmp_path.iterdir()] == ["file"]
        assert path.read_bytes() == b"before"


class TestShards:
    def test_evaluations_are_those_of_each_sample(self):
        """Of an adaptive sampler a few samples, cut from more of them, took what they take alone."""
        schedule = linear_schedule()
        truth = GaussianMixture(schedule, deviations=(0.02, 0.4))
        sampler = load_plugins().sampler("dpm:mode=adaptive")
        grid = plan_grid(sampler, schedule, steps=1)

        def taken(indices):
            noise = NoiseSource(0, indices, (1, 2, 2), dtype=torch.float64)
            return draw(sampler, truth, grid, noise.x_T(), noise).evaluations

        whole = taken(range(12))
        assert len(set(whole)) > 1
        assert [taken([i])[0] for i in range(12)] == whole.tolist()
        evaluations, none = torch.from_numpy(whole), torch.zeros(12, 0)
        shard = Shard(
            none, none, none[:2], evaluations, 2 * evaluations, (Batch(12, "a cpu", 3.0, 1.5, 0.0, 6.0, 0.6, 7, 12),)
        )
        cut = Shard.joined([shard.first(5), shard.first(1)])
        assert cut.evaluations.tolist() == [*whole[:5], whole[0]]
        assert cut.passes.tolist() == [*(2 * whole[:5]), 2 * whole[0]]
        parts = [(b.samples, b.network, b.sampler, b.features, b.waiting, b.memory) for b in cut.batches]
        assert parts == [(5, 1.25, 0.625, 2.5, 0.25, 7), (1, 0.25, 0.125, 0.5, pytest.approx(0.05), 7)]

    def test_seconds_are_those_of_drawing_wherever_it_was(self, go):
        first = go()
        again = go(out="again")
        more = go(out="more", samples=80)
        assert again["cached"].tolist() == [40, 40]
        parts = [f"seconds_{part}" for part in PARTS]
        for frame in (first, again, more):
            for part in ("network", "sampler", "features", "metrics", "waiting"):
                assert (frame[f"seconds_{part}"] > 0).all()
            assert (frame["seconds_decoding"] == 0).all()
            drawing = frame[parts].sum(axis=1)
            assert (frame["seconds"] - drawing - frame["seconds_metrics"]).abs().max() < 1e-3
            assert (frame["images_per_second"] * drawing / frame["samples"] - 1).abs().max() < 0.01
            assert (frame["memory_mb"] > 50).all()
            assert (frame["hardware"] != "").all()
        assert again[[*parts, "images_per_second"]].equals(first[[*parts, "images_per_second"]])
        assert (more[parts].sum(axis=1) >= first[parts].sum(axis=1)).all()

    def test_a_shard_in_the_place_of_another_is_damaged(self, go, tmp_path, drawn):
        listener = Notices()
        first = go(cache=tmp_path / "cache")
        shards = sorted((tmp_path / "cache").rglob("00000.safetensors"))
        shutil.copy(shards[0], shards[1])
        again = go(cache=tmp_path / "cache", out="again", listener=listener)
        assert "is damaged (it is another's) and is made again" in listener.texts[0]
        assert again["fid"].tolist() == first["fid"].tolist()


class TestArtefacts:
    def test_they_are_there_before_the_row(self, go, tmp_path, monkeypatch):
        seen = []
        real = Store.append

        def append(store, record):
            seen.append(store.has_artefacts(record, f"{record.sampler} nfe=2", ["fid", "kid"]))
            real(store, record)

        monkeypatch.setattr(Store, "append", append)
        go(metrics="fid,kid")
        assert seen == [True, True]
        row = pd.read_csv(tmp_path / "out" / "results.csv").to_dict("records")[0]
        kept = load_kept(influence_path(tmp_path / "out", row, "kid"))
        assert kept.value == row["kid"]
        assert kept.influences.shape == (40,)
        assert load_kept(influence_path(tmp_path / "out", row, "fid")).halves.shape[1] == 2

    @pytest.mark.parametrize("what", ["samples", "influences"])
    @pytest.mark.parametrize("how", ["gone", "cut"])
    def test_what_is_missing_is_made_again_from_the_shards(self, go, tmp_path, drawn, what, how):
        go(metrics="fid,kid")
        before = contents(tmp_path / "out")
        victim = sorted((tmp_path / "out" / what).iterdir())[0]
        if how == "gone":
            victim.unlink()
        elif what == "influences":
            victim.write_bytes(victim.read_bytes()[:-9])
        else:
            pytest.skip("a picture is written whole or not at all")
        drawn.clear()
        go(metrics="fid,kid")
        assert drawn == []
        assert contents(tmp_path / "out") == before

    def test_a_run_that_fails_at_any_write_ends_as_one_that_does_not(self, go, tmp_path, monkeypatch, drawn):
        """The disk is full at the k-th write, for every k; each time it is one line, and the next run goes on."""
        small = {"samplers": "ddim", "samples": 20}
        go(**small, out="whole", cache=tmp_path / "elsewhere")
        expected, real = contents(tmp_path / "whole"), os.fsync
        for k in range(1, 200):
            calls = []

            def fsync(fd, calls=calls, k=k):
                calls.append(fd)
                if len(calls) >= k:
                    raise OSError(28, "No space left on device")
                real(fd)

            out, cache = f"out-{k}", tmp_path / f"cache-{k}"
            with monkeypatch.context() as disk:
                disk.setattr(os, "fsync", fsync)
                failed = ""
                try:
                    go(**small, out=out, cache=cache)
                except UserError as error:
                    failed = str(error)
            assert not failed or "cannot be written: No space left on device" in failed
            assert not list(tmp_path.rglob("*.part"))
            go(**small, out=out, cache=cache)
            assert contents(tmp_path / out) == expected
            if not failed and len(calls) < k:
                break
        assert k > 6

    def test_parts_that_a_kill_left_are_cleared_away(self, go, tmp_path):
        go()
        left = tmp_path / "out" / "influences" / ".x.safetensors.host-1-ab.part"
        left.write_text("half")
        go()
        assert not left.exists()

    def test_another_reference_touches_nothing_of_the_first(self, go, tmp_path, tiny_model):
        with np.load(tiny_model / "reference.npz") as arrays:
            changed = dict(arrays) | {name: arrays[name] + 0.01 for name in ("mu", "features")}
        np.savez(tmp_path / "other.npz", **changed)
        go(metrics="fid,kid")
        before = contents(tmp_path / "out")
        other = go(metrics="fid,kid", reference=tmp_path / "other.npz")
        after = contents(tmp_path / "out")
        assert len(after) > len(before)
        assert all(after[name] == before[name] for name in before if name not in ("rows", "status"))
        rows = pd.read_csv(tmp_path / "out" / "results.csv")
        assert len(rows) == 4
        assert rows["reference_sha256"].nunique() == 2
        assert set(other["fid"]) < set(rows["fid"])

    def test_pictures_of_two_models_of_one_name_stand_side_by_side(self, go, tmp_path, tiny_model):
        second = tmp_path / "elsewhere" / tiny_model.name
        shutil.copytree(tiny_model, second)
        config = json.loads((second / "config.json").read_text())
        (second / "config.json").write_text(json.dumps(config | {"prediction": "epsilon"}))
        go("ddim")
        go("ddim", model=str(second))
        rows = pd.read_csv(tmp_path / "out" / "results.csv")
        assert rows["model"].nunique() == 1
        pictures = [file.read_bytes() for file in (tmp_path / "out" / "samples").iterdir()]
        assert len(set(pictures)) == 2


def test_a_file_has_a_name_that_a_disk_takes():
    assert len(_file_name("漢" * 200).encode()) <= 100
    assert _file_name("ddim:eta=0.5 nfe=10") == "ddim_eta=0.5_nfe=10"


def test_influences_in_the_place_of_others_are_damaged(tmp_path):
    save_kept(tmp_path / "one", Kept(0.5, np.array([1.0, -1.0])))
    (tmp_path / "one").rename(tmp_path / "other")
    with pytest.raises(Damaged, match="it is another's"):
        load_kept(tmp_path / "other")


class TestKeptSolutions:
    OPTIONS = {"samplers": "ddim", "metrics": "ode_rmse", "samples": 4, "nfe": [4]}  # noqa: RUF012

    @pytest.fixture
    def solved(self, monkeypatch):
        calls = []
        from samplerbench.metrics import flow_solution

        real = flow_solution.solve_flow

        def solve(*arguments, **options):
            calls.append(1)
            return real(*arguments, **options | {"most_steps": 20})  # as near as it gets in a moment

        monkeypatch.setattr(flow_solution, "solve_flow", solve)
        return calls

    def files(self, tmp_path):
        return sorted((tmp_path / "cache" / "ode").iterdir())

    def test_a_damaged_solution_is_named_and_solved_again(self, go, tmp_path, solved):
        first = go(**self.OPTIONS, cache=tmp_path / "cache")
        count = len(solved)
        go(**self.OPTIONS, cache=tmp_path / "cache", out="again")
        assert len(solved) == count
        for file in self.files(tmp_path):
            data = bytearray(file.read_bytes())
            data[-2] ^= 64
            file.write_bytes(data)
        listener = Notices()
        again = go(**self.OPTIONS, cache=tmp_path / "cache", out="third", listener=listener)
        assert len(solved) == 2 * count
        assert any("is damaged (its checksum is wrong) and is made again" in text for text in listener.texts)
        assert again["ode_rmse"].tolist() == first["ode_rmse"].tolist()

    def test_a_solution_in_the_place_of_another_is_damaged(self, go, tmp_path, solved):
        first = go(**self.OPTIONS | {"metrics": "ode_start"}, cache=tmp_path / "cache")
        one, other = self.files(tmp_path)
        data = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(data)
        listener = Notices()
        options = self.OPTIONS | {"metrics": "ode_start", "cache": tmp_path / "cache", "out": "again"}
        again = go(**options, listener=listener)
        assert sum("is damaged (it is another's) and is made again" in text for text in listener.texts) == 2
        assert again["ode_start"].tolist() == first["ode_start"].tolist()

    def test_fresh_reads_none_and_solves_once(self, go, tmp_path, solved):
        go(**self.OPTIONS, cache=tmp_path / "cache")
        count = len(solved)
        go(**self.OPTIONS | {"nfe": [4, 6]}, cache=tmp_path / "cache", out="fresh", fresh=True)
        assert len(solved) == 2 * count

    def test_it_hangs_on_the_code_that_solves(self, go, tmp_path, solved, monkeypatch):
        go(**self.OPTIONS, cache=tmp_path / "cache")
        before = self.files(tmp_path)
        from samplerbench import plugins
        from samplerbench.bench import measure

        monkeypatch.setattr(plugins.Registered, "code_sha256", property(lambda entry: "changed"))
        go(**self.OPTIONS, cache=tmp_path / "cache", out="metric")
        assert self.files(tmp_path) == before
        monkeypatch.setattr(measure, "code_sha256", lambda module: "changed")
        go(**self.OPTIONS, cache=tmp_path / "cache", out="changed")
        assert len(self.files(tmp_path)) == 2 * len(before)

    def test_two_metrics_share_it(self, go, tmp_path, solved):
        options = self.OPTIONS | {"samplers": "ddim:spacing=logsnr", "metrics": "ode_start,ode_rmse"}
        rows = go(**options, cache=tmp_path / "cache")
        assert len(solved) == len(self.files(tmp_path)) == 1  # from t_max
        assert rows["ode_start"].tolist() == [0]
        go(**options | {"samplers": "ddim"}, cache=tmp_path / "cache", out="later")
        assert len(self.files(tmp_path)) == 2  # from 801


def test_no_tensor_of_a_cell_is_handed_on_by_reference(go, tmp_path):
    """A picture and x_0 are of the samples, not of what a later cell leaves in the same memory."""
    path = tmp_path / "shared.py"
    path.write_text(
        "from dataclasses import dataclass\nimport torch\nfrom samplerbench import Sampler, hookimpl\n"
        "BUFFER = {}\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Shared(Sampler):\n    name = 'shared'\n    k: float = 1.0\n"
        "    def sample(self, eps, grid, x, noise):\n"
        "        buffer = BUFFER.setdefault(x.shape, torch.empty_like(x))\n"
        "        return buffer.copy_((self.k * x).clamp(-1, 1))\n"
        "@hookimpl\ndef samplerbench_samplers(register):\n    register(Shared)\n"
    )
    both = go("shared:k=0.5,shared:k=2", plugins=[str(path)], fresh=True)
    alone = go("shared:k=0.5", "alone", plugins=[str(path)], fresh=True)
    assert alone["fid"][0] == both["fid"][0]
