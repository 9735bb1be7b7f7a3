"""How much sampler and harness add to the bare network calls, both timed in one run, batch by batch in turn.

    python -m tests.benchmarks.overhead [--samplers ddim,dpm] [--nfe 5,10,20,50] [--batches 8] [--batch-size 128]
    python -m tests.benchmarks.overhead --host [--samplers …]

For each cell: the seconds of as many bare calls of the network as the sampler makes, on a batch, and the ratios to them
of sampling (noise, sampler, ε from the network's output, checks), of the whole cell (sampling, quantising and features)
and of the sampler on its own: noise, arithmetic, counting and checks around a network that costs nothing. The last is
hardly touched by what else the machine does; the others are, so take many batches.

With --host: microseconds of the processor an evaluation of one sample, of a sampler around an ε that costs nothing, and
around a network that does (its labels, levels and conversions besides).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from samplerbench.bench.plan import RunConfig, chosen_samplers, plan_cells
from samplerbench.bench.worker import Worker
from samplerbench.diffusion.denoiser import Epsilon, Time
from samplerbench.diffusion.grid import TimeGrid
from samplerbench.diffusion.noise import NoiseSource
from samplerbench.drawing import draw
from samplerbench.models.model import load_model
from samplerbench.models.networks.experts import Experts
from samplerbench.models.preconditioning import Label
from samplerbench.models.predictor import ModelEpsilon, NoisePredictor
from samplerbench.plugins import load_plugins
from samplerbench.sampler import Sampler
from samplerbench.sampling import plan_grid


def timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


class Free:
    """An ε that costs nothing."""

    def __init__(self, epsilon: Epsilon) -> None:
        self.mean_square = getattr(epsilon, "mean_square", None)

    def __call__(self, x: torch.Tensor, t: Time) -> torch.Tensor:
        return x


@torch.no_grad()
def bare(networks: nn.Module, x: torch.Tensor, labels: list[float]) -> None:
    """The network calls alone."""
    for label in labels:
        network = networks.at(label) if isinstance(networks, Experts) else networks
        network(x, torch.full((len(x),), label))


def drawn(
    sampler: Sampler,
    grid: TimeGrid,
    noise: Callable[[], NoiseSource],
    budget: int | None,
    epsilon: Epsilon,
    passes: Callable[[], int] | None,
) -> None:
    """A batch through a sampler, its noise included."""
    source = noise()
    draw(sampler, epsilon, grid, source.x_T(), source, budget, passes)


class Nothing(nn.Module):
    """A network that costs nothing."""

    def forward(self, x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return x


def host(samplers: tuple[str, ...], console: Console) -> None:
    """Prints the microseconds of an evaluation in 20, the least of 30 batches."""
    model, registry = load_model("fashion-mnist"), load_plugins()
    through = NoisePredictor(Nothing(), model.predictor.preconditioning).eval()
    network = ModelEpsilon(through, model.schedule, mean_squares=model.checkpoint.mean_squares)
    table = Table("sampler", "ε for nothing, µs", "through ModelEpsilon, µs")
    for spec in samplers:
        sampler = registry.sampler(spec)
        grid, noise = plan_grid(sampler, model.schedule, nfe=20), partial(NoiseSource, 0, range(1), (1, 8, 8))
        took = []
        for epsilon in (Free(network), network):
            source = noise()
            evaluations = draw(sampler, epsilon, grid, source.x_T(), source, 20).nfe
            took.append(min(timed(partial(drawn, sampler, grid, noise, 20, epsilon, None)) for _ in range(30)))
        table.add_row(spec, *(f"{1e6 * one / evaluations:.0f}" for one in took))
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samplers", default="ddim,dpm,ddpm")
    parser.add_argument("--nfe", default="5,10,20,50")
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--host", action="store_true")
    arguments = parser.parse_args()
    if arguments.host:
        return host(tuple(arguments.samplers.split(",")), Console())
    values = tuple(int(v) for v in arguments.nfe.split(","))
    config = RunConfig(samplers=tuple(arguments.samplers.split(",")), values=values)
    model, registry = load_model(config.model), load_plugins()
    assert model.extractor is not None
    extractor = registry.extractor(model.extractor)
    worker = Worker(
        model, lambda: model, extractor, registry.sampler, "cpu", config.dtype, arguments.batch_size, "cpu", print
    )
    networks = model.predictor.network
    table = Table("sampler", "evaluations", "bare calls, s", "sampling / bare", "whole cell / bare", "sampler / bare")
    totals = [0.0] * 4
    for planned in plan_cells(config, chosen_samplers(config, registry), registry, model, extractor, "cpu"):
        cell, sampler = planned.cell, planned.sampler
        assert cell.times is not None, planned.reason
        grid = TimeGrid(model.schedule, cell.times)
        steps = [float(label) for label in Label()(model.schedule, grid.times)[: grid.steps]]
        labels = [steps[i * len(steps) // calls] for calls in [sampler.evaluations(len(steps))] for i in range(calls)]
        seconds = [0.0] * 4
        for k in range(-1, arguments.batches):  # the first is a warm-up
            indices = range(max(k, 0) * arguments.batch_size, (max(k, 0) + 1) * arguments.batch_size)
            x = torch.randn(arguments.batch_size, *model.image_shape)

            noise = partial(NoiseSource, 0, indices, model.image_shape)
            sampling = partial(drawn, sampler, grid, noise, cell.budget)
            calls: list[Callable[[], object]] = [
                partial(bare, networks, x, labels),
                partial(sampling, worker.epsilon, worker.passes),
                partial(worker._draw, cell, indices, lambda samples: None),
                partial(sampling, Free(worker.epsilon), None),
            ]
            for i, call in enumerate(calls):
                took = timed(call)
                seconds[i] += took if k >= 0 else 0.0
        totals = [total + s for total, s in zip(totals, seconds, strict=True)]
        ratios = (f"{s / seconds[0]:.3f}" for s in seconds[1:])
        table.add_row(cell.sampler, str(cell.value), f"{seconds[0]:.2f}", *ratios)
    table.add_section()
    table.add_row("all", "", f"{totals[0]:.2f}", *(f"{t / totals[0]:.3f}" for t in totals[1:]))
    Console().print(table)


if __name__ == "__main__":
    main()
