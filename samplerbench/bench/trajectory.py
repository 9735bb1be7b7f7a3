"""The way of a few samples from x_T to x_0, as a picture: what the network predicts x_0 to be at each evaluation.

They are drawn once more for it, a small batch after the cell is measured, so that nothing of a cell's samples, counts
and seconds depends on it.
"""

from __future__ import annotations

import copy
import io
import json
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ..diffusion.grid import TimeGrid
from ..diffusion.noise import NoiseSource
from ..diffusion.watched import Evaluation, watched
from ..drawing import draw
from ..images import quantise
from .cell import Cell

if TYPE_CHECKING:
    from .worker import Worker

__all__ = ["FILM", "SAMPLES", "film", "trajectory"]

SAMPLES = 8  # the first of a cell
MOST = 30  # evaluations in a picture; of more, so many evenly spaced ones
SIDE = 64  # pixels; larger images are made smaller
GAP = 2  # pixels between two images
FILM = "samplerbench film"  # the entry of the picture that says what is in it


def trajectory(worker: Worker, cell: Cell, samples: int = SAMPLES) -> bytes:
    """The picture of a cell's first samples, a PNG: a row a sample, and as columns x_T, the predicted x_0 of each
    evaluation, x_0. Its metadata say the evaluations. Raises whatever the sampler raises.

    An evaluation in which a sampler asks about some of the samples alone, or several times at once, is left out, and so
    is one at α = 0, where ε says nothing of x_0.
    """
    assert cell.times is not None
    schedule = copy.deepcopy(worker.model.schedule)
    noise = NoiseSource(cell.seed, range(samples), worker.model.sample_shape, worker.device, worker.state_dtype)
    seen: list[tuple[int, Tensor]] = []

    def keep(told: Evaluation) -> None:
        if told.x0 is not None and len(told.x0) == samples:
            seen.append((told.number, told.x0))

    epsilon, x_T = watched(worker.epsilon(cell, range(samples)), schedule, keep), noise.x_T()
    try:
        drawn = draw(worker.make(cell.sampler), epsilon, TimeGrid(schedule, cell.times), x_T, noise, cell.budget)
    finally:
        worker.heal()
    if len(seen) > MOST:
        seen = [seen[k] for k in sorted({round(k) for k in np.linspace(0, len(seen) - 1, MOST)})]
    frames = [x_T, *(predicted for _, predicted in seen), drawn.x0]
    decoded = [worker.model.decode(torch.nan_to_num(one).to(x_T)) for one in frames]
    picture, about = film(torch.stack([quantise(one).cpu() for one in decoded]), [k for k, _ in seen])
    buffer = io.BytesIO()
    picture.save(buffer, "png", pnginfo=about)
    return buffer.getvalue()


def film(frames: Tensor, evaluations: list[int]) -> tuple[Image.Image, PngInfo]:
    """A picture of frames, uint8 [F, N, C, H, W]: a column a frame, a row a sample; and what it says of itself.

    evaluations: [F - 2], which those between the first and the last frame are.
    """
    count, samples, channels, height, width = frames.shape
    if max(height, width) > SIDE:
        size = [max(1, one * SIDE // max(height, width)) for one in (height, width)]
        flat = frames.flatten(0, 1).float()
        small = torch.nn.functional.interpolate(flat, size=size, mode="area")
        frames = (small + 0.5).to(torch.uint8).unflatten(0, (count, samples))
        height, width = size
    canvas = np.full((samples * (height + GAP) - GAP, count * (width + GAP) - GAP, channels), 255, dtype=np.uint8)
    for i, frame in enumerate(frames.permute(0, 1, 3, 4, 2).numpy()):
        for k, one in enumerate(frame):
            top, left = k * (height + GAP), i * (width + GAP)
            canvas[top : top + height, left : left + width] = one
    about = PngInfo()
    about.add_text(FILM, json.dumps({"height": height, "width": width, "gap": GAP, "evaluations": evaluations}))
    return Image.fromarray(canvas[..., 0] if channels == 1 else canvas), about
