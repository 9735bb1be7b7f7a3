"""ε_θ from a network, whatever quantity the network was built to output."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..diffusion.denoiser import Epsilon, Time
from ..diffusion.schedule import NoiseSchedule
from ..errors import unknown
from .experts import Experts

__all__ = ["PREDICTIONS", "NoisePredictor", "epsilon_of"]

PREDICTIONS = ("epsilon", "v", "x0")


class NoisePredictor(nn.Module):
    """ε_θ(x, t) = the network's output, turned into noise.

    prediction: `epsilon` (Ho et al. 2020), `v` = α ε - σ x_0 (Salimans & Ho 2022, §4), or `x0`. The network sees x and
    the label only, [B] or one number for all; α and σ, float32 [B, 1, 1, 1] or numbers, come from the schedule. The
    conversion is done in float32.
    """

    def __init__(self, network: nn.Module, prediction: str = "epsilon") -> None:
        super().__init__()
        if prediction not in PREDICTIONS:
            raise unknown("prediction", prediction, PREDICTIONS)
        self.network, self.prediction = network, prediction

    def forward(self, x: Tensor, label: Tensor | float, alpha: Tensor | float, sigma: Tensor | float) -> Tensor:
        network = self.network
        if not isinstance(label, Tensor):
            network = network.at(label) if isinstance(network, Experts) else network
            label = torch.full((len(x),), label, dtype=torch.float32, device=x.device)
        output = network(x, label)
        if self.prediction == "epsilon":
            return output.to(x.dtype)
        if self.prediction == "v":
            return alpha * output.to(x.dtype) + sigma * x
        return (x - alpha * output.to(x.dtype)) / sigma


def epsilon_of(predictor: NoisePredictor, schedule: NoiseSchedule, dtype: str = "float32") -> Epsilon:
    """The ε(x, t) of a trained network: the label for t, α and σ in float64, the network in `dtype` (float32, float64,
    bfloat16 or float16).
    """
    lowered = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(dtype)

    def epsilon(x: Tensor, t: Time) -> Tensor:
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
            return predictor(x, label, alpha, sigma)

    return epsilon
