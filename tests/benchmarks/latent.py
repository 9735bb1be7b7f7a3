"""Images a second, and milliseconds an image, of each part of a latent model, beside the network of a model of pixels.

    python -m tests.benchmarks.latent [--model fashion-mnist-latent] [--beside fashion-mnist] [--batch-size 128]
                                      [--repeats 8]

The parts are timed in turn, batch by batch, and of each the fastest counts. A guided evaluation is two passes. An image
with 20 evaluations is 20 passes and one decoding.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
from rich.console import Console
from rich.table import Table

from samplerbench.images import quantise
from samplerbench.models.formats.format import Coder
from samplerbench.models.model import Model, load_model

EVALUATIONS = 20


def seconds(call: Callable[[], object]) -> float:
    """Of this process's processors, which others do not slow as much as the clock."""
    started = time.process_time()
    call()
    return time.process_time() - started


def parts(model: Model, batch: int) -> dict[str, Callable[[], object]]:
    """What an image of a model goes through, on a batch each."""
    draw = torch.Generator().manual_seed(0)
    for network in model.networks().values():
        network.to(memory_format=torch.channels_last)
    prompts = () if model.conditioner is None else [model.conditioner.default[i] for i in range(batch)]
    x, time_ = torch.randn(batch, *model.sample_shape, generator=draw), model.schedule.t_max / 2
    found: dict[str, Callable[[], object]] = {"network": partial(model.epsilon(asked=prompts), x, time_)}
    coder = model.checkpoint.decoder
    if isinstance(coder, Coder):
        found |= {"encoder": partial(coder.encode, quantise(model.decode(x))), "decoder": partial(model.decode, x)}
    if prompts:
        found["text encoder"] = partial(model.rows, prompts)
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", default="fashion-mnist-latent")
    options.add_argument("--beside", default="fashion-mnist")
    options.add_argument("--batch-size", type=int, default=128)
    options.add_argument("--repeats", type=int, default=8)
    given = options.parse_args()
    calls = {
        (name, part): call
        for name in (given.model, given.beside)
        for part, call in parts(load_model(name), given.batch_size).items()
    }
    best = dict.fromkeys(calls, float("inf"))
    with torch.no_grad():
        for _ in range(given.repeats + 1):  # the first one warms up
            for key, call in calls.items():
                best[key] = min(best[key], seconds(call))
    table = Table("model", "part", "images a second", "ms an image")
    for (name, part), took in best.items():
        table.add_row(name, part, f"{given.batch_size / took:.0f}", f"{1e3 * took / given.batch_size:.3f}")
    for name in (given.model, given.beside):
        passes, decoding = best[name, "network"], best.get((name, "decoder"), 0.0)
        for guided in (1, 2) if (name, "text encoder") in best else (1,):
            took = (guided * EVALUATIONS * passes + decoding) / given.batch_size
            what = f"{EVALUATIONS} evaluations{', guided' if guided == 2 else ''}"
            table.add_row(name, what, f"{1 / took:.1f}", f"{1e3 * took:.2f}")
    Console().print(table)
    print(f"processor seconds, {torch.get_num_threads()} threads, torch {torch.__version__}")


if __name__ == "__main__":
    main()
