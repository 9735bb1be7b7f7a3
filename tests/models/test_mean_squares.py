"""E‖ε_θ‖²/D as analytic-ddpm reads it: a measurement whose noise is taken out."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from samplerbench import linear_schedule
from samplerbench.models.predictor import ModelEpsilon, NoisePredictor

SCHEDULE = linear_schedule()
TIMES = [float(t) for t in range(1, 1001, 20)]
RATIO = np.exp(-2 * SCHEDULE.half_log_snr(TIMES))  # (σ/α)²


def exact():
    """For Gaussian data of variance 0.3: Var(x_0 | x_t) = 1/(1/0.3 + (α/σ)²)."""
    return 1 - 1 / (1 / 0.3 + 1 / RATIO) / RATIO


def read(values):
    """Var(x_0 | x_t) at TIMES, as a sampler reads it off the table."""
    epsilon = ModelEpsilon(
        NoisePredictor(nn.Identity()), SCHEDULE, mean_squares={"times": TIMES, "values": list(values)}
    )
    return RATIO * (1 - np.array([epsilon.mean_square(t) for t in TIMES]))


def test_what_is_monotone_is_left_alone():
    truth = RATIO * (1 - exact())
    assert read(exact())[:30] == pytest.approx(truth[:30], rel=1e-9)
    assert read(exact()) == pytest.approx(truth, rel=1e-3)  # where the table's own digits tell no more, the last one


def test_the_noise_of_the_measurement_is_taken_out():
    truth, squares = RATIO * (1 - exact()), np.zeros(2)
    for seed in range(20):
        noisy = exact() + 1e-3 * np.random.default_rng(seed).standard_normal(len(TIMES))
        variance = read(noisy)
        assert np.all(np.diff(variance) >= -1e-9)
        assert np.all(variance >= 0)
        before, after = np.clip(RATIO * (1 - noisy), 0, 1), np.clip(variance, 0, 1)  # as analytic-ddpm limits it
        squares += np.square(before - truth).mean(), np.square(after - truth).mean()
    assert squares[1] < 0.2 * squares[0], squares


def test_it_is_the_nearest_in_weighted_squares():
    """No monotone table nearby is nearer to the measured one."""
    rng = np.random.default_rng(0)
    noisy = exact() + 2e-3 * rng.standard_normal(len(TIMES))
    measured, best = RATIO * (1 - noisy), read(noisy)
    weights = np.where(best < best[-1], RATIO**-2.0, 0)  # the last ones may stand for what nothing is known of
    distance = float(np.sum(weights * (best - measured) ** 2))
    for _ in range(200):
        other = np.maximum.accumulate(np.maximum(best + 1e-3 * RATIO * rng.standard_normal(len(TIMES)), 0))
        assert np.sum(weights * (other - measured) ** 2) >= distance
