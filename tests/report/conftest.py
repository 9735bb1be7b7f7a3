"""Run folders made by hand: exact, and without a network."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from samplerbench.bench.influences import Kept, influence_path, save_kept
from samplerbench.plugins import load_plugins
from samplerbench.report.choice import choose
from samplerbench.report.results import read_results

HASHES = {"model_sha256": "7f79", "extractor_sha256": "5299", "reference_sha256": "e63d", "fid_sha256": "abcd"}


@pytest.fixture(scope="session")
def registry():
    return load_plugins()


@pytest.fixture(scope="session")
def fid(registry):
    return registry.metric("fid")


def cell(sampler: str, asked: int, value: float | None, **changes: Any) -> dict[str, Any]:
    """A row of results.csv. `influences` and `halves`, where given, are what the run keeps of it."""
    row = {
        "model": "tiny",
        "sampler": sampler,
        "spacing": "uniform",
        "final": "zero",
        "budget": asked,
        "steps": asked,
        "nfe": float(asked),
        "status": "done",
        "reason": None,
        "fid": value,
        "fid_se": 1.0,
        "fid_n": 256,
        "samples": 256,
        "seed": 0,
        "dtype": "float32",
        "device": "cpu",
        "quantise": "round-half-up",
        "extractor": "fashion-mnist-cnn",
        "reference_count": 60000,
        **{name: value * 16 for name, value in HASHES.items()},
        "finished": "2026-01-01T00:00:00+00:00",
        **changes,
    }
    fids = "fid_sha256", "fid_se", "fid_n", "fid", "influences", "halves", "finished", "reason", "status"
    identity = {name: value for name, value in row.items() if name not in fids}
    row.setdefault("key", hashlib.sha256(repr(sorted(identity.items())).encode()).hexdigest())
    return row


def write_run(folder: Path, cells: list[dict[str, Any]]) -> Path:
    """A run's folder with these cells; the standard error follows from the influences where there are some."""
    rows = []
    for one in cells:
        row = dict(one)
        influences, halves = row.pop("influences", None), row.pop("halves", None)
        if influences is not None:
            influences = (influences - influences.mean()).astype(np.float32)
            row["fid_n"] = row["samples"] = len(influences)
            row["fid_se"] = float(influences.astype(float).std(ddof=1) / len(influences) ** 0.5)
        if influences is not None or halves is not None:
            save_kept(influence_path(folder, row, "fid"), Kept(row["fid"], influences, halves))
        rows.append(row)
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(folder / "results.csv", index=False)
    return folder


@pytest.fixture
def noise():
    """[256, 4]: influences that share most of their noise."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((256, 1)) * 5 + rng.standard_normal((256, 4))


@pytest.fixture
def read(tmp_path, registry):
    """The results of hand-made runs, chosen as the commands choose them."""

    def of(**runs):
        files = [read_results(write_run(tmp_path / name, cells)) for name, cells in runs.items()]
        return choose(files, registry)

    return of
