"""Distances to the ODE where the data is Gaussian and the flow is known: it keeps x / √(α² s² + σ²)."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from samplerbench import NoiseSource, Unmeasurable, linear_schedule
from samplerbench.diffusion.grid import TimeGrid
from samplerbench.diffusion.ode import evaluations, solve_flow
from samplerbench.metrics.flow_error import flow_error, start_error

SPREAD, COUNT, SHAPE = 0.4, 40, (1, 4, 4)
SCHEDULE = linear_schedule()


def width(t):
    return np.sqrt(float(SCHEDULE.alpha(t)) ** 2 * SPREAD**2 + float(SCHEDULE.sigma(t)) ** 2)


def epsilon(x, t):
    return float(SCHEDULE.sigma(t)) / width(t) ** 2 * x


def solved(name, identity, compute, made_by):
    return compute()


def drawn(start, stochastic=False, keep=solved, told=None):
    """What a deterministic sampler of `final=zero` on a grid from `start` drew: the solution, moved by 0.02."""
    told = [] if told is None else told
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
        keep=keep,
        notice=lambda text: told.append(text),
        progress=lambda text: told.append(text),
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


def test_the_cost_is_said_before_and_how_far_it_is():
    told = []
    flow_error(drawn(801, told=told)[1])
    assert "from 801 for 40 samples, once for model and seed: 241 to 5,041 evaluations a sample" in told[0]
    assert told[1] == "ODE from 801, samples 1 to 40 of 40: step 1 of 20"
    assert told[60] == "ODE from 801, samples 1 to 40 of 40: step 40 of 40"


def test_the_bounds_of_the_cost_are_what_is_taken():
    asked = []

    def counted(x, t):
        asked.append(t)
        return epsilon(x, t)

    x = NoiseSource(0, range(2), SHAPE, dtype=torch.float64).x_T()
    for tolerance, expected in zip((1e9, -1.0), evaluations(), strict=True):
        asked.clear()
        solve_flow(counted, SCHEDULE, x, tolerance)
        assert len(asked) == expected


def test_a_grid_from_t_max_needs_no_solution():
    def refused(*arguments, **options):
        raise AssertionError("it was solved")

    found = start_error(drawn(1000, keep=refused)[1])
    assert (found.value, found.se, found.count) == (0, 0, COUNT)
    assert found.note == "the grid starts at t_max"


def test_a_stochastic_sampler_has_none():
    with pytest.raises(Unmeasurable, match="some is stochastic"):
        flow_error(drawn(801, stochastic=True)[1])
