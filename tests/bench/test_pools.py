"""Workers: the same numbers from each pool, and what happens when one dies, hangs or is another than the run."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

import samplerbench
from samplerbench import UserError
from samplerbench.bench import task as tasks
from samplerbench.bench import written
from samplerbench.bench.cell import Cell
from samplerbench.bench.maker import Failure, Filmed, Made, arrived
from samplerbench.bench.pools.choose import _setups
from samplerbench.bench.pools.crew import AHEAD, Crew
from samplerbench.bench.pools.events import Died, Finished, Noticed, Ready, Refused, Unfit
from samplerbench.bench.pools.hands import Hands
from samplerbench.bench.pools.pool import Result, Told
from samplerbench.bench.pools.processes import Processes
from samplerbench.bench.pools.serial import SerialPool
from samplerbench.bench.shards import Batch, Shard, ShardCache, as_bytes
from samplerbench.bench.task import FilmTask, Setup, ShardTask, largest_first, read_task, tasks_of
from samplerbench.bench.worker import Worker

from .conftest import TIMES


def cell_named(name, steps=5):
    return Cell(
        model="m",
        sampler=name,
        options=(("eta", "0.0"),),
        code="c",
        axis="nfe",
        value=steps,
        times=tuple(float(t) for t in range(steps, -1, -1)),
        seed=0,
        asked="",
        guidance=(),
        dtype="float32",
        compiled="no",
        device="cpu",
        extractor=("e", "", "1", "2"),
        core="k",
        torch="t",
    )


def shard_of(task):
    n = task.count
    return Shard(
        torch.full((n, 2), float(task.index)),
        torch.zeros(n, 0),
        torch.zeros(0, 1, 2, 2),
        torch.ones(n),
        torch.ones(n),
        (Batch(n, "cpu", 1.0, 0.0, 0.0, 0.0, 0.0, 9, n),),
    )


class Fakes(Hands):
    """Workers that do what a script says, one task a `wait`: script[sampler] is 'dies', 'hangs' or 'fails'. refuses:
    a sampler, by place. fatal: places where everything dies. about: what each place's worker is. films: what is done
    of those.
    """

    def __init__(self, count, script=(), unfit=(), refuses=(), fatal=(), about=(), films=""):
        self.count, self.script, self.unfit, self.films = count, dict(script), set(unfit), films
        self.refuses, self.fatal, self.about = dict(refuses), set(fatal), about or ["fake"] * count
        self.has, self.news, self.begun, self.turn, self.closed = {}, [], 0, 0, False

    def begin(self, place):
        self.begun += 1
        self.has[place] = []
        self.news.append(Unfit(place, "no such plugin") if place in self.unfit else Ready(place, self.about[place]))

    def give(self, place, task):
        self.has[place].append(task)
        assert len(self.has[place]) <= AHEAD

    def wait(self, seconds):
        if self.news:
            return [self.news.pop(0)]
        self.turn += 1
        for place, given in sorted(self.has.items(), key=lambda one: (one[0] + self.turn) % self.count):
            if not given:
                continue
            what = self.script.get(given[0].cell.sampler)
            what = self.films if isinstance(given[0], FilmTask) else what
            if what == "hangs":
                continue
            task = given.pop(0)
            if self.refuses.get(place) == task.cell.sampler:
                return [Refused(place, f"another {task.cell.sampler}")]
            if what == "dies" or place in self.fatal:
                del self.has[place]
                return [Died(place, "ended by SIGKILL")]
            if what == "fails":
                return [Finished(place, Failure("failed", "inner trouble"))]
            made = Made(shard_of(task), 0) if isinstance(task, ShardTask) else Filmed(b"a picture")
            return [Noticed(place, "a word"), Finished(place, made)]
        time.sleep(min(seconds or 0.0, 0.05))
        return []

    def end(self, place):
        self.has.pop(place, None)

    def close(self):
        self.closed = True


def made_by(hands, planned, timeout=None):
    """The results, and what was said. A cell that has failed is not wanted any more."""
    said, results, failed = [], [], set()
    told = Told(lambda task: None, lambda task, samples: None, said.append)
    for result in Crew(hands, timeout).make(planned, lambda task: task.cell.key not in failed, told):
        results.append(result)
        if isinstance(result.outcome, Failure):
            failed.add(result.task.cell.key)
    return results, said


def test_tasks_are_text():
    whole = tasks_of(cell_named("ddim"), 2500)
    assert [(task.index, task.samples) for task in whole] == [
        (0, range(1024)),
        (1, range(1024, 2048)),
        (2, range(2048, 2500)),
    ]
    for task in [*whole, FilmTask(cell_named("ddim"), 8)]:
        assert read_task(task.text()) == task
        assert read_task(task.text()).cell.key == task.cell.key
    short, long = cell_named("ddim", 5), cell_named("ddim", 50)
    order = largest_first([*tasks_of(short, 2048), *tasks_of(long, 2048)])
    assert [(task.cell.value, task.index) for task in order] == [(50, 0), (50, 1), (5, 0), (5, 1)]


def test_each_task_has_one_result_whoever_dies():
    planned = [task for name in "abc" for task in tasks_of(cell_named(name), 5000)]
    hands = Fakes(3)
    results, said = made_by(hands, planned)
    assert sorted((r.task.cell.sampler, r.task.index) for r in results) == [(n, i) for n in "abc" for i in range(5)]
    assert all(isinstance(r.outcome, Made) for r in results)
    assert hands.closed
    assert set(said) == {"a word"}


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_task_that_kills_its_workers_fails_and_costs_no_other(workers):
    planned = [*tasks_of(cell_named("poison"), 5000), *(t for n in "abcdef" for t in tasks_of(cell_named(n), 100))]
    results, said = made_by(Fakes(workers, {"poison": "dies"}), planned)
    outcomes = {r.task.cell.sampler: r.outcome for r in results}
    assert outcomes.pop("poison").reason == "3 workers died while they sampled it; the last: ended by SIGKILL"
    assert set(outcomes) == set("abcdef")
    assert all(isinstance(outcome, Made) for outcome in outcomes.values())
    assert any("died (ended by SIGKILL); another takes its place" in line for line in said)
    assert not any("given up" in line for line in said)


def test_places_are_given_up_and_the_last_one_ends_the_run():
    planned = [task for n in "abcdefgh" for task in tasks_of(cell_named(n), 100)]
    hands = Fakes(1, dict.fromkeys("abcdefgh", "dies"))
    with pytest.raises(UserError, match="no worker is left: 7 workers in a row have died; the last: ended by SIGKILL"):
        made_by(hands, planned)
    assert hands.closed
    results, said = made_by(Fakes(2, fatal=[1]), planned)  # as a broken GPU would: all that it begins is others'
    assert all(isinstance(r.outcome, Made) for r in results)
    assert len(results) == 8
    assert "worker 2 is given up: 3 workers in a row have died; the last: ended by SIGKILL" in said
    results, said = made_by(Fakes(2, fatal=[1]), tasks_of(cell_named("a"), 20_000))
    assert len(results) == 20
    assert "worker 2 is given up: 3 workers in a row have died; the last: ended by SIGKILL" in said
    results, said = made_by(Fakes(2, unfit=[1]), planned)
    assert len(results) == 8
    assert "worker 2 is given up: no such plugin" in said
    with pytest.raises(UserError, match="no worker is left: no such plugin"):
        made_by(Fakes(2, unfit=[0, 1]), planned)


class TestFilms:
    @staticmethod
    def planned(names, samples=2000):
        return [task for cell in map(cell_named, names) for task in (*tasks_of(cell, samples), FilmTask(cell, 8))]

    @pytest.mark.parametrize("workers", [1, 2, 3])
    def test_they_come_when_the_samples_are_there(self, workers):
        results, _ = made_by(Fakes(workers), planned := self.planned("abc"))
        assert {result.task for result in results} == set(planned)
        for name in "abc":
            *_, last = (result for result in results if result.task.cell.sampler == name)
            assert last.outcome == Filmed(b"a picture")

    @pytest.mark.parametrize("workers", [1, 2])
    def test_those_that_kill_their_workers_cost_nothing_else(self, workers):
        """Not even where nothing but films is left."""
        for planned in (self.planned("abcdefgh"), [FilmTask(cell_named(name), 8) for name in "abcdefgh"]):
            results, said = made_by(Fakes(workers, films="dies"), planned)
            shards = [one.outcome for one in results if isinstance(one.task, ShardTask)]
            assert all(isinstance(outcome, Made) for outcome in shards)
            died = Failure("failed", "3 workers died while they sampled it; the last: ended by SIGKILL")
            assert [one.outcome for one in results if isinstance(one.task, FilmTask)] == [died] * 8
            assert len(results) == len(planned)
            assert not any("given up" in line for line in said)

    def test_those_that_hang_are_ended(self):
        (*_, shard, film), _ = made_by(Fakes(2, films="hangs"), self.planned("a"), timeout=0.2)
        assert isinstance(shard.outcome, Made)
        assert film.outcome == Failure("failed", "it took longer than the 0.2 s of --cell-timeout")

    def test_they_need_no_worker_of_their_own(self):
        made_by(hands := Fakes(4), self.planned("ab", 100))
        assert hands.begun == 2


def test_what_is_not_wanted_any_more_is_not_done():
    results, _ = made_by(Fakes(2, {"fails": "fails"}), tasks_of(cell_named("fails"), 50_000))
    assert len(results) == 1


def test_a_cell_that_hangs_is_ended():
    planned = [*tasks_of(cell_named("hangs"), 100), *tasks_of(cell_named("a"), 100)]
    hands = Fakes(1, {"hangs": "hangs"})
    results, _ = made_by(hands, planned, timeout=0.2)
    outcomes = {r.task.cell.sampler: r.outcome for r in results}
    assert outcomes["hangs"].reason == "it took longer than the 0.2 s of --cell-timeout"
    assert isinstance(outcomes["a"], Made)
    assert hands.begun == 2


def test_no_worker_begins_where_all_is_there(go, monkeypatch):
    first = go("ddim", "one")
    monkeypatch.setattr(Processes, "begin", lambda *_: pytest.fail("a worker has begun"))
    again = go("ddim", "one", workers=2, metrics="kid,fid")
    assert again[first.columns].equals(first)
    assert again["kid"].notna().all()


class TestBatchesOfSeveralShards:
    """Shards of 16 samples, of which a batch of 40 fills three."""

    @pytest.fixture(autouse=True)
    def small(self, monkeypatch):
        monkeypatch.setattr(tasks, "SHARD", 16)

    def test_tasks(self):
        cell = cell_named("a")
        assert [task.samples for task in tasks_of(cell, 100, 40)] == [range(48), range(48, 96), range(96, 100)]
        assert [task.samples for task in tasks_of(cell, 40, 8)] == [range(16), range(16, 32), range(32, 40)]
        parts = tasks_of(cell, 100, 40)[1].shards()
        assert [(part.index, part.samples) for part in parts] == [
            (3, range(48, 64)),
            (4, range(64, 80)),
            (5, range(80, 96)),
        ]

    def test_the_rows_are_those_of_small_ones(self, go, tmp_path):
        small, large = (go("ddim,ddpm", f"of-{size}", samples=100, batch_size=size) for size in (16, 40))
        assert (set(small["batch_size"]), set(large["batch_size"])) == ({"16"}, {"40"})
        assert large["fid"].astype(float).to_numpy() == pytest.approx(small["fid"].astype(float).to_numpy(), rel=1e-6)
        for key in small["key"]:
            for index in range(7):
                ours, theirs = (
                    ShardCache(tmp_path / f"of-{size}-cache", pytest.fail).load(key, index) for size in (16, 40)
                )
                assert len(theirs) == len(ours) == (16 if index < 6 else 4)
                torch.testing.assert_close(theirs.features, ours.features)
                assert torch.equal(theirs.evaluations, ours.evaluations)
                assert len(theirs.x0) == len(ours.x0)

    def test_only_what_is_missing_is_drawn(self, go, tmp_path, monkeypatch):
        whole = go("ddim", "whole", samples=100, nfe=[2], batch_size=40)
        drawn, draw = [], Worker.draw

        def spied(self, cell, indices, *more):
            drawn.append(indices)
            return draw(self, cell, indices, *more)

        monkeypatch.setattr(Worker, "draw", spied)
        go("ddim", "one", samples=40, nfe=[2], batch_size=40)
        folder = tmp_path / "one-cache"
        next(folder.rglob("00001.safetensors")).unlink()
        go("ddim", "two", samples=100, nfe=[2], batch_size=40, cache=folder)
        assert drawn == [range(40), range(16, 32), range(40, 48), range(48, 96), range(96, 100)]
        assert go("ddim", "two", samples=100, nfe=[2], batch_size=40, cache=folder)["fid"].equals(whole["fid"])

    def test_workers_send_each_shard(self, tmp_path):
        """Of whom the folder is not shared."""
        (task,) = tasks_of(cell_named("a"), 40, 40)
        data = [as_bytes(task.cell.key, part.index, shard_of(part)) for part in task.shards()]
        cache = ShardCache(tmp_path, pytest.fail)
        made = arrived(cache, task, 0, data)
        assert made.shard.features[:, 0].tolist() == [0.0] * 16 + [1.0] * 16 + [2.0] * 8
        assert torch.equal(arrived(cache, task, 0, None).shard.features, made.shard.features)
        assert isinstance(arrived(cache, tasks_of(cell_named("a"), 41, 40)[0], 0, None), Failure)


def test_processes_give_the_same_files(go, tmp_path, monkeypatch):
    serial = go("ddim,ddpm", "serial")
    monkeypatch.setattr("samplerbench.bench.maker.trajectory", lambda *_: pytest.fail("a worker should draw it"))
    processes = go("ddim,ddpm", "two", workers=2)
    assert processes.equals(serial)
    assert len(list((tmp_path / "serial" / "trajectories").glob("*.png"))) == 4
    for file in sorted((tmp_path / "serial").rglob("*.png")):
        assert (tmp_path / "two" / file.relative_to(tmp_path / "serial")).read_bytes() == file.read_bytes()
    for key in serial["key"]:
        for index in range(3):
            ours, theirs = (
                ShardCache(tmp_path / f"{name}-cache", pytest.fail).load(key, index) for name in ("serial", "two")
            )
            assert torch.equal(ours.features, theirs.features)


def test_a_sampler_that_kills_hangs_or_raises_costs_its_own_cells(go, plugin, tmp_path):
    rows = go("dies,hangs,raises,fine", "out", workers=2, cell_timeout=10.0, plugins=plugin, nfe=[2], samples=40)
    reasons = dict(zip(rows["sampler"], rows["reason"], strict=True))
    assert list(rows["sampler"]) == ["dies", "hangs", "raises", "fine"]
    assert reasons["dies"] == "3 workers died while they sampled it; the last: it ended with status 7"
    assert reasons["hangs"] == "it took longer than the 10 s of --cell-timeout"
    assert reasons["raises"] == "ValueError: inner trouble"
    assert list(rows["status"]) == ["failed", "failed", "failed", "done"]
    assert "inner trouble" in next((tmp_path / "out" / "errors").glob("raises*")).read_text()


@pytest.mark.skipif("SAMPLERBENCH_KILLS" not in os.environ, reason="takes half a minute: SAMPLERBENCH_KILLS=1")
def test_killed_workers_lose_nothing(go, monkeypatch):
    """Every worker that is begun is killed a little later, until six are gone."""
    expected, began, killed = go("ddim,ddpm", "serial"), Processes.begin, []

    def begin(self, place):
        began(self, place)
        if len(killed) < 6:
            killed.append(process := self._workers[place]._process)
            threading.Timer(2.0 + 1.5 * (len(killed) % 3), lambda: os.kill(process.pid, signal.SIGKILL)).start()

    monkeypatch.setattr(Processes, "begin", begin)
    monkeypatch.setattr("samplerbench.bench.pools.crew.DEATHS", 9)
    monkeypatch.setattr("samplerbench.bench.pools.crew.AGAIN", 9)
    assert go("ddim,ddpm", "killed", workers=2).equals(expected)


def test_slices_of_a_written_plan_are_the_run(go, command, tmp_path, tiny_model):
    expected = go("ddim,ddpm", "serial")
    out = tmp_path / "planned"
    asked = ["--samplers", "ddim,ddpm", "--nfe", "2,4", "--samples", 2100, "--model", tiny_model, "--device", "cpu"]
    status, said, _ = command("run", *asked, "--out", out, "--plan-only")
    assert (status, said.splitlines()) == (
        0,
        [
            f"{out} holds the plan: 4 cells of 2100 samples, for workers on cpu",
            "next:",
            f"  samplerbench worker {out} --slice I/N      # on machine I of N",
            f"  samplerbench run --config {out / 'run.json'} --out {out}",
        ],
    )
    assert json.loads((out / "run.json").read_text())["status"] == "planned"
    for part in ("1/2", "2/2"):
        status, _, said = command("worker", out, "--slice", part)
        assert status == 0
        assert said.count(": done\n") == 6
        assert said.startswith("1 of 6: dd")
    assert command("worker", out)[2].count("was there\n") == 12
    status, _, said = command("run", "--config", out / "run.json", "--out", out)
    assert status == 0
    assert said.count("(2100 samples from the cache)") == 4
    assert pd.read_csv(out / "results.csv", dtype=str).drop(columns=TIMES).equals(expected)
    for file in (out / "shards").rglob("*.safetensors"):
        file.unlink()
    assert command("worker", out) == (0, "", f"nothing is left: the rows are in {out / 'results.csv'}\n")
    whole, *_, last = (out / "results.csv").read_text().splitlines(keepends=True)
    (out / "results.csv").write_text(whole + last)
    assert command("worker", out, "--slice", "1/2")[2].count(": done\n") in (4, 5)


@pytest.mark.parametrize("parts", [1, 2, 3, 8])
def test_parts_of_a_plan_are_of_one_size(parts):
    tasks = largest_first([task for name in "abcdef" for task in tasks_of(cell_named(name), 1500)])
    dealt = [written.dealt(tasks, (part, parts)) for part in range(1, parts + 1)]
    assert sorted((task.cell.sampler, task.index) for part in dealt for task in part) == [
        (name, index) for name in "abcdef" for index in range(2)
    ]
    samples = [sum(task.count for task in part) for part in dealt]
    assert max(samples) - min(samples) <= (0 if 6 % parts == 0 else 1024)


def test_a_worker_that_is_another_than_the_run_says_so(command, plugin, tmp_path, tiny_model):
    out = tmp_path / "planned"
    asked = ["--samplers", "fine", "--plugin", plugin, "--nfe", "2", "--samples", 40, "--model", tiny_model]
    assert command("run", *asked, "--out", out, "--plan-only", "--device", "cpu")[0] == 0
    plan = json.loads((out / "plan.json").read_text())
    for change, expected in (
        ({"torch": "1.0"}, f"this worker is not what the run is: torch is {torch.__version__}, expected 1.0"),
        ({"code": "0" * 64}, "the hash of the sampler's code is"),
        ({"model": "0" * 64}, "the hash of the model is"),
    ):
        cells = [{**cell, **change} for cell in plan["cells"]]
        (out / "plan.json").write_text(json.dumps({**plan, "cells": cells}))
        status, _, said = command("worker", out)
        assert status == 2
        assert expected in said
        assert not list(out.rglob("*.safetensors"))
    away = Path(plugin).rename(tmp_path / "away.py")
    (out / "plan.json").write_text(json.dumps(plan))
    status, _, said = command("worker", out)
    assert status == 2
    assert said.startswith("Error: ")
    assert said.count("\n") == 1
    away.rename(plugin)  # this process has loaded it, and later keys may be of it


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "gpus"], "--workers gpus: this machine has no usable CUDA device"),
        (["--cell-timeout", "0"], "cell-timeout is a number of seconds above 0, got 0"),
        (["--plan-only", "--watch"], "--plan-only runs nothing"),
    ],
)
def test_bad_workers(command, tmp_path, tiny_model, arguments, message):
    if "gpus" in arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    asked = ["run", "--samplers", "ddim", "--model", tiny_model, "--samples", 40, "--nfe", 2, "--out", tmp_path / "o"]
    status, shown, said = command(*asked, *arguments)
    assert (status, shown) == (2, "")
    assert message in said
    assert "Traceback" not in said
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("ends", [1, 2])
def test_a_cell_that_fails_without_a_traceback_ends_the_command_with_1(
    command, monkeypatch, tmp_path, tiny_model, ends
):
    def make(self, tasks, wanted, told):
        late = [task for task in tasks if isinstance(task, ShardTask)][:ends]
        yield from (Result(task, Failure("failed", "it took longer")) for task in late)
        yield from whole(self, [task for task in tasks if task not in late], wanted, told)

    whole = SerialPool.make
    monkeypatch.setattr(SerialPool, "make", make)
    asked = ["--samplers", "ddim,dpm", "--nfe", "2", "--samples", 8, "--model", tiny_model, "--device", "cpu"]
    status, said, _ = command("run", *asked, "--out", tmp_path / "o")
    assert status == 1
    assert "it took longer" in said
    assert "tracebacks: " not in said


def test_processes_share_the_processors_that_a_scheduler_gave(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {3, 4, 5, 6}, raising=False)
    setup = Setup("m", "e", None, (), "cpu", "float32", "no", 8, 0, (), "c", False)
    assert [one.threads for one in _setups("2", setup)] == [2, 2]
    assert [one.threads for one in _setups("9", setup)] == [1] * 9


def test_bad_plans(command, tmp_path):
    assert "has no plan.json" in command("worker", tmp_path)[2]
    (tmp_path / "plan.json").write_text("{}")
    assert "is no plan of a run" in command("worker", tmp_path)[2]
    (tmp_path / "plan.json").write_text('{"schema": 9}')
    assert "is of schema 9, expected 1" in command("worker", tmp_path)[2]
    assert "--slice 3/2: expected I/N with I from 1 to N" in command("worker", tmp_path, "--slice", "3/2")[2]


def test_objects_stay_in_this_process(tiny_model, tmp_path):
    model = samplerbench.load_model(str(tiny_model))
    with pytest.raises(UserError, match="--workers 2: Model is an object of this process"):
        samplerbench.run("ddim", model=model, nfe=2, samples=40, out=tmp_path / "out", workers=2)
    for one in (str(tiny_model), model):
        samplerbench.run("ddim", model=one, nfe=2, samples=40, out=tmp_path / "out")
        assert (tmp_path / "out" / "plan.json").is_file() == (one is not model)


def test_a_shorter_shard_never_replaces_a_longer_one(tmp_path):
    cell = cell_named("a")
    long, short = (shard_of(tasks_of(cell, n)[0]) for n in (50, 20))
    cache = ShardCache(tmp_path, pytest.fail)
    assert cache.save("ab" * 32, 0, long)
    assert cache.save("ab" * 32, 0, short)
    assert len(cache.load("ab" * 32, 0)) == 50
    beside = ShardCache(tmp_path / "other", pytest.fail, beside=[tmp_path])
    assert beside.save("ab" * 32, 0, short)
    assert len(beside.load("ab" * 32, 0)) == 50
    assert tasks.SHARD == 1024
