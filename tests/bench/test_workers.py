"""Workers, plans, shards and machines that are not what they were thought to be."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections import deque
from dataclasses import asdict, replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch

from samplerbench.bench import execute
from samplerbench.bench.maker import Failure, Filmed, Made, Maker
from samplerbench.bench.measure import Measurer
from samplerbench.bench.pools import child, choose, processes
from samplerbench.bench.pools.crew import LONGEST
from samplerbench.bench.pools.events import Died, Finished, Ready
from samplerbench.bench.pools.known import Known
from samplerbench.bench.pools.names import check_workers
from samplerbench.bench.pools.pool import Pool, Result, Told
from samplerbench.bench.remote import Done
from samplerbench.bench.run import _absolute, _absolute_plugin
from samplerbench.bench.shards import Gathered, ShardCache
from samplerbench.bench.task import FilmTask, Setup, tasks_of
from samplerbench.errors import UserError

from .test_pools import Fakes, cell_named, made_by, shard_of

SETUP = Setup("m", "e", None, (), "cpu", "float32", "no", 8, 0, (), "c", False)
NOBODY = Told(lambda task: None, lambda task, samples: None, print)


def test_a_timeout_of_weeks_is_waited_for_in_parts():
    class Patient(Fakes):
        def wait(self, seconds):
            assert seconds is None or seconds <= LONGEST
            return super().wait(seconds)

    results, _ = made_by(Patient(2), tasks_of(cell_named("a"), 5000), timeout=1e300)
    assert len(results) == 5


def test_nobody_waits_for_what_is_not_wanted():
    """A worker that never comes, as one of Ray's that no GPU is free for, and one that hangs in a cell that failed."""

    class Waiting(Fakes):
        def begin(self, place):
            if place < 2:
                super().begin(place)

        def give(self, place, task):
            if place == 1:
                self.news.append(Finished(place, Failure("failed", "inner trouble")))

        def wait(self, seconds):
            assert self.news, "it waits for ever"
            return super().wait(seconds)

    results, _ = made_by(hands := Waiting(3), tasks_of(cell_named("a"), 9000))
    assert [one.outcome for one in results] == [Failure("failed", "inner trouble")]
    assert hands.closed


@pytest.mark.parametrize("workers", ["9" * 5000, "٣", "2 ", "1_0"])
def test_numbers_that_are_none(workers):
    with pytest.raises(UserError, match="--workers "):
        check_workers(workers)


class Others(Pool):
    """Makes what it is given, and notes it."""

    def make(self, tasks, wanted, told):
        self.given = list(tasks)
        yield from (Result(task, Made(shard_of(task), 0)) for task in tasks if wanted(task))


def known_and_made(cache, planned, wanted=lambda task: True):
    pool = Known(Maker(None, None, cache), Others())
    return list(pool.make(planned, wanted, NOBODY)), pool.rest.given


def test_what_is_there_of_cells_is_not_held_in_memory_all_at_once(tmp_path):
    """Cells of which some shards are there are begun one by one, with the first that a worker makes of each."""
    cache, planned = ShardCache(tmp_path, pytest.fail), [t for n in "abcd" for t in tasks_of(cell_named(n), 4000)]
    for task in planned:
        if task.index != 2 or task.cell.sampler == "d":
            cache.save(task.cell.key, task.index, shard_of(task))
    results, given = known_and_made(cache, planned)
    assert [(task.cell.sampler, task.index) for task in given] == [("a", 2), ("b", 2), ("c", 2)]
    assert [one.task.cell.sampler for one in results] == [*"dddd", *"aaaa", *"bbbb", *"cccc"]
    assert sorted(one.task.index for one in results if one.task.cell.sampler == "b") == [0, 1, 2, 3]
    assert all(isinstance(one.outcome, Made) for one in results)


@pytest.mark.parametrize("outcome", [Filmed(b"a picture"), Failure("failed", "inner trouble")])
def test_a_cell_of_which_the_film_alone_is_missing_begins_with_it(tmp_path, outcome):
    """It is not lost where there is no film."""
    cache, planned = ShardCache(tmp_path, pytest.fail), tasks_of(cell_named("a"), 2000)
    for task in planned:
        cache.save(task.cell.key, task.index, shard_of(task))

    class Filming(Others):
        def make(self, tasks, wanted, told):
            self.given = list(tasks)
            yield Result(tasks[0], outcome)

    pool, film = Known(Maker(None, None, cache), Filming()), FilmTask(planned[0].cell, 8)
    results = list(pool.make([*planned, film], lambda task: True, NOBODY))
    assert pool.rest.given == [film]
    assert {one.task for one in results} == {*planned, film}
    assert [one.outcome for one in results if one.task == film] == [outcome]


def test_a_shard_that_goes_while_others_are_made_fails_its_cell(tmp_path):
    cache, planned = ShardCache(tmp_path, pytest.fail), tasks_of(cell_named("a"), 2000)
    cache.save(planned[0].cell.key, 0, shard_of(planned[0]))

    class Careless(Others):
        def make(self, tasks, wanted, told):
            cache.path(planned[0].cell.key, 0).unlink()
            yield from super().make(tasks, wanted, told)

    first, second = Known(Maker(None, None, cache), Careless()).make(planned, lambda task: True, NOBODY)
    assert first.outcome == Failure("failed", f"a shard in {tmp_path} was there, and is not any more")
    assert second.task.index == 1


def test_a_damaged_shard_of_a_whole_cell_is_made_again(tmp_path):
    said = []
    cache, planned = ShardCache(tmp_path, said.append), tasks_of(cell_named("a"), 3000)
    for task in planned:
        cache.save(task.cell.key, task.index, shard_of(task))
    file = cache.path(planned[1].cell.key, 1)
    data = bytearray(file.read_bytes())
    data[-9] ^= 1
    file.write_bytes(data)
    results, given = known_and_made(cache, planned)
    assert given == [planned[1]]
    assert [one.task.index for one in results] == [0, 2, 1]
    assert len(said) == 1
    file.write_bytes(data[:50])
    assert known_and_made(cache, planned)[1] == [planned[1]]


@pytest.mark.parametrize("name", ["features", "x0", "evaluations"])
def test_a_shard_with_numbers_that_are_none_is_damaged(tmp_path, name):
    said = []
    (task,) = tasks_of(cell_named("a"), 20)
    shard = replace(shard_of(task), x0=torch.zeros(3, 1, 2, 2))
    cache = ShardCache(tmp_path, said.append)
    wrong = shard.tensors()[name].clone()
    wrong.view(-1)[-1] = float("nan")
    cache.save("ab" * 32, 0, replace(shard, **{name: wrong}))
    assert cache.load("ab" * 32, 0) is None
    assert f"is damaged (its {name} are not finite) and is made again" in said[0]


def test_shards_of_other_shapes_fail_their_cell():
    planned = tasks_of(cell_named("a"), 2000)
    cell = execute._Cell(None, None, Gathered(2000), planned)
    for task in planned:
        features = torch.zeros(task.count, 2 + task.index)
        cell.add(Result(task, Made(replace(shard_of(task), features=features), 0)))
    assert cell.failure.reason.startswith("its shards do not go together: RuntimeError: ")
    assert cell.done == 1


def test_a_task_is_given_while_another_is_done(monkeypatch):
    """Even one whose times alone fill a socket."""
    done, doing = threading.Event(), threading.Event()

    class Slow:
        hardware = "a cpu"

        def __init__(self, setup, notice):
            pass

        def do(self, task, advance, found):
            doing.set()
            done.wait(20)
            return Done(0, None)

    monkeypatch.setattr(child, "Remote", Slow)
    ours, theirs = (Connection(one.detach()) for one in socket.socketpair())
    worker = threading.Thread(target=child.serve, args=(theirs,), daemon=True)
    worker.start()
    ours.send_bytes(json.dumps({"setup": asdict(SETUP)}).encode())
    assert json.loads(ours.recv_bytes()) == {"event": "ready", "about": "a cpu"}
    (task,) = tasks_of(cell_named("a", 100_000), 10)
    ours.send_bytes(task.text().encode())
    assert doing.wait(20)
    giver = threading.Thread(target=ours.send_bytes, args=(task.text().encode(),), daemon=True)
    giver.start()
    giver.join(20)
    assert not giver.is_alive()
    done.set()
    assert [json.loads(ours.recv_bytes())["event"] for _ in range(2)] == ["made", "made"]
    ours.close()
    worker.join(20)
    assert not worker.is_alive()


FROZEN = """
import json, os, signal, sys
from multiprocessing.connection import Connection
line = Connection(int(sys.argv[1]))
{before}
line.recv_bytes()
line.send_bytes(json.dumps({{"event": "ready", "about": str(os.getpid())}}).encode())
line.recv_bytes()
line.send_bytes(json.dumps({{"event": "made", "cached": 0, "shards": 1}}).encode())
os.write(line.fileno(), (1000).to_bytes(4, "big") + b"the first bytes of a shard")
os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_workers_that_came_while_the_run_was_busy_are_not_late(monkeypatch):
    """It hears all that was said before it ends anybody."""
    monkeypatch.setattr("samplerbench.bench.pools.crew.LOADING", 0.2)
    hands = processes.Processes([SETUP] * 2, None)

    class Quick:
        def __init__(self, place, setup, heard):
            self.place, self.tasks, self.given, self.heard = place, deque(), self, heard
            self.say(event="ready", about="a cpu")

        def say(self, **said):
            self.heard.put((self, said, []))

        def put(self, text):
            self.say(event="failed", failure={"status": "failed", "reason": "inner trouble"})

        def end(self):
            pass

    def busy(place, begin=hands.begin):
        began.append(place)
        begin(place)
        time.sleep(0.2)

    began = []
    monkeypatch.setattr(processes, "_Worker", Quick)
    hands.begin = busy
    results, said = made_by(hands, tasks_of(cell_named("a"), 2048), timeout=0.1)
    assert (began, len(results), said) == ([0, 1], 1, [])


class TestFrozen:
    """Processes that stop, whatever they are doing, hold nobody up."""

    @pytest.fixture
    def hands(self, monkeypatch):
        def of(before="", setup=SETUP):
            script, popen = FROZEN.format(before=before), subprocess.Popen

            def begin(command, **how):
                return popen([command[0], "-c", script, *command[-2:]], **how)

            monkeypatch.setattr(processes.subprocess, "Popen", begin)
            return processes.Processes([setup], None)

        return of

    def test_in_the_middle_of_a_shard(self, hands):
        tasks = tasks_of(cell_named("a"), 10)
        results, _ = made_by(hands(), tasks, timeout=0.5)
        assert [one.outcome.reason for one in results] == ["it took longer than the 0.5 s of --cell-timeout"]

    def test_before_they_have_heard_what_fills_the_line(self, hands):
        frozen = hands("os.kill(os.getpid(), signal.SIGSTOP)", setup=replace(SETUP, plugins=("x" * 10**6,)))
        frozen.begin(0)
        frozen.give(0, tasks_of(cell_named("a", 100_000), 10)[0])
        assert list(frozen.wait(0.1)) == []
        frozen.end(0)
        assert list(frozen.wait(0.1)) == []

    def test_what_was_heard_of_one_that_was_ended_counts_for_nothing(self, hands):
        frozen = hands()
        frozen.begin(0)
        while frozen._heard.empty():
            time.sleep(0.01)
        frozen.end(0)
        frozen.begin(0)
        heard = []
        while not heard:
            heard = list(frozen.wait(20))
        assert heard == [Ready(0, str(frozen._workers[0]._process.pid))]
        frozen.end(0)

    def test_one_that_speaks_no_sense_is_dead(self, hands):
        babbling = hands("line.send_bytes(b'hello'); sys.exit(3)")
        babbling.begin(0)
        assert list(babbling.wait(20)) == [Died(0, "it ended with status 3")]
        assert list(babbling.wait(0.01)) == []


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_what_a_plugin_has_started_ends_with_its_worker():
    worker = subprocess.Popen(
        ["sh", "-c", "sleep 100 & echo $!; wait"], stdout=subprocess.PIPE, text=True, process_group=0
    )
    started = int(worker.stdout.readline())
    processes._kill(worker)
    assert worker.returncode == -9
    status, until = Path(f"/proc/{started}/stat"), time.monotonic() + 10
    while status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z":  # who adopts it may not reap it
        assert time.monotonic() < until
        time.sleep(0.01)
    worker.stdout.close()


def test_a_worker_finds_the_modules_of_the_current_folder(monkeypatch, tmp_path):
    """As a notebook does, whose path begins with ''."""
    began = []

    def begin(command, env, **_):
        began.append(env["PYTHONPATH"].split(os.pathsep))
        raise InterruptedError

    monkeypatch.setattr(processes.subprocess, "Popen", begin)
    monkeypatch.setattr(processes.sys, "path", ["", "/lib"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InterruptedError):
        processes.Processes([SETUP], None).begin(0)
    assert began == [[str(tmp_path), "/lib"]]


def test_workers_share_the_processors_that_there_are_for_them(monkeypatch):
    monkeypatch.setattr(choose.os, "sched_getaffinity", lambda process: set(range(6)), raising=False)
    monkeypatch.setattr(choose.os, "cpu_count", lambda: 64)
    assert [setup.threads for setup in choose._setups("3", SETUP)] == [2, 2, 2]


def test_names_are_names_whatever_lies_here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for folder in ("fashion-mnist", "hf:mine", "plugins", "hf", "run:1/model"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("m.py", "module"):
        (tmp_path / file).touch()
    assert _absolute("fashion-mnist") == "fashion-mnist"
    assert _absolute("hf:google/ddpm") == "hf:google/ddpm"
    assert _absolute("run:1/model") == str(tmp_path / "run:1/model")
    assert _absolute("m.py:make") == f"{tmp_path / 'm.py'}:make"
    assert _absolute("package.m:make") == "package.m:make"
    assert _absolute_plugin("module") == "module"
    assert _absolute_plugin("plugins") == str(tmp_path / "plugins")
    assert _absolute_plugin("m.py") == str(tmp_path / "m.py")


def test_what_is_kept_of_a_compiled_network_is_its_own():
    kept = []
    measurer = Measurer([], None, None, lambda name, identity, compute: kept.append(identity), None, *[print] * 3)
    for compiled in ("no", "inductor", "no"):
        measurer._keep(replace(cell_named("a"), compiled=compiled), "code", "ode", {"count": 3}, dict)
    assert kept[0] == kept[2] != kept[1]


class TestPlans:
    @pytest.fixture
    def plan(self, tmp_path):
        said = {"schema": 1, "setup": asdict(SETUP), "samples": 20, "cells": [asdict(cell_named("a"))]}

        def write(change):
            new = json.loads(json.dumps(said))
            for where, value in change.items():
                place, _, name = where.rpartition(".")
                {"": new, "setup": new["setup"], "cell": new["cells"][0]}[place][name] = value
            (tmp_path / "plan.json").write_text(json.dumps(new))
            return tmp_path

        return write

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"samples": 0}, "ValueError: samples is 0"),
            ({"samples": 1.5}, "ValueError: samples is 1.5"),
            ({"setup.batch_size": 0}, "ValueError: batch_size is 0, expected a number from 1 on"),
            ({"setup.batch_size": None}, "ValueError: batch_size is None"),
            ({"setup.threads": -1}, "ValueError: threads is -1, expected a number from 0 on"),
            ({"setup.model": 3}, "TypeError: expected text: [3]"),
            ({"cell.times": [float("nan"), 0.0]}, "ValueError: Out of range float values"),
            ({"cells": [asdict(cell_named("a"))] * 2}, "ValueError: it has a cell twice"),
        ],
        ids=str,
    )
    def test_those_that_were_edited_are_told(self, plan, command, change, message):
        status, _, said = command("worker", out := plan(change))
        assert status == 2
        assert said.startswith(f"Error: {out / 'plan.json'} is no plan of a run: ")
        assert message in said
        assert said.count("\n") == 1

    def test_one_of_another_schema(self, plan, command):
        assert "is of schema '1', expected 1" in command("worker", plan({"schema": "1"}))[2]

    @pytest.mark.parametrize(
        ("device", "message"),
        [("banana", "unknown device 'banana'"), ("cuda:77", "--device cuda:77: this machine has ")],
    )
    def test_a_device_that_is_not_there(self, plan, command, device, message):
        status, _, said = command("worker", plan({}), "--device", device)
        assert (status, said.count("\n")) == (2, 1)
        assert message in said

    def test_a_part_of_which_nothing_is_left(self, plan, command):
        said = "nothing to do: the plan has 1 pieces of work, for 3 parts\n"
        assert command("worker", plan({}), "--slice", "2/3") == (0, "", said)

    def test_a_part_that_is_no_number(self, plan, command):
        assert "expected I/N" in command("worker", plan({}), "--slice", f"1/{'9' * 5000}")[2]
