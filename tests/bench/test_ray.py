"""Workers on a simulated Ray cluster of three nodes: one is taken away in the middle, and one worker is killed."""

from __future__ import annotations

import os
import subprocess
import sys

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
    while len(done) < 2:
        time.sleep(0.05)
    cluster.remove_node(nodes[0])

threading.Thread(target=disturb, daemon=True).start()
began = on_ray.Actors.begin
killed = []

def begin(self, place):
    began(self, place)
    if not killed:
        killed.append(self._handles[place])
        threading.Timer(8.0, lambda: ray.kill(killed[0])).start()

on_ray.Actors.begin = begin
model, out, cache = sys.argv[1:]
samplerbench.run("ddim,ddpm,dpm", model=model, nfe=[2, 4, 6], samples=2100, device="cpu", out=out, cache=cache,
                 workers="ray:" + cluster.address, listener=Heard())
cluster.shutdown()
"""


def test_a_cluster_that_loses_a_node_and_a_worker_gives_the_same_rows(tiny_model, tmp_path):
    import samplerbench

    samplerbench.run(
        "ddim,ddpm,dpm", model=str(tiny_model), nfe=[2, 4, 6], samples=2100, device="cpu", out=tmp_path / "serial"
    )
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    arguments = [str(tiny_model), str(tmp_path / "ray"), str(tmp_path / "ray-cache")]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], env=environment, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "died" in done.stdout
    ours, theirs = (
        pd.read_csv(tmp_path / name / "results.csv", dtype=str).drop(columns=TIMES) for name in ("serial", "ray")
    )
    assert theirs.equals(ours)


def test_an_address_that_does_not_answer(command, tiny_model, tmp_path):
    asked = ["run", "--samplers", "ddim", "--model", tiny_model, "--nfe", 2, "--samples", 40, "--out", tmp_path / "out"]
    status, _, said = command(*asked, "--workers", "ray:127.0.0.1:1")
    assert status == 2
    assert "--workers ray:127.0.0.1:1: no cluster answers there" in said
    assert said.count("\n") == 1
