"""The Fréchet distance of 2,048 features, ours and torch-fidelity's on the same statistics, in turn.

python -m tests.benchmarks.frechet [--dimension 2048] [--repeats 3]
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import torch
from rich.console import Console
from torch_fidelity.metric_fid import fid_statistics_to_metric

from samplerbench.metrics.frechet import Moments, frechet_distance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dimension", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--count", type=int, default=50_000, help="features whose moments are gathered in batches")
    arguments = parser.parse_args()
    d, draw, console = arguments.dimension, torch.Generator().manual_seed(0), Console(highlight=False)
    mix = torch.randn(d, d, generator=draw) / d**0.5
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    both = []
    for shift in (0.0, 0.05):
        moments, started = Moments(d), time.perf_counter()
        for start in range(0, arguments.count, 256):
            n = min(256, arguments.count - start)
            moments.add((torch.randn(n, d, generator=draw) @ mix + shift).clamp(min=0))
        both.append(moments.statistics())
        console.print(f"moments of {arguments.count} features in batches: {time.perf_counter() - started:.1f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    console.print(f"memory: {peak - before:.0f} MiB more than before")
    theirs_in = [{"mu": s.mu, "sigma": s.sigma} for s in both]
    seconds: dict[str, list[float]] = {"ours": [], "torch-fidelity": []}
    for _ in range(arguments.repeats):
        started = time.perf_counter()
        ours = frechet_distance(*both)
        seconds["ours"].append(time.perf_counter() - started)
        started = time.perf_counter()
        theirs = fid_statistics_to_metric(*theirs_in, verbose=False)["frechet_inception_distance"]
        seconds["torch-fidelity"].append(time.perf_counter() - started)
    ratio = np.median(seconds["torch-fidelity"]) / np.median(seconds["ours"])
    for name, taken in seconds.items():
        console.print(f"{name}: median {np.median(taken):.2f} s of {len(taken)}")
    console.print(f"ours is {ratio:.1f} times as fast; relative difference {abs(ours - theirs) / theirs:.1e}")


if __name__ == "__main__":
    main()
