"""A perfect network: the exact ε of a Gaussian mixture behind any convention, in a file that several tests share."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from samplerbench import linear_schedule
from samplerbench.check.mixture import GaussianMixture
from samplerbench.diffusion.noise import NoiseSource
from samplerbench.models.preconditioning import Level

SHAPE = (1, 8, 8)
SHORT = linear_schedule(100, 1e-3, 0.2)  # each label matters here
LOW, HIGH, SPREADS, SHARE = -0.8, 0.4, (0.02, 0.2), 0.4


class Exact(nn.Module):
    """What a perfect network says that was trained on a path, by a convention, of data a x_0 + b."""

    def __init__(self, path, convention, data=(1.0, 0.0)):
        super().__init__()
        a, b = data
        self.path, self.convention = path, convention
        means, spreads = (a * LOW + b, a * HIGH + b), tuple(a * s for s in SPREADS)
        self.truth = GaussianMixture(path, means=means, deviations=spreads)
        ends = path.half_log_snr([path.t_min, path.first_time(pure_noise=False)])
        times = path.time(np.linspace(*ends, 20_001))
        labels = convention.label(path, times)
        self.labels, self.times = (labels, times) if labels[-1] > labels[0] else (labels[::-1], times[::-1])

    def forward(self, given, label):
        value = label.double().numpy()
        times = np.interp(value, self.labels, self.times)
        below = self.times[0] + (value - self.labels[0]) * (self.times[1] - self.times[0]) / (
            self.labels[1] - self.labels[0]
        )
        times = np.where(value < self.labels[0], np.maximum(below, self.path.t_min / 2), times)
        t = torch.from_numpy(times)
        values = (torch.from_numpy(f(times)).view(-1, 1, 1, 1) for f in (self.path.alpha, self.path.sigma))
        at = Level(*values, torch.from_numpy(self.path.scale(times)).view(-1, 1, 1, 1))
        x = given.double() / self.convention.given(torch.ones_like(given).double(), at)
        eps = self.truth(x, t)
        zero, one = (self.convention.epsilon(torch.full_like(x, v), x, at) for v in (0.0, 1.0))
        return ((eps - zero) / (one - zero)).to(given.dtype)  # every meaning is linear in the output


class Changed(nn.Module):
    """A network with a change: (network, x, label) -> output."""

    def __init__(self, inner, change):
        super().__init__()
        self.inner, self.change = inner, change

    def forward(self, x, label):
        return self.change(self.inner, x, label)


def data_of(count, seed=5):
    """Draws of the mixture, [count, *SHAPE]."""
    noise = NoiseSource(seed, range(count), SHAPE, dtype=torch.float64)
    low = noise(1) < torch.distributions.Normal(0, 1).icdf(torch.tensor(SHARE).double())
    return torch.where(low, LOW + SPREADS[0] * noise(0), HIGH + SPREADS[1] * noise(0)).float()
