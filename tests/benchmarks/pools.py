"""What several workers bring, and what they cost: throughput of processes against one, and the time that a shard takes
beside its samples.

    python -m tests.benchmarks.pools [--nfe 10] [--shards 4] [--small 100] [--rounds 2] [--no-ray]

Throughput is of the shipped model, from the first sample to the last shard, without the time that workers take to load.
Ratios are to one worker with one thread; all are timed in turn, `rounds` times, and the best of each counts. The time a
shard takes is of shards of one sample and one evaluation, which are nearly nothing else: made, sent for, written, read.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from samplerbench.bench.execute import Listener
from samplerbench.bench.maker import Made
from samplerbench.bench.plan import RunConfig
from samplerbench.bench.pools.crew import Crew
from samplerbench.bench.pools.on_ray import Actors
from samplerbench.bench.pools.pool import Pool, Told
from samplerbench.bench.pools.processes import Processes
from samplerbench.bench.pools.serial import SerialPool
from samplerbench.bench.remote import Remote
from samplerbench.bench.run import BenchmarkRun
from samplerbench.bench.shards import SHARD, ShardCache
from samplerbench.bench.task import Setup, ShardTask
from samplerbench.bench.written import WrittenPlan


class Timed:
    """Seconds from the first task to the last result."""

    def __init__(self, pool: Pool, tasks: Sequence[ShardTask]) -> None:
        started: list[float] = []
        told = Told(lambda task: started.append(time.perf_counter()), lambda task, samples: None, print)
        for result in pool.make(tasks, lambda task: True, told):
            assert isinstance(result.outcome, Made), result.outcome
            ended = time.perf_counter()
        self.seconds = ended - started[0]


def planned(config: RunConfig, folder: Path) -> WrittenPlan:
    BenchmarkRun(config, folder, Listener(), plan_only=True).execute()
    return WrittenPlan.read(folder)


def workers(setup: Setup, threads: Sequence[int]) -> Pool:
    setups = [replace(setup, threads=count) for count in threads]
    return Crew(Processes(setups, ShardCache(Path(setup.cache), print)))


def here(setup: Setup) -> Pool:
    return SerialPool(Remote(replace(setup, threads=1), print).maker)


def on_ray(setup: Setup) -> Pool:
    return Crew(Actors(replace(setup, threads=1), "", ShardCache(Path(setup.cache), print)))


def best(pools: dict[str, Callable[[], Pool]], tasks: Sequence[ShardTask], rounds: int) -> dict[str, float]:
    """The least seconds of each, taken in turn."""
    taken = dict[str, float]()
    for _ in range(rounds):
        for name, make in pools.items():
            seconds = Timed(make(), tasks).seconds
            print(f"{name}: {seconds:.2f} s", flush=True)
            taken[name] = min(seconds, taken.get(name, seconds))
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nfe", type=int, default=10)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--small", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--no-ray", action="store_true")
    arguments = parser.parse_args()
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    torch.set_num_threads(1)
    console = Console()
    with tempfile.TemporaryDirectory() as name:
        config = RunConfig(("ddim",), (1, arguments.nfe), device="cpu", cache=Path(name) / "cache", fresh=True)
        plan = planned(config, Path(name) / "out")
        small, large = plan.cells
        setup = plan.setup
        if arguments.shards:
            tasks = [ShardTask(large, index, index * SHARD, SHARD) for index in range(arguments.shards)]
            pools = {
                "1 worker, 1 thread": lambda: workers(setup, [1]),
                "2 workers, 1 thread each": lambda: workers(setup, [1, 1]),
                "1 worker, 2 threads": lambda: workers(setup, [2]),
            }
            found = best(pools, tasks, arguments.rounds)
            table = Table("workers", "images/s", "against the first")
            for which, seconds in found.items():
                first = next(iter(found.values()))
                rate = arguments.shards * SHARD / seconds
                table.add_row(which, f"{rate:.1f}", f"{first / seconds:.2f} ×")
            console.print(table)
        if arguments.small:
            tasks = [ShardTask(small, index, index * SHARD, 1) for index in range(arguments.small)]
            pools = {"here": lambda: here(setup), "a process": lambda: workers(setup, [1])}
            if not arguments.no_ray:
                pools["Ray"] = lambda: on_ray(setup)
            found = best(pools, tasks, arguments.rounds)
            table = Table("who", "a shard of one sample, ms", "more than here, ms")
            for which, seconds in found.items():
                each, more = (1000 * s / arguments.small for s in (seconds, seconds - found["here"]))
                table.add_row(which, f"{each:.1f}", f"{more:.1f}")
            console.print(table)


if __name__ == "__main__":
    main()
