"""Resuming: what is finished is not done again, what is damaged is, and the outcome is that of one undisturbed run."""

from __future__ import annotations

import fcntl
import itertools
import os
import random
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

import samplerbench
from samplerbench import UserError
from samplerbench.bench import task, worker
from samplerbench.bench.execute import Listener
from samplerbench.bench.record import COLUMNS
from samplerbench.bench.shards import Batch, Shard, ShardCache

from .test_artefacts import contents

PARTS = [name for name in COLUMNS if name.startswith("seconds") or name in ("images_per_second", "memory_mb")]
TIMES = [*PARTS, "finished", "cached", "batch_size", "checksum"]


class Log(Listener):
    """Counts the samples that were really drawn, and stops the run after `limit` of them."""

    def __init__(self):
        self.notices, self.drawn, self.limit = [], 0, 10**9

    def notice(self, text):
        self.notices.append(text)


@pytest.fixture
def log(monkeypatch):
    log = Log()
    real = worker.draw

    def draw(sampler, epsilon, grid, x, *others):
        if log.drawn + len(x) > log.limit:
            raise KeyboardInterrupt
        log.drawn += len(x)
        return real(sampler, epsilon, grid, x, *others)

    monkeypatch.setattr(worker, "draw", draw)
    monkeypatch.setattr(task, "SHARD", 16)
    return log


@pytest.fixture
def go(log, tiny_model, tmp_path):
    def run(samplers="ddim", out="out", limit=10**9, **options):
        log.drawn, log.limit, log.notices = 0, limit, []
        options = {"samples": 40, "batch_size": 8, "model": str(tiny_model), "device": "cpu", "nfe": [2, 4]} | options
        return samplerbench.run(samplers, out=tmp_path / out, listener=log, **options)

    return run


def figures(frame):
    return frame.drop(columns=TIMES)


def test_a_run_goes_on_where_it_stopped(go, log, tmp_path):
    whole = go("ddim,ddpm", "whole", cache=tmp_path / "elsewhere")
    assert log.drawn == 160
    with pytest.raises(KeyboardInterrupt):
        go("ddim,ddpm", limit=100)  # two cells, and one shard of the third
    assert len(pd.read_csv(tmp_path / "out" / "results.csv")) == 2
    resumed = go("ddim,ddpm")
    assert log.drawn == 160 - 80 - 16
    assert resumed["cached"].tolist() == [0, 0, 16, 0]
    pd.testing.assert_frame_equal(figures(resumed), figures(whole))
    one, other = (pd.read_csv(tmp_path / name / "results.csv") for name in ("out", "whole"))
    pd.testing.assert_frame_equal(figures(one), figures(other))
    go("ddim,ddpm")
    assert log.drawn == 0


def test_a_cell_done_elsewhere_comes_from_the_cache(go, log):
    first = go(out="first")
    again = go(out="second")
    assert log.drawn == 0
    assert again["cached"].tolist() == [40, 40]
    drawing = [name for name in PARTS if name not in ("seconds", "seconds_metrics")]
    assert again[drawing].equals(first[drawing])  # what drawing them took, then
    pd.testing.assert_frame_equal(figures(first), figures(again))
    fresh = go(out="third", fresh=True)
    assert log.drawn == 80
    pd.testing.assert_frame_equal(figures(first), figures(fresh))


def test_fresh_does_finished_rows_again(go, log, tmp_path):
    go()
    go(fresh=True)
    assert log.drawn == 80
    assert len(pd.read_csv(tmp_path / "out" / "results.csv")) == 2


def test_more_samples_compute_only_the_missing_ones(go, log, tmp_path):
    go(nfe=[3], samples=40)
    more = go(nfe=[3], samples=70)
    assert log.drawn == 30
    assert more["cached"].tolist() == [40]
    fresh = go(nfe=[3], samples=70, out="fresh", cache=tmp_path / "elsewhere")
    assert more["fid"][0] == pytest.approx(fresh["fid"][0], rel=1e-5)
    fewer = go(nfe=[3], samples=20)
    assert log.drawn == 0
    assert fewer["samples"].tolist() == [20]
    assert sorted(pd.read_csv(tmp_path / "out" / "results.csv")["samples"]) == [20, 40, 70]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"dtype": "float64"},
        {"samplers": "ddim:eta=0.1"},
        {"samplers": "ddim:spacing=uniform"},
        {"nfe": [5]},
        {"steps": [4], "nfe": None},
    ],
    ids=str,
)
def test_whatever_changes_the_samples_is_in_the_key(go, log, change):
    go(nfe=[4])
    go(**{"nfe": [4], "out": "other", **change})
    assert log.drawn == 40


def test_what_changes_nothing_is_not_in_the_key(go, log):
    go(nfe=[4])
    go(nfe=[4], out="other", batch_size=5)
    assert log.drawn == 0


def test_plugin_source_is_in_the_key(go, log, tmp_path):
    plugin = tmp_path / "mine.py"
    text = (
        "from dataclasses import dataclass\nfrom samplerbench import Sampler, hookimpl\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Mine(Sampler):\n    name = 'mine'\n"
        "    def sample(self, eps, grid, x, noise):\n        return x.clamp(-1, 1)\n"
        "@hookimpl\ndef samplerbench_samplers(register):\n    register(Mine)\n"
    )
    plugin.write_text(text)
    go("mine", nfe=[2], plugins=[str(plugin)])
    go("mine", nfe=[2], plugins=[str(plugin)], out="same")
    assert log.drawn == 0
    plugin.write_text(text.replace("clamp(-1, 1)", "clamp(-1, 0.5)"))
    go("mine", nfe=[2], plugins=[str(plugin)], out="changed")
    assert log.drawn == 40


def test_failures_are_not_cached(go, log, monkeypatch):
    def fail(*_):
        raise ValueError("for a moment")

    with monkeypatch.context() as broken:
        broken.setattr(worker, "quantise", fail)
        assert go(nfe=[2])["status"].tolist() == ["failed"]
    again = go(nfe=[2])
    assert again["status"].tolist() == ["done"]
    assert log.drawn == 40


def test_rows_of_other_runs_in_the_folder_are_kept(go, tmp_path):
    go("ddim", nfe=[2])
    go("ddpm", nfe=[2])
    go("ddim", nfe=[2, 3])
    rows = pd.read_csv(tmp_path / "out" / "results.csv")
    assert list(zip(rows["sampler"], rows["nfe"], strict=True)) == [("ddpm", 2), ("ddim", 2), ("ddim", 3)]


def test_a_row_cut_off_by_a_kill_is_done_again(go, log, tmp_path):
    go()
    path = tmp_path / "out" / "results.csv"
    whole = path.read_text()
    path.write_text(whole[:-30])
    go()
    assert [line.split(",")[1] for line in path.read_text().splitlines()] == ["sampler", "ddim", "ddim"]
    assert log.drawn == 0  # its shards are there


@pytest.mark.parametrize(
    ("column", "value"), [("nfe", "3.0"), ("fid_se", "0.5"), ("seconds", ""), ("hardware", "fast")]
)
def test_an_edited_row_is_said_and_measured_again(go, log, tmp_path, column, value):
    before = go("ddim,ddpm")
    path = tmp_path / "out" / "results.csv"
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    rows.loc[1, column] = value
    rows.to_csv(path, index=False)
    after = go("ddim,ddpm")
    assert log.drawn == 0
    assert [text for text in log.notices if "line 3: the row of ddim at 4 was edited or is damaged" in text]
    pd.testing.assert_frame_equal(figures(after), figures(before))
    go("ddim,ddpm")
    assert not log.notices


def test_other_metrics_and_words_that_are_no_utf_8_keep_the_checksums(go, log, tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from samplerbench import Measured, Metric, hookimpl\nclass Mine(Metric):\n    name = 'mine'\n"
        "    def measure(self, drawn):\n        return Measured(1.0, note='a\\ud800b, \"c\"')\n"
        "@hookimpl\ndef samplerbench_metrics(register):\n    register(Mine)\n"
    )
    go(metrics="mine,fid", plugins=[str(plugin)])
    go("ddpm", metrics="kid")
    go(metrics="mine,kid,fid", plugins=[str(plugin)])
    assert not log.notices


@pytest.mark.parametrize("end", ['"' + "x" * 200_000, "x" * 200_000 + "\n"])
def test_a_field_too_long_for_csv_is_one_line(go, tmp_path, end):
    go("ddim")
    with (tmp_path / "out" / "results.csv").open("a") as file:
        file.write(f"{end}\n")
    before = (tmp_path / "out" / "results.csv").read_bytes()
    with pytest.raises(UserError, match=r"results\.csv is not of schema .* \(field larger than"):
        go("ddim")
    assert (tmp_path / "out" / "results.csv").read_bytes() == before


class TestDamage:
    def files(self, tmp_path):
        return sorted((tmp_path / "cache").rglob("*.safetensors"))

    @pytest.mark.parametrize("how", ["cut", "flipped", "foreign"])
    def test_a_damaged_shard_is_named_and_made_again(self, go, log, tmp_path, how):
        first = go(nfe=[2])
        file = self.files(tmp_path)[1]
        data = bytearray(file.read_bytes())
        if how == "cut":
            file.write_bytes(data[:-7])
        elif how == "flipped":
            data[-100] ^= 1
            file.write_bytes(data)
        else:
            save_file({"a": torch.zeros(1)}, file)
        again = go(nfe=[2], out="other")
        assert log.drawn == 16
        (notice,) = log.notices
        assert str(file) in notice
        assert "is damaged" in notice
        assert figures(again)["fid"].tolist() == figures(first)["fid"].tolist()
        go(nfe=[2], out="third")
        assert log.drawn == 0

    def test_a_cache_that_cannot_be_written_is_said_once(self, go, log, tmp_path):
        (tmp_path / "file").write_text("")
        frame = go(cache=tmp_path / "file")
        assert frame["status"].tolist() == ["done", "done"]
        assert len(log.notices) == 1
        assert "cannot be written (Not a directory)" in log.notices[0]

    def test_no_part_of_a_shard_is_left(self, tmp_path, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        notices = []
        cache = ShardCache(tmp_path / "cache", notices.append)
        counts = torch.full((3,), 4.0, dtype=torch.float64)
        batches = (Batch(3, "a cpu", 1.0, 0.0, 0.0, 0.5, 0.0, 9, 3),)
        shard = Shard(torch.zeros(3, 2), torch.zeros(3, 5), torch.zeros(1, 1, 2, 2), counts, counts, batches)
        with monkeypatch.context() as disk:
            disk.setattr("pathlib.Path.replace", full)
            cache.save("abc", 0, shard)
        assert "No space left on device" in notices[0]
        assert [p.name for p in (tmp_path / "cache").rglob("*") if p.is_file()] == [".lock"]


def test_two_runs_in_one_folder_do_not_harm_each_other(go, tmp_path):
    go(nfe=[2])
    before = (tmp_path / "out" / "results.csv").read_bytes()
    with (tmp_path / "out" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another run is writing to --out"):
            go(nfe=[2, 3])
    assert (tmp_path / "out" / "results.csv").read_bytes() == before
    go(nfe=[2, 3])


def started(model, out, cache, **options):
    """A small run of four cells in a process of its own."""
    code = (
        "import torch; torch.set_num_threads(1); from samplerbench.bench import task; task.SHARD = 16; "
        "from samplerbench.cli import main; main()"
    )
    asked = [
        "--samplers",
        "ddim,ddpm",
        "--nfe",
        "20,60",
        "--metrics",
        "fid,kid",
        "--samples",
        "64",
        "--batch-size",
        "8",
        "--quiet",
    ]
    arguments = ["run", *asked, "--model", str(model), "--out", str(out), "--cache", str(cache)]
    return subprocess.Popen([sys.executable, "-c", code, *arguments], env=os.environ, **options)


def test_killed_anywhere_it_ends_in_the_same_csv(tiny_model, tmp_path):
    """SIGKILL at random moments of a run, at most four times, until it gets through. Then rows, pictures, influences
    and run.json are those of a run that was left alone. For more, in one run after the other: SAMPLERBENCH_KILLS=100.
    """

    def start(out, cache):
        return started(tiny_model, tmp_path / out, tmp_path / cache)

    assert start("whole", "a").wait(timeout=600) == 0
    draw, wanted, kills = random.Random(0), int(os.environ.get("SAMPLERBENCH_KILLS", "1")), 0
    for turn in itertools.count():
        before = kills
        while True:
            process = start(f"killed-{turn}", f"b-{turn}")
            deadline = time.monotonic() + (2.5 + 2 * draw.random() if kills < min(before + 4, wanted) else 120)
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            if process.poll() is not None:
                assert process.returncode == 0
                break
            process.kill()
            process.wait()
            kills += 1
        one, other = (contents(tmp_path / name) for name in (f"killed-{turn}", "whole"))
        assert one == other
        if kills >= wanted or kills == before:
            break
    print(f"{kills} kills in {turn + 1} runs")


@pytest.mark.skipif(
    "SAMPLERBENCH_DISKS" not in os.environ, reason="mounts file systems: SAMPLERBENCH_DISKS=100, as root"
)
def test_a_disk_that_is_full_anywhere_loses_nothing(tiny_model, tmp_path):
    """Runs on disks of random sizes, which are full at some byte of shards, artefacts or rows. Then there is room, and
    the run goes on. Each failure is one line.
    """
    (tmp_path / "whole").mkdir()
    assert started(tiny_model, tmp_path / "whole" / "out", tmp_path / "whole" / "cache").wait(timeout=600) == 0
    wanted = contents(tmp_path / "whole" / "out")
    needed = sum(file.stat().st_size for file in (tmp_path / "whole").rglob("*") if file.is_file())
    draw, disk, full = random.Random(0), tmp_path / "disk", 0
    disk.mkdir()
    for turn in range(int(os.environ["SAMPLERBENCH_DISKS"])):
        size = draw.randrange(4096, needed)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], check=True)
        try:
            process = started(tiny_model, disk / "out", disk / "cache", stderr=subprocess.PIPE, text=True)
            said = process.communicate(timeout=600)[1]
            full += process.returncode != 0
            assert "Traceback" not in said, (turn, size, said)
            assert process.returncode == 0 or "No space left" in said, (turn, size, said)
            subprocess.run(["mount", "-o", "remount,size=1g", str(disk)], check=True)
            assert started(tiny_model, disk / "out", disk / "cache").wait(timeout=600) == 0, (turn, size)
            assert contents(disk / "out") == wanted, (turn, size)
        finally:
            subprocess.run(["umount", str(disk)], check=True)
    print(f"{full} full disks in {turn + 1} runs")
