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

from samplerbench.diffusion.noise import NoiseSource
from samplerbench.drawing import draw
from samplerbench.models.model import load_model
from samplerbench.models.networks.experts import Experts, networks_of
from samplerbench.plugins import load_plugins
from samplerbench.sampling import plan_grid

SCHEDULERS = {
    "ddim": DDIMScheduler,
    "ddpm": DDPMScheduler,
    "dpm": DPMSolverMultistepScheduler,
    "unipc": UniPCMultistepScheduler,
    "heun": HeunDiscreteScheduler,
}


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nfe", default="5,10,20,50")
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=128)
    arguments = parser.parse_args()
    model, registry = load_model("fashion-mnist"), load_plugins()
    model.predictor.to(memory_format=torch.channels_last)
    epsilon, network, shape = model.epsilon(), model.predictor.network, model.image_shape
    assert isinstance(network, Experts)
    passes = 0

    def count(_: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        nonlocal passes
        passes += len(given[0])

    for one in networks_of(network):
        one.register_forward_pre_hook(count)
    table = Table("sampler", "evaluations", "ours, s", "theirs, s", "theirs / ours")
    for spec, kind in SCHEDULERS.items():
        for nfe in map(int, arguments.nfe.split(",")):
            sampler = registry.sampler(spec)
            if spec == "heun" and nfe % 2 == 0:
                nfe -= 1  # theirs makes two calls a step, and one in the last
            grid = plan_grid(sampler, model.schedule, nfe=nfe)
            scheduler = kind(beta_start=1e-4, beta_end=0.02, beta_schedule="linear", prediction_type="v_prediction")

            def ours(k: int) -> None:
                source = NoiseSource(0, range(k * arguments.batch_size, (k + 1) * arguments.batch_size), shape)
                draw(sampler, epsilon, grid, source.x_T(), source, nfe, lambda: passes)

            @torch.no_grad()
            def theirs(k: int) -> None:
                scheduler.set_timesteps(nfe if spec != "heun" else (nfe + 1) // 2)
                draws = torch.Generator().manual_seed(k)
                x = torch.randn(arguments.batch_size, *shape, generator=draws) * scheduler.init_noise_sigma
                noise = {"generator": draws} if spec in ("ddim", "ddpm", "dpm") else {}
                for t in scheduler.timesteps:
                    given = scheduler.scale_model_input(x, t)
                    out = network.at(float(t))(given, torch.full((len(given),), float(t)))
                    x = scheduler.step(out, t, x, **noise).prev_sample

            took: list[tuple[float, float]] = []
            for k in range(-1, arguments.batches):
                calls = passes
                pair = seconds(lambda: ours(max(k, 0))), seconds(lambda: theirs(max(k, 0)))
                assert passes - calls == 2 * nfe * arguments.batch_size
                if k >= 0:
                    took.append(pair)
            mine, others = np.array(took).T
            ratio = np.median(others / mine)
            table.add_row(spec, str(nfe), f"{np.median(mine):.3f}", f"{np.median(others):.3f}", f"{ratio:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
