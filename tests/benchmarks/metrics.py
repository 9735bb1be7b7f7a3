"""What measuring a cell of many samples with many features takes, from its shards to its FID with errors and halves.

python -m tests.benchmarks.metrics [--samples 50000] [--dimension 2048]

Features are drawn shard by shard, as a worker makes them. Seconds are those of the processor's time on the clock;
memory is the most that the whole process had, torch and all.
"""

from __future__ import annotations

import argparse
import time

import torch
from rich.console import Console

from samplerbench.bench.clock import peak_megabytes
from samplerbench.bench.shards import SHARD, Batch, Gathered, Shard
from samplerbench.metrics.frechet import frechet_distance, statistics_of
from samplerbench.metrics.frechet_error import expand, frechet_halves


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--dimension", type=int, default=2048)
    arguments = parser.parse_args()
    n, d, console = arguments.samples, arguments.dimension, Console(highlight=False)
    draw = torch.Generator().manual_seed(0)
    scale = torch.linspace(0.2, 2, d)

    def features(count: int, shift: float) -> torch.Tensor:
        return torch.randn(count, d, generator=draw).mul_(scale).add_(shift).clamp_(min=0)

    reference = statistics_of(features(4 * d, 0.05))
    console.print(f"at the start: {peak_megabytes('cpu')} MB")
    gathered, nothing = Gathered(n), torch.zeros(0, 1, 2, 2)
    for first in range(0, n, SHARD):
        count = min(SHARD, n - first)
        one, batches = torch.ones(count, dtype=torch.float64), (Batch(count, "cpu", 1.0, 0.0, 0.0, 0.0, 0.0, 0, count),)
        gathered.add(first, Shard(features(count, 0.0), torch.zeros(count, 0), nothing, one, one, batches))
    whole = gathered.whole().features
    console.print(f"with its shards: {peak_megabytes('cpu')} MB")
    started = time.perf_counter()

    def told(what: str) -> None:
        nonlocal started
        console.print(f"{what}: {time.perf_counter() - started:.1f} s, {peak_megabytes('cpu')} MB")
        started = time.perf_counter()

    ours = statistics_of(whole)
    told("moments")
    frechet_distance(ours, reference)
    told("distance")
    expand(ours, reference)
    told("expansion, with the reference's root")
    expansion = expand(ours, reference)
    told("expansion of the next cell")
    expansion.influences(whole)
    told("influences")
    del expansion
    frechet_halves(whole, ours, reference)
    told("halves")


if __name__ == "__main__":
    main()
