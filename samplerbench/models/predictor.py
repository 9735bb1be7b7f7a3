"""ε_θ from a network, whatever quantity the network was built to output."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from ..diffusion.denoiser import Time
from ..diffusion.schedule import NoiseSchedule
from ..errors import unknown
from .experts import Experts

__all__ = ["PREDICTIONS", "ModelEpsilon", "NoisePredictor"]

PREDICTIONS = ("epsilon", "v", "x0")


class NoisePredictor(nn.Module):
    """ε_θ(x, t) = the network's output, turned into noise.

    prediction: `epsilon` (Ho et al. 2020), `v` = α ε - σ x_0 (Salimans & Ho 2022, §4), or `x0`. The network sees x and
    the label only, [B] or one number for all; α and σ, float32 [B, 1, 1, 1] or numbers, come from the schedule. The
    conversion is done in float32. Of a network with twice the channels of x the first half is that quantity.
    """

    def __init__(self, network: nn.Module, prediction: str = "epsilon") -> None:
        super().__init__()
        if prediction not in PREDICTIONS:
            raise unknown("prediction", prediction, PREDICTIONS)
        self.network, self.prediction = network, prediction

    def forward(self, x: Tensor, label: Tensor | float, alpha: Tensor | float, sigma: Tensor | float) -> Tensor:
        return self.with_range(x, label, alpha, sigma)[0]

    def with_range(
        self, x: Tensor, label: Tensor | float, alpha: Tensor | float, sigma: Tensor | float
    ) -> tuple[Tensor, Tensor | None]:
        """ε, and where the network has it its second half: where the log variance lies, -1 for β̃ to 1 for β."""
        network = self.network
        if not isinstance(label, Tensor):
            network = network.at(label) if isinstance(network, Experts) else network
            label = torch.full((len(x),), label, dtype=torch.float32, device=x.device)
        output, place = network(x, label).to(x.dtype), None
        if x.ndim > 1 and output.shape[1] == 2 * x.shape[1]:
            output, place = output.chunk(2, dim=1)
        if self.prediction == "v":
            output = alpha * output + sigma * x
        elif self.prediction == "x0":
            output = (x - alpha * output) / sigma
        return output, place


class ModelEpsilon:
    """The ε(x, t) of a trained network: the label for t, α and σ in float64, the network in `dtype` (float32, float64,
    bfloat16 or float16).

    mean_squares: E‖ε_θ‖²/D over the training data at some times, {"times": […], "values": […]}; None where not known.
    """

    def __init__(
        self,
        predictor: NoisePredictor,
        schedule: NoiseSchedule,
        dtype: str = "float32",
        mean_squares: dict[str, list[float]] | None = None,
    ) -> None:
        self.predictor, self.schedule = predictor, schedule
        self.lowered = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(dtype)
        if mean_squares is not None:
            self.mean_square = partial(np.interp, xp=mean_squares["times"], fp=mean_squares["values"])

    def __call__(self, x: Tensor, t: Time) -> Tensor:
        return self.with_range(x, t)[0]

    def with_range(self, x: Tensor, t: Time) -> tuple[Tensor, Tensor | None]:
        """See `NoisePredictor.with_range`."""
        schedule, lowered = self.schedule, self.lowered
        label: Tensor | float
        alpha: Tensor | float
        sigma: Tensor | float
        if isinstance(t, Tensor):
            times, shape = t.cpu().numpy(), (len(x), *[1] * (x.ndim - 1))
            label = torch.from_numpy(schedule.label(times)).float().to(x.device)
            alpha = torch.from_numpy(schedule.alpha(times)).to(x).view(shape)
            sigma = torch.from_numpy(schedule.sigma(times)).to(x).view(shape)
        else:
            label, alpha, sigma = float(schedule.label(t)), float(schedule.alpha(t)), float(schedule.sigma(t))
        with torch.autocast(x.device.type, lowered or torch.bfloat16, enabled=lowered is not None):
            return self.predictor.with_range(x, label, alpha, sigma)
