"""The way of a few samples from x_T to x_0, as a picture: what the network predicts x_0 to be at each evaluation.

They are drawn once more for it, a small batch after the cell is measured, so that nothing of a cell's samples, counts
and seconds depends on it.
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ..diffusion.denoiser import Time, x0_of
from ..diffusion.grid import TimeGrid
from ..diffusion.noise import NoiseSource
from ..diffusion.schedule import NoiseSchedule
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

Seen = tuple[int, Tensor]  # the number of an evaluation, and the x_0 that it predicts


def trajectory(worker: Worker, cell: Cell, samples: int = SAMPLES) -> tuple[Image.Image, PngInfo]:
    """The picture of a cell's first samples: a row a sample, and as columns x_T, the predicted x_0 of each evaluation,
    x_0. Its metadata say the evaluations. Raises whatever the sampler raises.

    An evaluation in which a sampler asks about some of the samples alone, or several times at once, is left out, and so
    is one at α = 0, where ε says nothing of x_0.
    """
    assert cell.times is not None
    schedule = copy.deepcopy(worker.model.schedule)
    noise = NoiseSource(cell.seed, range(samples), worker.model.sample_shape, worker.device, worker.state_dtype)
    recorder = _Recorder(worker.epsilon, schedule, samples)
    x_T = noise.x_T()
    try:
        drawn = draw(worker.make(cell.sampler), recorder, TimeGrid(schedule, cell.times), x_T, noise, cell.budget)
    finally:
        worker.heal()
    seen = recorder.seen
    if len(seen) > MOST:
        seen = [seen[k] for k in sorted({round(k) for k in np.linspace(0, len(seen) - 1, MOST)})]
    frames = [x_T, *(predicted for _, predicted in seen), drawn.x0]
    return film(torch.stack([quantise(torch.nan_to_num(one)).cpu() for one in frames]), [k for k, _ in seen])


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


class _Recorder:
    """An ε function that keeps what it predicts x_0 to be; whatever else the function has is handed through."""

    def __init__(self, epsilon: Any, schedule: NoiseSchedule, samples: int, seen: list[Seen] | None = None) -> None:
        self._epsilon, self._schedule, self._samples = epsilon, schedule, samples
        self.seen: list[Seen] = [] if seen is None else seen
        self._asked = 0
        # there where the function has them: `Epsilon` says what they are
        if hasattr(epsilon, "x0"):
            self.x0 = self._x0
        if hasattr(epsilon, "with_range"):
            self.with_range = self._with_range
        if hasattr(epsilon, "relabelled"):
            self.relabelled = lambda rule: _Recorder(epsilon.relabelled(rule), schedule, samples, self.seen)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._epsilon, name)

    def __call__(self, x: Tensor, t: Time) -> Tensor:
        eps: Tensor = self._epsilon(x, t)
        self._keep_eps(x, t, eps)
        return eps

    def _x0(self, x: Tensor, t: Time) -> Tensor:
        predicted: Tensor = self._epsilon.x0(x, t)
        self._keep(predicted)
        return predicted

    def _with_range(self, x: Tensor, t: Time) -> tuple[Tensor, Tensor | None]:
        eps, place = self._epsilon.with_range(x, t)
        self._keep_eps(x, t, eps)
        return eps, place

    def _keep_eps(self, x: Tensor, t: Time, eps: Tensor) -> None:
        blind = not isinstance(t, Tensor) and float(self._schedule.alpha(t)) == 0
        self._keep(None if blind else x0_of(x, eps, self._schedule, t))

    def _keep(self, predicted: Tensor | None) -> None:
        self._asked += 1
        if predicted is not None and len(predicted) == self._samples:
            self.seen.append((self._asked, predicted))
