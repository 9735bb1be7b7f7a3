"""Workers on a simulated Ray cluster of three nodes: one is taken away in the middle, and one worker is killed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.bench.conftest import TIMES

pytest.importorskip("ray")

# Ray does not bear a second cluster in one process, so this has one of its own
SCRIPT = """
import os, sys, threading, time
import ray
from ray.cluster_utils import Cluster
import torch
torch.set_num_threads(1)
import samplerbench
from samplerbench.bench.execute import Listener
from samplerbench.bench.pools import on_ray

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
cluster.wait_for_nodes()
done = []

class Heard(Listener):
    def advance(self, cell, samples):
        done.append(samples)
    def notice(self, text):
        print("notice:", text, flush=True)

def disturb():
    while len(done) < 1:
        time.sleep(0.05)
    ray.kill(begun[0])
    while len(done) < 3:
        time.sleep(0.05)
    cluster.remove_node(nodes[0])

threading.Thread(target=disturb, daemon=True).start()
began = on_ray.Actors.begin
begun = []

def begin(self, place):
    began(self, place)
    begun.append(self._handles[place])

on_ray.Actors.begin = begin
model, out, cache = sys.argv[1:]
samplerbench.run("ddim,ddpm", model=model, nfe=[2, 4], samples=2100, device="cpu", out=out, cache=cache,
                 workers="ray:" + cluster.address, listener=Heard())
cluster.shutdown()
"""


def test_a_cluster_that_loses_a_node_and_a_worker_gives_the_same_rows(tiny_model, tmp_path):
    import samplerbench

    samplerbench.run(
        "ddim,ddpm", model=str(tiny_model), nfe=[2, 4], samples=2100, device="cpu", out=tmp_path / "serial"
    )
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    arguments = [str(tiny_model), str(tmp_path / "ray"), str(tmp_path / "ray-cache")]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], env=environment, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count(" died (") >= 2
    assert "its node has died" in done.stdout
    ours, theirs = (
        pd.read_csv(tmp_path / name / "results.csv", dtype=str).drop(columns=TIMES) for name in ("serial", "ray")
    )
    assert theirs.equals(ours)


GPUS = """
import json, os, sys, time
from dataclasses import fields
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from samplerbench.bench.pools import on_ray
from samplerbench.bench.pools.crew import Crew
from samplerbench.bench.pools.pool import Told
from samplerbench.bench.shards import ShardCache, as_bytes
from samplerbench.bench.task import Setup, read_task, tasks_of
from tests.bench.test_pools import cell_named, shard_of

class Card(on_ray.Actor):
    def begin(self, said, token):
        self.cards = os.environ["CUDA_VISIBLE_DEVICES"]
        self.node = ray.get_runtime_context().get_node_id()
        return json.dumps({"ready": "|".join([json.loads(said)["device"], self.cards, self.node]), "shared": False})

    def tried(self):
        return Path(os.environ["OUT"]) / "tried"

    def broken_tried(self):
        return sum(line.endswith(" 1") for line in self.tried().read_text().splitlines())

    def make(self, text):
        task = read_task(text)
        with self.tried().open("a") as file:
            file.write(f"{task.cell.sampler} {self.node} {self.cards}\\n")
        if task.cell.sampler == "poison" or (os.environ.get("BROKEN"), self.cards) == ("1", "1"):
            os._exit(1)
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline and self.broken_tried() < 3:  # so that there is work for it
            time.sleep(0.1)
        said = json.dumps({"cached": 0, "notices": []})
        return said, [as_bytes(task.cell.key, task.index, shard_of(task))]

on_ray.Actor = Card
out, os.environ["OUT"], os.environ["BROKEN"] = Path(sys.argv[1]), *sys.argv[1:3]  # for the actors, too
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
for gpus in (2, 1):
    cluster.add_node(num_cpus=2, num_gpus=gpus)
cluster.wait_for_nodes()
said = dict.fromkeys((field.name for field in fields(Setup)), False)
setup = Setup(**{**said, "plugins": (), "device": "cuda:0", "cache": str(out / "cache")})
hands = on_ray.Actors(setup, cluster.address, ShardCache(out / "cache", print))
ready, said, failed, made = [], [], {}, set()
wait = hands.wait

def heard(seconds):
    events = list(wait(seconds))
    ready.extend(event.about for event in events if hasattr(event, "about"))
    return events

hands.wait = heard
names = [*"abcdefgh", *sys.argv[3:]]
tasks = [task for name in names for task in tasks_of(cell_named(name), 2000)]
told = Told(lambda task: None, lambda task, samples: None, said.append)
for result in Crew(hands).make(tasks, lambda task: task.cell.sampler not in failed, told):
    if hasattr(result.outcome, "reason"):
        failed[result.task.cell.sampler] = result.outcome.reason
    else:
        made.add((result.task.cell.sampler, result.task.index))
Path(out / "said.json").write_text(json.dumps([hands.count, ready, said, failed, sorted(made)]))
cluster.shutdown()
"""


@pytest.mark.skipif("SAMPLERBENCH_KILLS" not in os.environ, reason="takes two minutes: SAMPLERBENCH_KILLS=1")
def test_each_actor_has_one_gpu_of_its_node(tmp_path):
    """Three fictitious GPUs, two of them on one node. A task says `cuda`, and Ray says which one that is. One is
    broken: it is given up, in one line. One cell kills its actors wherever it is: a shard of it is tried three times.
    """
    settings = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    environment = os.environ | settings | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", GPUS, str(tmp_path), "1", "poison"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    count, ready, said, failed, made = json.loads((tmp_path / "said.json").read_text())
    tried = (tmp_path / "tried").read_text().splitlines()
    assert count == 3
    devices = {}
    for about in ready:
        device, cards, node = about.split("|")
        assert device == "cuda"
        devices.setdefault(node, set()).add(cards)
    assert sorted(map(sorted, devices.values())) == [["0"], ["0", "1"]]
    assert made == [[name, index] for name in "abcdefgh" for index in range(2)]
    assert list(failed) == ["poison"]
    assert re.fullmatch(r"3 workers died while they sampled it; the last: ActorDiedError: .*", failed["poison"])
    assert 3 <= sum(line.startswith("poison ") for line in tried) <= 5  # of its two shards
    assert 3 <= sum(line.endswith(" 1") for line in tried) <= 5  # of three cells, perhaps of two shards of one
    given_up = r"worker \d is given up: [3-5] workers in a row have died; the last: ActorDiedError: .*"
    assert sum(bool(re.fullmatch(given_up, line)) for line in said) == 1
    assert all(len(line) < 300 and "\n" not in line for line in [*said, failed["poison"]])


def test_an_address_that_does_not_answer(command, tiny_model, tmp_path):
    asked = ["run", "--samplers", "ddim", "--model", tiny_model, "--nfe", 2, "--samples", 40, "--out", tmp_path / "out"]
    status, _, said = command(*asked, "--workers", "ray:127.0.0.1:1")
    assert status == 2
    assert "--workers ray:127.0.0.1:1: no cluster answers there" in said
    assert said.count("\n") == 1
