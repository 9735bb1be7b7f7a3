"""ε_θ from a network, whatever quantity the network was built to output."""

from __future__ import annotations

from torch import Tensor, nn

from ..errors import unknown

__all__ = ["PREDICTIONS", "NoisePredictor"]

PREDICTIONS = ("epsilon", "v", "x0")


class NoisePredictor(nn.Module):
    """ε_θ(x, t) = the network's output, turned into noise.

    prediction: `epsilon` (Ho et al. 2020), `v` = α ε - σ x_0 (Salimans & Ho 2022, §4), or `x0`. The network sees x and
    the label only; α and σ, float32 [B, 1, 1, 1] or numbers, come from the schedule. The conversion is done in float32.
    """

    def __init__(self, network: nn.Module, prediction: str = "epsilon") -> None:
        super().__init__()
        if prediction not in PREDICTIONS:
            raise unknown("prediction", prediction, PREDICTIONS)
        self.network, self.prediction = network, prediction

    def forward(self, x: Tensor, label: Tensor, alpha: Tensor | float, sigma: Tensor | float) -> Tensor:
        output = self.network(x, label)
        if self.prediction == "epsilon":
            return output.to(x.dtype)
        if self.prediction == "v":
            return alpha * output.to(x.dtype) + sigma * x
        return (x - alpha * output.to(x.dtype)) / sigma
