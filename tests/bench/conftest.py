"""Runs with workers, and a plugin whose samplers do to their workers what their names say."""

from __future__ import annotations

import pandas as pd
import pytest

import samplerbench
from samplerbench.bench.record import COLUMNS

TIMES = [
    *(name for name in COLUMNS if name.startswith("seconds")),
    *("images_per_second", "memory_mb", "finished", "cached", "checksum"),
]

PLUGIN = """
import os, time
from dataclasses import dataclass
from samplerbench import Sampler, hookimpl

class Base(Sampler):
    def sample(self, eps, grid, x, noise):
        self.act()
        return (x - 0.1 * eps(x, grid.times[0])).clamp(-1, 1)

@dataclass(frozen=True, kw_only=True)
class Fine(Base):
    name = "fine"
    def act(self):
        pass

@dataclass(frozen=True, kw_only=True)
class Dies(Base):
    name = "dies"
    def act(self):
        os._exit(7)

@dataclass(frozen=True, kw_only=True)
class Hangs(Base):
    name = "hangs"
    def act(self):
        time.sleep(1000)

@dataclass(frozen=True, kw_only=True)
class Raises(Base):
    name = "raises"
    def act(self):
        raise ValueError("inner trouble")

@hookimpl
def samplerbench_samplers(register):
    for sampler in (Fine, Dies, Hangs, Raises):
        register(sampler)
"""


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    return str(path)


@pytest.fixture
def go(tiny_model, tmp_path):
    """A run in its own folder and cache; its rows without what a clock says."""

    def run(samplers, name, **options):
        options = {"nfe": [2, 4], "samples": 2100, "model": str(tiny_model), "device": "cpu"} | options
        options.setdefault("cache", tmp_path / f"{name}-cache")
        samplerbench.run(samplers, out=tmp_path / name, **options)
        return pd.read_csv(tmp_path / name / "results.csv", dtype=str).drop(columns=TIMES)

    return run
