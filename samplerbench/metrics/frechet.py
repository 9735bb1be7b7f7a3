"""The Fréchet distance between Gaussians fitted to features (Heusel et al. 2017), from statistics gathered in one
pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from .measured import Measured

__all__ = [
    "Moments",
    "Statistics",
    "frechet_distance",
    "frechet_distance_at_infinity",
    "frechet_influences",
    "influence",
    "standard_error",
    "statistics_of",
]


@dataclass(frozen=True)
class Statistics:
    """Mean `mu` [D] and covariance `sigma` [D, D] (over count - 1) of `count` features, float64; None where it is not
    known.
    """

    mu: np.ndarray
    sigma: np.ndarray
    count: int | None


class Moments:
    """Mean and covariance of a stream of features in float64; memory does not grow with the number of them.

    Batches are merged by the pairwise update of Chan et al. 1982, which loses nothing to a large mean.
    """

    def __init__(self, dimension: int) -> None:
        self.count = 0
        self._mean = torch.zeros(dimension, dtype=torch.float64)
        self._scatter = torch.zeros(dimension, dimension, dtype=torch.float64)

    def add(self, features: Tensor) -> None:
        """features: [N, D], any float type. Raises ValueError where one is not finite."""
        features = features.detach().to("cpu", torch.float64)
        if not torch.isfinite(features).all():
            raise ValueError("the features of some samples are not finite")
        n = len(features)
        mean = features.mean(dim=0)
        centred = features - mean
        delta = mean - self._mean
        total = self.count + n
        self._scatter += centred.T @ centred + torch.outer(delta, delta) * (self.count * n / total)
        self._mean += delta * (n / total)
        self.count = total

    def statistics(self) -> Statistics:
        """What was gathered; at least two features are needed for a covariance."""
        if self.count < 2:
            raise UserError(f"a covariance needs at least 2 samples, got {self.count}")
        return Statistics(self._mean.numpy().copy(), (self._scatter / (self.count - 1)).numpy(), self.count)


def statistics_of(features: Tensor) -> Statistics:
    """Of features [N, D] that are all there."""
    moments = Moments(features.shape[1])
    for batch in features.split(4096):
        moments.add(batch)
    return moments.statistics()


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """‖μ_a - μ_b‖² + tr(Σ_a + Σ_b - 2 (Σ_a Σ_b)^½), never below 0.

    The last trace is that of (Lᵀ Σ_b L)^½ with L Lᵀ = Σ_a: symmetric, so its eigenvalues are real and no matrix square
    root of a non-symmetric product is taken. L is the Cholesky factor, or where Σ_a is singular its square root.
    """
    if a.mu.shape != b.mu.shape:
        raise UserError(f"features of {len(a.mu)} and of {len(b.mu)} dimensions have no distance")
    try:
        factor = np.linalg.cholesky(a.sigma)
    except np.linalg.LinAlgError:
        factor = _square_root(a.sigma)
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(factor.T @ b.sigma @ factor), 0, None)).sum()
    distance = np.square(a.mu - b.mu).sum() + np.trace(a.sigma) + np.trace(b.sigma) - 2 * cross
    return max(float(distance), 0.0)


def influence(features: Tensor, a: Statistics, b: Statistics) -> np.ndarray:
    """The influence of each feature on the distance of `a`, the statistics of these features, to the fixed `b`: [N].

    With f the feature less its mean and T = B (B Σ_a B)^-½ B, B = Σ_b^½, the optimal transport map from a to b, it is
    2 (μ_a - μ_b)·f + fᵀ (I - T) f - tr((I - T) Σ_a), the derivative of the distance along a sample's contribution.
    """
    root = _square_root(b.sigma)
    values, vectors = np.linalg.eigh(root @ a.sigma @ root)
    known = values > values.max() * len(values) * np.finfo(np.float64).eps
    inverse = np.where(known, 1 / np.sqrt(np.where(known, values, 1)), 0)
    bent = np.eye(len(values)) - root @ (vectors * inverse) @ vectors.T @ root
    offset, direction = float((bent * a.sigma).sum()), 2 * (a.mu - b.mu)
    parts = []
    for batch in features.split(4096):
        f = batch.double().numpy() - a.mu
        parts.append(f @ direction + ((f @ bent) * f).sum(axis=1) - offset)
    return np.concatenate(parts)


def frechet_influences(features: Tensor, a: Statistics, b: Statistics) -> np.ndarray | None:
    """The influences, whose standard deviation over √n is the standard error of the distance (delta method; the
    reference is taken as fixed). None where n is below 4 dimensions: the covariance is then too poor for the linear
    term to tell.
    """
    return influence(features, a, b) if len(features) >= 4 * len(a.mu) else None


def standard_error(influences: np.ndarray) -> float:
    """sd / √n. Of the difference of two samplers on the same noise: of the difference of their influences."""
    return float(influences.std(ddof=1) / np.sqrt(len(influences)))


def frechet_distance_at_infinity(features: Tensor, b: Statistics, halvings: int = 4) -> Measured:
    """The distance extrapolated to infinitely many samples.

    Its bias falls as 1/n (Chong & Forsyth 2020), so twice the distance of all samples less the mean distance of two
    random halves is without it, to first order. Halved several times over, with a fixed seed. The standard error is the
    distance's own, whose first order the extrapolation shares, and that of the mean over halvings.
    """
    whole = statistics_of(features)
    draw = torch.Generator().manual_seed(0)
    halves = []
    for _ in range(halvings):
        order = torch.randperm(len(features), generator=draw)
        parts = order[: len(order) // 2], order[len(order) // 2 :]
        halves.append(np.mean([frechet_distance(statistics_of(features[part]), b) for part in parts]))
    value = 2 * frechet_distance(whole, b) - float(np.mean(halves))
    influences = frechet_influences(features, whole, b)
    if influences is None:
        return Measured(value)
    return Measured(value, float(np.hypot(standard_error(influences), np.std(halves, ddof=1) / np.sqrt(halvings))))


def _square_root(sigma: np.ndarray) -> np.ndarray:
    """The symmetric square root of a covariance matrix."""
    values, vectors = np.linalg.eigh(sigma)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
