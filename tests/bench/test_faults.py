"""What goes wrong with workers: of another code, without a disk, killed with their run, racing for one file."""

from __future__ import annotations

import json
import os
import platform
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest

import samplerbench
from samplerbench import UserError
from samplerbench.bench import written
from samplerbench.bench.execute import Listener
from samplerbench.bench.maker import Filmed, Made, arrived
from samplerbench.bench.pools.crew import Crew
from samplerbench.bench.pools.events import Advanced, Found
from samplerbench.bench.pools.on_ray import Actor
from samplerbench.bench.pools.pool import Told
from samplerbench.bench.pools.processes import Processes
from samplerbench.bench.shards import ShardCache
from samplerbench.bench.store import Store
from samplerbench.bench.task import FilmTask, tasks_of
from samplerbench.bench.trajectory import trajectory
from samplerbench.bench.written import WrittenPlan

from .conftest import TIMES
from .test_pools import Fakes, cell_named, made_by, shard_of


class Heard(Listener):
    def __init__(self):
        self.notices = []

    def notice(self, text):
        self.notices.append(text)


@pytest.fixture
def planned(command, plugin, tmp_path, tiny_model):
    """The folder of a planned run of two cells, three shards each."""
    out = tmp_path / "planned"
    asked = ["--samplers", "ddim,fine", "--plugin", plugin, "--nfe", "2", "--samples", 2100, "--model", tiny_model]
    assert command("run", *asked, "--out", out, "--plan-only", "--device", "cpu")[0] == 0
    return out


class TestAnotherWorker:
    def test_one_that_cannot_load_the_plugin_is_no_worker(self, planned):
        plan = WrittenPlan.read(planned)
        setup = replace(plan.setup, plugins=(*plan.setup.plugins, "/nowhere/mine.py"), threads=1)
        told = Told(lambda task: None, lambda task, samples: None, lambda text: None)
        crew = Crew(Processes([setup], ShardCache(planned / "shards", pytest.fail)))
        with pytest.raises(UserError, match=r"no worker is left: .*/nowhere/mine\.py"):
            list(crew.make(plan.tasks(), lambda task: True, told))

    def test_a_plugin_that_was_edited_costs_its_own_cells(self, go, plugin, monkeypatch):
        begin = Processes.begin

        def edited(self, place):
            text = Path(plugin).read_text()
            Path(plugin).write_text(text.replace("0.1 * eps", "0.2 * eps"))
            begin(self, place)

        monkeypatch.setattr(Processes, "begin", edited)
        rows = go("fine,ddim", "out", workers=2, plugins=plugin, nfe=[2], samples=40)
        assert list(rows["status"]) == ["failed", "done"]
        assert rows["reason"][0].startswith("this worker is not what the run is: the hash of the sampler's code is ")

    def test_others_do_what_one_refuses(self):
        tasks = [task for name in "ab" for task in tasks_of(cell_named(name), 3000)]
        results, _ = made_by(Fakes(2, refuses={0: "a"}), tasks)
        assert len(results) == 6
        assert all(isinstance(result.outcome, Made) for result in results)
        results, _ = made_by(Fakes(2, refuses={0: "a", 1: "a"}), tasks)
        outcomes = {(result.task.cell.sampler, result.task.index): result.outcome for result in results}
        assert [one.reason for (name, _), one in outcomes.items() if name == "a"] == ["another a"]
        assert all(isinstance(outcomes["b", index], Made) for index in range(3))
        results, _ = made_by(Fakes(2, {"b": "dies"}, refuses={0: "a"}), tasks)
        assert sorted(result.task.cell.sampler for result in results) == ["a", "a", "a", "b"]

    def test_other_hardware_is_told_and_is_in_the_row(self, planned, monkeypatch, tmp_path, tiny_model, plugin):
        for part, name in ((1, "an old card"), (2, "a new card")):
            monkeypatch.setattr("samplerbench.bench.remote.hardware", lambda device, name=name: name)
            assert not written.work(planned, (part, 2), lambda text: None)
        heard = Heard()
        options = {"nfe": 2, "samples": 2100, "model": str(tiny_model), "device": "cpu", "plugins": plugin}
        rows = samplerbench.run("ddim,fine", out=planned, listener=heard, **options)
        assert {frozenset(text.split(" and ")) for text in rows["hardware"]} == {
            frozenset({"an old card", "a new card"})
        }
        told = [text for text in heard.notices if "samples were drawn on a new card and an old card" in text]
        assert len(told) == 1
        _, said = made_by(Fakes(3, about=["old", "new", "old"]), tasks_of(cell_named("a"), 9000))
        assert "a worker has new, others old; the rows name what drew them" in said


def test_a_file_of_grids_is_found_from_another_folder(command, tmp_path, tiny_model, monkeypatch):
    """The sampler is called what it was called."""
    grids = {"schema": "samplerbench-grids", "version": 1, "coordinate": "time", "grids": {"2": [1000, 300, 0]}}
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("grids.json").write_text(json.dumps(grids))
    asked = ["--samplers", "ddim:spacing=file:grids.json", "--nfe", "2", "--samples", 40, "--model", tiny_model]
    assert command("run", *asked, "--out", "out", "--plan-only", "--device", "cpu")[0] == 0
    monkeypatch.chdir(tmp_path / "there")
    status, _, said = command("worker", "../here/out")
    assert (status, said) == (0, "1 of 1: ddim:spacing=file:grids.json nfe=2, samples 0 to 39: done\n")
    assert len(list((tmp_path / "here" / "out" / "shards").rglob("*.safetensors"))) == 1


class TestRay:
    def test_none_installed(self, monkeypatch, tmp_path, tiny_model):
        monkeypatch.setitem(sys.modules, "ray", None)
        with pytest.raises(UserError, match=r"--workers ray needs Ray: pip install 'samplerbench\[ray\]'"):
            samplerbench.run("ddim", model=str(tiny_model), nfe=2, samples=40, out=tmp_path / "out", workers="ray")

    @pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
    def test_what_answers_is_not_ray(self, command, tmp_path, tiny_model, answer):
        pytest.importorskip("ray")
        with socket.create_server(("127.0.0.1", 0)) as server:

            def serve():
                line, _ = server.accept()
                line.recv(100)
                line.sendall(answer)
                line.close()

            threading.Thread(target=serve, daemon=True).start()
            workers = f"ray:127.0.0.1:{server.getsockname()[1]}"
            asked = ["--samplers", "ddim", "--model", tiny_model, "--samples", 40, "--nfe", 2, "--out", tmp_path / "o"]
            status, _, said = command("run", *asked, "--workers", workers)
        assert status == 2
        assert said == (
            f"Error: --workers {workers}: no cluster answers there (ConnectionError: what listens there is not Ray)\n"
        )

    def test_a_folder_that_is_not_shared(self, planned, tmp_path):
        """The worker's shards come as bytes; it leaves no file."""
        plan, elsewhere = WrittenPlan.read(planned), tmp_path / "elsewhere"
        setup = json.dumps(asdict(replace(plan.setup, cache=str(elsewhere))))
        actor = Actor()
        assert json.loads(actor.begin(setup, "no-such-token"))["shared"] is False
        (task, *_) = tasks_of(plan.cells[0], 30)
        said, (data,) = actor.make(task.text())
        assert json.loads(said) == {"cached": 0, "notices": []}
        assert not elsewhere.exists()
        cache = ShardCache(tmp_path / "ours", pytest.fail)
        film = FilmTask(task.cell, 3)
        said, sent = actor.make(film.text())
        assert json.loads(said) == {"cached": 0, "notices": []}
        assert arrived(cache, film, 0, sent) == Filmed(trajectory(actor.remote.maker.worker, task.cell, 3))
        assert len(cache.take(task.cell.key, 0, data)) == 30
        assert len(cache.load(task.cell.key, 0)) == 30
        said = []
        cache.notice = said.append
        assert cache.take(task.cell.key, 0, data[:-1]) is None
        assert said[0].startswith("a shard that was sent is damaged")


FULL = """
import resource, signal, sys
from dataclasses import dataclass
from samplerbench import Sampler, hookimpl

@dataclass(frozen=True, kw_only=True)
class Full(Sampler):
    name = "full"
    def sample(self, eps, grid, x, noise):
        if any("child" in one for one in sys.orig_argv):  # the run itself has room
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        return (x - 0.1 * eps(x, grid.times[0])).clamp(-1, 1)

@hookimpl
def samplerbench_samplers(register):
    register(Full)
"""


def test_a_disk_that_is_full_for_one_worker(go, tmp_path, tiny_model):
    """It says so, and sends what it makes; the run, which has room, keeps it."""
    path, heard = tmp_path / "full.py", Heard()
    path.write_text(FULL)
    serial = go("full", "serial", plugins=str(path))
    assert go("full", "out", plugins=str(path), workers=2, listener=heard).equals(serial)
    told = [text for text in heard.notices if re.search(r"out-cache cannot be written \(File too large\)", text)]
    assert len(told) == 2
    shards = sorted((tmp_path / "out-cache").rglob("*.safetensors"))
    assert len(shards) == 6
    assert not [file for file in (tmp_path / "out-cache").rglob("*.part")]


def test_clocks_that_are_wrong_change_nothing(go, planned, tmp_path, plugin):
    """Shards are found by what they are, not by when they were written."""
    written.work(planned, (1, 1), lambda text: None)
    for number, file in enumerate(sorted((planned / "shards").rglob("*"))):
        when = time.time() + (-1) ** number * 400 * 24 * 3600
        os.utime(file, (when, when))
    expected = go("ddim,fine", "serial", plugins=plugin, nfe=[2])
    heard = Heard()
    assert go("ddim,fine", "planned", plugins=plugin, nfe=[2], listener=heard).equals(expected)
    assert not heard.notices


def test_a_second_run_is_told_who_has_the_folder(command, tmp_path, tiny_model):
    out = tmp_path / "out"
    first = Store(out)
    first.open()
    asked = ["run", "--samplers", "ddim", "--model", tiny_model, "--samples", 40, "--nfe", 2, "--out", out]
    for more in ([], ["--plan-only"]):
        status, _, said = command(*asked, *more)
        assert status == 2
        who = f"process {os.getpid()} on {platform.node()}"
        assert said == f"Error: another run is writing to --out {out} ({who}); wait for it, or name another\n"
    first.close()
    assert command(*asked)[0] == 0


@pytest.mark.parametrize(
    ("workers", "message"),
    [
        ("0", "--workers 0: a number of processes is a whole one from 1 to 1024"),
        ("-1", "--workers -1: a number of processes is a whole one from 1 to 1024"),
        ("2.5", "--workers 2.5: a number of processes is a whole one from 1 to 1024"),
        ("100000", "--workers 100000: a number of processes is a whole one from 1 to 1024"),
        ("many", "--workers many: expected serial, a number of processes, gpus, or ray[:ADDRESS]"),
        ("serail", "ray[:ADDRESS]; did you mean 'serial'?"),
        ("ray:head", "--workers ray:head: expected ray:HOST:PORT, such as ray:10.0.0.1:6379, or ray:auto"),
        ("ray:http://a:1", "expected ray:HOST:PORT"),
    ],
)
def test_workers_that_are_none(command, workers, message):
    status, _, said = command("run", "--samplers", "ddim", "--workers", workers)
    assert status == 2
    assert said.startswith("Error: ")
    assert message in said
    assert said.count("\n") == 1


def test_no_more_workers_are_begun_than_there_are_shards():
    for count, tasks in ((2, tasks_of(cell_named("a"), 2000)), (0, [])):
        hands = Fakes(7)
        results, _ = made_by(hands, tasks)
        assert (len(results), hands.begun, hands.closed) == (count, count, True)


def test_a_worker_that_never_comes_is_not_waited_for(monkeypatch):
    """What another died of is not kept for it for ever."""
    monkeypatch.setattr("samplerbench.bench.pools.crew.LOADING", 0.2)

    class Absent(Fakes):
        def begin(self, place):
            super().begin(place)
            if place == 1:
                self.news.pop()
            elif self.begun == 3:  # the second worker of the first place
                self.script = {}

    results, _ = made_by(Absent(2, {"a": "dies"}), tasks_of(cell_named("a"), 2048))
    assert all(isinstance(result.outcome, Made) for result in results)
    assert len(results) == 2


class Loading(Fakes):
    """A worker that hangs while it loads."""

    def begin(self, place):
        self.begun += 1

    def held(self, seconds, timeout):
        """What is said while one waits for it so long."""
        said, until = [], time.monotonic() + seconds
        told = Told(lambda task: None, lambda task, samples: None, said.append)
        crew = Crew(self, timeout)
        assert not list(crew.make(tasks_of(cell_named("a"), 1024), lambda task: time.monotonic() < until, told))
        return said


@pytest.mark.parametrize(("queued", "what"), [(False, "loading"), (True, "waiting for a place or loading")])
def test_a_worker_that_is_slow_to_come_is_told_of_once(monkeypatch, queued, what):
    monkeypatch.setattr("samplerbench.bench.pools.crew.SLOW", 0.1)
    hands = Loading(1)
    hands.queued = queued
    assert hands.held(0.3, 0.1) == [f"worker 1 is still {what} after 0.1 s"]


def test_workers_that_hang_while_they_load_are_ended(monkeypatch):
    """Only with a timeout; whoever waits for a place does not hang."""
    monkeypatch.setattr("samplerbench.bench.pools.crew.LOADING", 0.1)
    expected = "no worker is left: 3 workers in a row have died; the last: not ready after 0.1 s"
    with pytest.raises(UserError, match=expected):
        (hands := Loading(1)).held(9, 0.05)
    assert (hands.begun, hands.closed) == (3, True)
    with pytest.raises(UserError, match=r"not ready after 0\.2 s"):
        Loading(1).held(9, 0.2)
    for queued, timeout in ((False, None), (True, 0.05)):
        hands = Loading(1)
        hands.queued = queued
        assert hands.held(0.5, timeout) == []
        assert hands.begun == 1


def test_the_last_shards_wait_for_who_is_free_first():
    """A worker that has loaded first does not take all of them."""
    given = []

    class Noted(Fakes):
        def give(self, place, task):
            given.append((place, task.index))
            super().give(place, task)

    made_by(Noted(2), tasks_of(cell_named("a"), 2048))
    assert sorted(given) == [(0, 0), (1, 1)]
    given.clear()
    made_by(Noted(2), tasks_of(cell_named("a"), 5 * 1024))
    assert given[:2] == [(0, 0), (0, 1)]
    assert sorted(index for _, index in given) == [0, 1, 2, 3, 4]


def test_samples_that_are_done_again_are_told_of_once():
    (task,) = tasks_of(cell_named("a"), 100)
    told = []

    class Slow(Fakes):
        """Dies once after 60 samples, and then does all of them but 40, which were found."""

        def give(self, place, task):
            self.has[place].append(task)
            self.news += [Advanced(place, 60)] if self.begun == 1 else [Found(place, 40), *[Advanced(place, 30)] * 2]
            self.script = {"a": "dies"} if self.begun == 1 else {}

    def drawn(task, samples):
        told.append(samples)

    def found(task, samples):
        told.append(-samples)

    who = Told(lambda task: None, drawn, lambda text: None, found)
    list(Crew(Slow(1)).make([task], lambda task: True, who))
    assert told == [60, 10, 30]
    told.clear()
    fakes = Fakes(1)
    fakes.give = lambda place, task: (fakes.has[place].append(task), fakes.news.append(Found(place, 100)))
    list(Crew(fakes).make([task], lambda task: True, who))
    assert told == [-100]


class TestOneFileForMany:
    key = "ab" * 32

    def test_a_shorter_shard_that_comes_later_stays_out(self, tmp_path, monkeypatch):
        """The longer one is written between the other's look and its replacing of the file."""
        long, short = (shard_of(tasks_of(cell_named("a"), n)[0]) for n in (50, 20))
        cache = ShardCache(tmp_path, pytest.fail)
        fsync = os.fsync

        def meanwhile(number):
            monkeypatch.setattr(os, "fsync", fsync)
            assert ShardCache(tmp_path, pytest.fail).save(self.key, 0, long)
            fsync(number)

        monkeypatch.setattr(os, "fsync", meanwhile)
        assert cache.save(self.key, 0, short)
        assert len(cache.load(self.key, 0)) == 50
        assert len(cache.take(self.key, 0, samplerbench.bench.shards.as_bytes(self.key, 0, short))) == 20
        assert len(cache.load(self.key, 0)) == 50

    def test_many_writers_at_once(self, tmp_path):
        draw = random.Random(0)
        lengths = [draw.randrange(1, 1000) for _ in range(60)]
        shards = {n: shard_of(tasks_of(cell_named("a"), n)[0]) for n in lengths}
        seen, done = [], threading.Event()

        def write(mine):
            cache = ShardCache(tmp_path, pytest.fail)
            for n in mine:
                assert cache.save(self.key, 0, shards[n])

        def look():
            cache = ShardCache(tmp_path, pytest.fail)
            while not done.is_set():
                seen.append(len(cache.load(self.key, 0) or ()))

        reader = threading.Thread(target=look)
        reader.start()
        writers = [threading.Thread(target=write, args=(lengths[part::4],)) for part in range(4)]
        for one in writers:
            one.start()
        for one in writers:
            one.join()
        done.set()
        reader.join()
        assert seen == sorted(seen)
        assert len(ShardCache(tmp_path, pytest.fail).load(self.key, 0)) == max(lengths)

    def test_names_of_unfinished_files_tell_who_writes_them(self, tmp_path, monkeypatch):
        names, replaced = [], Path.replace

        def replace(self, target):
            names.append(self.name)
            return replaced(self, target)

        monkeypatch.setattr(Path, "replace", replace)
        cache = ShardCache(tmp_path, pytest.fail)
        for n in (10, 20):
            cache.save(self.key, 0, shard_of(tasks_of(cell_named("a"), n)[0]))
        who = re.escape(f"{platform.node()}-{os.getpid()}")
        assert all(re.fullmatch(rf"\.00000\.safetensors\.{who}-[0-9a-f]{{8}}\.part", name) for name in names)
        assert len(set(names)) == 2


SLOW = """
import os, time
from dataclasses import dataclass
from samplerbench import Sampler, hookimpl

@dataclass(frozen=True, kw_only=True)
class Slow(Sampler):
    name = "slow"
    def sample(self, eps, grid, x, noise):
        time.sleep(float(os.environ.get("SLEEP", "0")))
        return (x - 0.1 * eps(x, grid.times[0])).clamp(-1, 1)

@hookimpl
def samplerbench_samplers(register):
    register(Slow)
"""
ENDS = {  # how a run is ended, and its exit status
    "ctrl-c": (lambda pid: os.killpg(pid, signal.SIGINT), 130),
    "kill": (lambda pid: os.kill(pid, signal.SIGKILL), -signal.SIGKILL),
    "interrupt": (lambda pid: os.kill(pid, signal.SIGINT), 130),
    "terminate": (lambda pid: os.kill(pid, signal.SIGTERM), -signal.SIGTERM),
}
MANY = pytest.mark.skipif("SAMPLERBENCH_KILLS" not in os.environ, reason="takes a minute: SAMPLERBENCH_KILLS=1")


def alive(mark):
    """The processes that descend from one with this mark in its environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            ended = folder.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "Z"
            if not ended and mark.encode() in folder.joinpath("environ").read_bytes():
                found.append(int(folder.name))
        except OSError:  # it has ended
            continue
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
@pytest.mark.parametrize(
    ("workers", "ends"),
    [
        pytest.param("2", list(ENDS), marks=MANY),
        pytest.param("ray", list(ENDS), marks=MANY),
    ],
)
def test_no_worker_outlives_its_run(go, tiny_model, tmp_path, workers, ends):
    """A run is ended in several ways, one after the other, while it samples. No process is left of it. What was
    finished stays, and at the end there are the rows of a run that was left alone.
    """
    if workers == "ray":
        pytest.importorskip("ray")
    (plugin := tmp_path / "slow.py").write_text(SLOW)
    out, cache, log = (tmp_path / name for name in ("out", "cache", "log.jsonl"))
    asked = ["--samplers", "slow", "--plugin", plugin, "--nfe", "2,3", "--samples", 2100, "--model", tiny_model]
    where = ["--out", out, "--cache", cache, "--log-json", log, "--workers", workers, "--device", "cpu", "--quiet"]
    command = [sys.executable, "-m", "samplerbench", "run", *asked, *where]

    def start(mark, sleep):
        environment = os.environ | {"MARK": mark, "SLEEP": sleep, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(list(map(str, command)), env=environment, process_group=0)

    def told():
        return log.read_text().count('"advance"') if log.exists() else 0

    for name in ends:
        end, status = ENDS[name]
        mark, before = f"{name}-{tmp_path}", told()
        process = start(mark, "1")
        try:
            deadline = time.monotonic() + 120
            while told() <= before:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            assert len(alive(mark)) >= 3
            end(process.pid)
            assert process.wait(timeout=60) == status
            deadline = time.monotonic() + 30
            while (left := alive(mark)) and time.monotonic() < deadline:
                time.sleep(0.1)
            assert not left, [Path(f"/proc/{pid}/cmdline").read_text() for pid in left]
        finally:
            for pid in alive(mark):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait(timeout=60)
    there = len(list(cache.rglob("*.safetensors")))
    assert start("last", "0").wait(timeout=200) == 0
    assert len(list(cache.rglob("*.safetensors"))) == 6 >= there
    serial = go("slow", "serial", nfe=[2, 3], plugins=str(plugin))
    assert pd.read_csv(out / "results.csv", dtype=str).drop(columns=TIMES).equals(serial)
    assert json.loads((out / "run.json").read_text())["status"] == "finished"
