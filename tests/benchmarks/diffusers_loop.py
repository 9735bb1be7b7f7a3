"""Sampling beside diffusers' loop: the same network, the same numbers of evaluations, in turn, batch by batch.

    python -m tests.benchmarks.diffusers_loop [--nfe 5,10,20,50] [--batches 8] [--batch-size 128]

Their loop is `for t in scheduler.timesteps: x = scheduler.step(network(x, t), t, x).prev_sample`, as their pipelines
have it, with their own noise; ours is what a cell runs, noise, counting and checks included. A ratio above 1 says that
ours is faster. Each is the median over batches of the ratio of two neighbours.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    HeunDiscreteScheduler,
    UniPCMultistepScheduler,
)
from rich.console import Console
from rich.table import Table

from samplerbench.diffusion.denoiser import Epsilon
from samplerbench.diffusion.grid import TimeGrid
from samplerbench.diffusion.noise import NoiseSource
from samplerbench.drawing import draw
from samplerbench.models.model import Model, load_model
from samplerbench.models.networks.experts import Experts, networks_of
from samplerbench.plugins import load_plugins
from samplerbench.sampler import Sampler
from samplerbench.sampling import plan_grid

SCHEDULERS = {
    "ddim": DDIMScheduler,
    "ddpm": DDPMScheduler,
    "dpm": DPMSolverMultistepScheduler,
    "unipc": UniPCMultistepScheduler,
    "heun": HeunDiscreteScheduler,
}


@dataclass(frozen=True)
class Cell:
    """One sampler at one number of evaluations, ours and theirs, on the shipped model."""

    spec: str
    nfe: int
    batch_size: int
    model: Model
    sampler: Sampler
    grid: TimeGrid
    scheduler: Any
    passes: Callable[[], int]

    @classmethod
    def of(
        cls, spec: str, nfe: int, batch_size: int, model: Model, sampler: Sampler, passes: Callable[[], int]
    ) -> Cell:
        if spec == "heun" and nfe % 2 == 0:
            nfe -= 1  # theirs makes two calls a step, and one in the last
        make: Any = SCHEDULERS[spec]
        scheduler = make(beta_start=1e-4, beta_end=0.02, beta_schedule="linear", prediction_type="v_prediction")
        return cls(
            spec, nfe, batch_size, model, sampler, plan_grid(sampler, model.schedule, nfe=nfe), scheduler, passes
        )

    def ours(self, k: int, epsilon: Epsilon) -> None:
        indices = range(k * self.batch_size, (k + 1) * self.batch_size)
        noise = NoiseSource(0, indices, self.model.image_shape)
        draw(self.sampler, epsilon, self.grid, noise.x_T(), noise, self.nfe, self.passes)

    @torch.no_grad()
    def theirs(self, k: int) -> None:
        network, scheduler = self.model.predictor.network, self.scheduler
        assert isinstance(network, Experts)
        scheduler.set_timesteps((self.nfe + 1) // 2 if self.spec == "heun" else self.nfe)
        noise = torch.Generator().manual_seed(k)
        x = torch.randn(self.batch_size, *self.model.image_shape, generator=noise) * scheduler.init_noise_sigma
        more = {"generator": noise} if self.spec in ("ddim", "ddpm", "dpm") else {}
        for t in scheduler.timesteps:
            given = scheduler.scale_model_input(x, t)
            out = network.at(float(t))(given, torch.full((len(given),), float(t)))
            x = scheduler.step(out, t, x, **more).prev_sample

    def seconds(self, batches: int, epsilon: Epsilon) -> tuple[np.ndarray, np.ndarray]:
        """Of each, batch by batch, in turn."""
        took = []
        for k in range(-1, batches):  # the first is a warm-up
            before, started = self.passes(), time.perf_counter()
            self.ours(max(k, 0), epsilon)
            between = time.perf_counter()
            self.theirs(max(k, 0))
            took.append((between - started, time.perf_counter() - between))
            assert self.passes() - before == 2 * self.nfe * self.batch_size
        ours, theirs = np.array(took[1:]).T
        return ours, theirs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nfe", default="5,10,20,50")
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=128)
    arguments = parser.parse_args()
    model, registry = load_model("fashion-mnist"), load_plugins()
    model.predictor.to(memory_format=torch.channels_last)
    passes, epsilon = 0, model.epsilon()

    def count(_: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        nonlocal passes
        passes += len(given[0])

    for network in networks_of(model.predictor.network):
        network.register_forward_pre_hook(count)
    table = Table("sampler", "evaluations", "ours, s", "theirs, s", "theirs / ours")
    for spec in SCHEDULERS:
        for nfe in map(int, arguments.nfe.split(",")):
            cell = Cell.of(spec, nfe, arguments.batch_size, model, registry.sampler(spec), lambda: passes)
            ours, theirs = cell.seconds(arguments.batches, epsilon)
            ratio = f"{np.median(theirs / ours):.3f}"
            table.add_row(spec, str(cell.nfe), f"{np.median(ours):.3f}", f"{np.median(theirs):.3f}", ratio)
    Console().print(table)


if __name__ == "__main__":
    main()
