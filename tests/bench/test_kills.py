"""SIGKILL at random moments, of a run with two workers or of one of these: nothing is lost, and nothing doubled."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pandas as pd
import pytest

from .test_artefacts import contents
from .test_faults import alive

CODE = "import torch; torch.set_num_threads(1); from samplerbench.cli import main; main()"
SMALL = "from samplerbench.bench import task\ntask.SHARD = 16\n"  # in every process, workers too
ASKED = "run --samplers ddim,ddpm --nfe 20,60 --metrics fid,kid --samples 96 --batch-size 8 --quiet --device cpu"
EACH = 4  # kills of one run


@pytest.mark.skipif("SAMPLERBENCH_KILLS" not in os.environ, reason="takes two minutes: SAMPLERBENCH_KILLS=2")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_killed_anywhere_it_ends_in_the_same_csv(tiny_model, tmp_path):
    """At least as many kills as SAMPLERBENCH_KILLS says, in one run after the other."""

    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SMALL)

    def start(name, *more):
        where = ["--model", str(tiny_model), "--out", str(tmp_path / name), "--cache", str(tmp_path / f"{name}-cache")]
        environment = os.environ | {"MARK": f"{name}-{tmp_path}", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(site)}
        return subprocess.Popen([sys.executable, "-c", CODE, *ASKED.split(), *where, *more], env=environment)

    assert start("whole").wait(timeout=600) == 0
    wanted, began = contents(tmp_path / "whole"), time.monotonic()
    assert start("two", "--workers", "2").wait(timeout=600) == 0
    assert contents(tmp_path / "two") == wanted
    took = time.monotonic() - began
    draw, most = random.Random(0), int(os.environ["SAMPLERBENCH_KILLS"])
    runs = drivers = workers = 0
    while drivers + workers < most:
        name, left = f"killed-{runs}", min(EACH, most - drivers - workers)
        process = start(name, "--workers", "2")
        until, deadline = time.monotonic() + draw.uniform(0.3, 1.0) * took, time.monotonic() + 30 * took
        while process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
            if not left or time.monotonic() < until:
                continue
            others = [pid for pid in alive(f"{name}-{tmp_path}") if pid != process.pid]
            if others and draw.random() < 0.5:
                with suppress(ProcessLookupError):
                    os.kill(draw.choice(others), signal.SIGKILL)
                    workers += 1
            else:
                process.kill()
                process.wait()
                drivers += 1
                process = start(name, "--workers", "2")
            left, until = left - 1, time.monotonic() + draw.uniform(0.3, 1.0) * took
        assert process.returncode == 0
        assert contents(tmp_path / name) == wanted
        rows = pd.read_csv(tmp_path / name / "results.csv")
        assert len(rows) == rows["key"].nunique() == 4
        assert len(list((tmp_path / f"{name}-cache").rglob("*.safetensors"))) == 4 * 6
        runs += 1
    print(f"{drivers} runs and {workers} workers were killed, in {runs} runs")
