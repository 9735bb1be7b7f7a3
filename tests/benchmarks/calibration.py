"""Whether standard errors are right: how often 95 % intervals hold the truth, and predicted against observed spread.

    python -m tests.benchmarks.calibration synthetic [--repeats 1000] [--dimension 32]
    python -m tests.benchmarks.calibration blocks RUN [--cache FOLDER]

`synthetic`: features of two samplers on the same noise, Gaussian and skewed, against a fixed reference; every metric's
interval against its expectation (the mean over the repeats, and for fid_inf the value at infinitely many samples).
`blocks`: the cells of a run folder with many samples, cut into its shards of 1,024: each shard is a repeat, and the
gain of pairing is the variance of an unpaired difference over that of the paired one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from samplerbench.bench.shards import ShardCache, default_cache
from samplerbench.metrics.frechet import (
    Statistics,
    frechet_distance,
    frechet_distance_at_infinity,
    frechet_influences,
    standard_error,
    statistics_of,
)
from samplerbench.metrics.kernel import kernel_distance
from samplerbench.metrics.reference import load_reference


def fid(features: Tensor, reference: Statistics) -> tuple[float, float, np.ndarray]:
    statistics = statistics_of(features)
    influences = frechet_influences(features, statistics, reference)
    assert influences is not None
    return frechet_distance(statistics, reference), standard_error(influences), influences


def drawn(n: int, d: int, seed: int, skewed: bool) -> tuple[Tensor, Tensor]:
    """Features of two neighbouring samplers on the same noise."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=draw, dtype=torch.float64)
    if skewed:  # as after a ReLU, and standardised
        x = (x.clamp(min=-0.5) - 0.1978) / 0.6979
    widths = torch.linspace(0.5, 1.5, d, dtype=torch.float64)
    one = x * widths + 0.1
    return one, one + 0.05 * x.flip(1) + 0.02


def row(table: Table, what: str, values: np.ndarray, errors: np.ndarray, truth: float) -> None:
    covered = np.mean(np.abs(values - truth) <= 1.96 * errors)
    ratio = np.sqrt(np.mean(errors**2)) / values.std(ddof=1)
    table.add_row(
        what, f"{truth:.5g}", f"{values.mean():.5g}", f"{values.std(ddof=1):.3g}", f"{ratio:.3f}", f"{covered:.1%}"
    )


def synthetic(repeats: int, d: int) -> None:
    for skewed in (False, True):
        reference = statistics_of(
            torch.randn(200_000, d, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
        )
        limit = [frechet_distance(statistics_of(x), reference) for x in drawn(1_000_000, d, 10**6, skewed)]
        of_kernel = torch.randn(2000, d, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
        for n in (4 * d, 8 * d, 32 * d):
            found: dict[str, list[tuple[float, float]]] = {"fid": [], "fid_inf": [], "paired Δfid": [], "kid": []}
            for seed in range(repeats):
                one, two = drawn(n, d, seed, skewed)
                a, b = fid(one, reference), fid(two, reference)
                found["fid"].append(a[:2])
                found["paired Δfid"].append((b[0] - a[0], standard_error(b[2] - a[2])))
                at_infinity = frechet_distance_at_infinity(one, reference)
                found["fid_inf"].append((at_infinity.value, at_infinity.se or 0.0))
                kid = kernel_distance(one, of_kernel)
                found["kid"].append((kid.value, kid.se or 0.0))
            table = Table("metric", "truth", "mean", "observed sd", "predicted / observed", "95 % interval holds it")
            for what, pairs in found.items():
                values, errors = np.array(pairs).T
                truth = limit[0] if what == "fid_inf" else float(values.mean())
                row(table, what, values, errors, truth)
                if what == "paired Δfid":
                    row(table, "paired Δfid, n → ∞", values, errors, limit[1] - limit[0])
            table.title = f"{repeats} repeats, D = {d}, n = {n}, {'skewed' if skewed else 'Gaussian'} features"
            Console().print(table)


def blocks(run: Path, cache: Path) -> None:
    rows = pd.read_csv(run / "results.csv")
    model = rows["model"][0]
    from samplerbench.metrics.extractors import load_extractor
    from samplerbench.models.model import load_model

    loaded = load_model(model)
    assert loaded.reference is not None
    extractor = load_extractor(rows["extractor"][0])
    reference = load_reference(loaded.reference, extractor, loaded.image_shape)
    shards = ShardCache(cache, print)
    values, errors, influences = {}, {}, {}
    for _, cell in rows.iterrows():
        name = f"{cell['sampler']} at {cell['nfe']:g}"
        parts = [shards.load(cell["key"], i) for i in range(int(cell["samples"]) // 1024)]
        found = [fid(part.features, reference.statistics) for part in parts if part is not None]
        values[name] = np.array([f[0] for f in found])
        errors[name] = np.array([f[1] for f in found])
        influences[name] = [f[2] for f in found]
    table = Table(
        "cell", "blocks of 1,024", "mean FID", "observed sd", "predicted / observed", "95 % interval holds mean"
    )
    for name in values:
        row(table, f"{name}, {len(values[name])} blocks", values[name], errors[name], float(values[name].mean()))
    Console().print(table)
    table = Table(
        "difference", "mean ΔFID", "observed sd", "predicted / observed", "interval holds mean", "gain of pairing"
    )
    names = list(values)
    for i, one in enumerate(names):
        for two in names[i + 1 :]:
            delta = values[two] - values[one]
            paired = np.array([standard_error(b - a) for a, b in zip(influences[one], influences[two], strict=True)])
            covered = np.mean(np.abs(delta - delta.mean()) <= 1.96 * paired)
            gain = (values[one].var(ddof=1) + values[two].var(ddof=1)) / delta.var(ddof=1)
            ratio = np.sqrt(np.mean(paired**2)) / delta.std(ddof=1)
            spread = f"{delta.std(ddof=1):.3g}"
            table.add_row(
                f"{two} - {one}", f"{delta.mean():.4g}", spread, f"{ratio:.3f}", f"{covered:.1%}", f"{gain:.1f} x"
            )
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["synthetic", "blocks"])
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--dimension", type=int, default=32)
    parser.add_argument("--cache", type=Path, default=default_cache())
    arguments = parser.parse_args()
    if arguments.what == "synthetic":
        synthetic(arguments.repeats, arguments.dimension)
    else:
        blocks(arguments.run, arguments.cache)


if __name__ == "__main__":
    main()
