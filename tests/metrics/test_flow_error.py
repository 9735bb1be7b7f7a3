"""Distances to the ODE where the data is Gaussian and the flow is known: it keeps x / √(α² s² + σ²)."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from samplerbench import NoiseSource, Unmeasurable, linear_schedule
from samplerbench.diffusion.grid import TimeGrid
from samplerbench.metrics.flow_error import flow_error, start_error

SPREAD, COUNT, SHAPE = 0.4, 40, (1, 4, 4)
SCHEDULE = linear_schedule()


def width(t):
    return np.sqrt(float(SCHEDULE.alpha(t)) ** 2 * SPREAD**2 + float(SCHEDULE.sigma(t)) ** 2)


def epsilon(x, t):
    return float(SCHEDULE.sigma(t)) / width(t) ** 2 * x


def drawn(start, stochastic=False):
    """What a deterministic sampler of `final=zero` on a grid from `start` drew: the solution, moved by 0.02."""
    x = NoiseSource(0, range(COUNT), SHAPE, dtype=torch.float64).x_T()
    there = x * width(1.0) / width(start)  # at t_min
    alpha, sigma = float(SCHEDULE.alpha(1.0)), float(SCHEDULE.sigma(1.0))
    solution = (there - sigma * epsilon(there, 1.0)) / alpha
    return solution, SimpleNamespace(
        x0=solution + 0.02,
        sampler=SimpleNamespace(stochastic=stochastic, name="some", final="zero"),
        grid=TimeGrid(SCHEDULE, (float(start), 400.0, 0.0)),
        epsilon=epsilon,
        seed=0,
        device="cpu",
        dtype=torch.float64,
        keep=lambda name, identity, compute: compute(),
        notice=lambda text: None,
    )


@pytest.mark.parametrize("start", [801, 1000])
def test_the_solvers_error_is_from_its_own_start_and_the_starts_is_apart(start):
    here, cell = drawn(start)
    above, _ = drawn(1000)
    found = flow_error(cell)
    assert found.value == pytest.approx(0.02, abs=1e-3)
    assert (found.count, len(found.influences)) == (COUNT, COUNT)
    assert found.note.startswith("the ODE is solved to ")
    price = float((here - above).square().mean().sqrt())
    assert start_error(cell).value == pytest.approx(price, abs=2e-3)
    assert (price == 0) == (start == 1000)


def test_a_stochastic_sampler_has_none():
    with pytest.raises(Unmeasurable, match="some is stochastic"):
        flow_error(drawn(801, stochastic=True)[1])
