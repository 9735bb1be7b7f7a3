"""Improved precision and recall (Kynkäänniemi et al. 2019): how many samples lie in the manifold of the real images,
and how many real images in that of the samples. A manifold is the union of balls around its points, each as far as the
k-th nearest other point.

Distances are float64, of centred features: in float32 a point is not at distance 0 from itself. They are taken in
blocks of rows, so memory grows with n, not with n².
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..stats.halving import halvings
from ..stats.tails import standard_error
from .measured import Measured, Unmeasurable

__all__ = ["precision", "recall"]

BLOCK = 1024
HALVINGS = 16  # of the samples, for the error of recall, which is known to 1/√32 of itself by them


def precision(features: Tensor, reference: Tensor, k: int = 3) -> Measured:
    """The share of features [n, D] within the manifold of reference [m, D].

    Given the reference it is a mean over independent samples, so its standard error is theirs; where only a few are
    inside, or outside, it is widened or withheld (`stats.tails`).
    """
    x, y = _checked(features, reference, k)
    radii = torch.cat([_distances(block, y).kthvalue(k + 1, dim=1).values for block in y.split(BLOCK)])
    inside = torch.cat([(_distances(block, y) <= radii).any(dim=1) for block in x.split(BLOCK)]).double()
    value = float(inside.mean())
    influences: np.ndarray = (inside - value).numpy()
    rows = torch.from_numpy(halvings(len(x)))
    halves = np.array([[float(inside[part].mean()) for part in (row, ~row)] for row in rows])
    error, note = standard_error(influences)
    if value in (0.0, 1.0):
        error, note = None, f"no error: all samples are {'in' if value else 'out'}side"
    return Measured(value, error, influences=influences, halves=halves, note=note)


def recall(features: Tensor, reference: Tensor, k: int = 3) -> Measured:
    """The share of reference [m, D] within the manifold of features [n, D].

    Each ball depends on several samples, so there is no mean to take the error of. The samples are halved sixteen times
    over: half the mean square difference of two halves is the variance at n/2, and a half of that at n. (The jackknife
    was tried: it overstates the error by a third.) The reference is taken as fixed. The halvings are the common ones,
    so two cells on the same noise are compared half by half. Recall falls with n, because the balls shrink.

    With more samples than reference features the variance no longer falls as 1/n: at any n it depends on the few
    samples near a real image whether it is covered. The error is then up to √2 too small, and the note says so.
    """
    x, y = _checked(features, reference, k)
    first = torch.from_numpy(halvings(len(x), HALVINGS))
    parts = [torch.ones(len(x), dtype=torch.bool), *first, *~first]
    radii = torch.empty(len(parts), len(x), dtype=torch.float64)
    for start in range(0, len(x), BLOCK):
        distances = _distances(x[start : start + BLOCK], x)
        rows = torch.arange(start, start + len(distances))
        distances[rows - start, rows] = math.inf
        for p, part in enumerate(parts):
            radii[p, rows] = distances[:, part].kthvalue(k, dim=1).values
    for p, part in enumerate(parts):
        radii[p, ~part] = -1.0  # who is not in a part covers nothing
    covered = torch.zeros(len(parts), dtype=torch.float64)
    for block in y.split(BLOCK):
        distances = _distances(block, x)
        for p in range(len(parts)):
            covered[p] += (distances <= radii[p]).any(dim=1).sum()
    shares = (covered / len(y)).numpy()
    halves = shares[1:].reshape(2, HALVINGS).T
    differences = halves[:, 0] - halves[:, 1]
    error = math.sqrt(np.square(differences).mean() / 4)
    if error == 0:
        return Measured(float(shares[0]), halves=halves, note="no error: it is the same on every half")
    note = (
        ""
        if len(x) <= len(y)
        else "error of recall: with more samples than reference features it is up to √2 too small"
    )
    return Measured(float(shares[0]), error, halves=halves, note=note)


def _checked(features: Tensor, reference: Tensor, k: int) -> tuple[Tensor, Tensor]:
    if not (torch.isfinite(features).all() and torch.isfinite(reference).all()):
        raise ValueError("precision and recall need finite features")
    fewest = 10 * (k + 1)
    if len(features) < fewest or len(reference) < fewest:
        counts = f"{len(features)} and {len(reference)}"
        raise Unmeasurable(f"precision and recall need {fewest} samples and reference features, got {counts}")
    centre = reference.double().mean(dim=0)
    return features.double() - centre, reference.double() - centre


def _distances(a: Tensor, b: Tensor) -> Tensor:
    return torch.cdist(a, b, compute_mode="use_mm_for_euclid_dist")
