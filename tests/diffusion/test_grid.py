from itertools import pairwise

import numpy as np
import pytest

from samplerbench import TimeGrid, UserError, VPSchedule, linear_schedule
from samplerbench.diffusion.spacing import SPACINGS
from samplerbench.plugins import load_plugins

LINEAR = linear_schedule()


@pytest.mark.parametrize("final", ["zero", "none"])
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("schedule", [LINEAR, VPSchedule()], ids=["discrete", "continuous"])
def test_exactly_the_asked_number_of_distinct_times(schedule, spacing, final):
    for steps in [*range(1, 121), 400, 800]:
        grid = TimeGrid.make(schedule, steps, spacing, final)
        assert grid.steps == steps
        assert all(earlier > later for earlier, later in pairwise(grid.times))
        assert grid.times[0] <= schedule.t_max
        at_zero = final == "zero" or SPACINGS[spacing].ends_at_zero
        assert grid.times[-1] == 0 if at_zero else grid.times[-1] >= schedule.t_min


def test_trailing_ends_at_the_data_whatever_the_sampler_wants():
    grid = TimeGrid.make(LINEAR, 20, "trailing", "none")
    assert grid.times == (*range(1000, 0, -50), 0)
    assert TimeGrid.make(LINEAR, 1000, "trailing", "none").times == tuple(range(1000, -1, -1))
    assert TimeGrid.make(VPSchedule(), 4, "trailing", "none").times == (1, 0.75, 0.5, 0.25, 0)
    registry = load_plugins()
    assert registry.sampler("dpm-solver:spacing=trailing").spec() == "dpm-solver:spacing=trailing"
    with pytest.raises(UserError, match="trailing spacing ends at the data; final=denoise ends where noise"):
        registry.sampler("dpm-solver:spacing=trailing:final=denoise")


@pytest.mark.parametrize("steps", [10, 20, 50, 100])
def test_uniform_is_ddims_stride(steps):
    labels = np.array(TimeGrid.make(LINEAR, steps, "uniform").times[:-1]) - 1
    assert labels[::-1].tolist() == list(range(0, 1000, 1000 // steps))


@pytest.mark.parametrize("steps", [10, 20])
def test_quadratic_is_ddims_list(steps):
    labels = np.array(TimeGrid.make(LINEAR, steps, "quadratic").times[:-1]) - 1
    assert labels[::-1].tolist() == [int(s) for s in np.linspace(0, np.sqrt(800), steps) ** 2]


def test_duplicates_of_ddims_quadratic_list_are_spread():
    published = [int(s) for s in np.linspace(0, np.sqrt(800), 100) ** 2]
    assert len(set(published)) == 96
    labels = np.array(TimeGrid.make(LINEAR, 100, "quadratic").times[:-1])[::-1] - 1
    assert len(set(labels)) == 100
    assert np.abs(labels - published).max() <= 5


@pytest.mark.parametrize("schedule", [LINEAR, VPSchedule()], ids=["discrete", "continuous"])
def test_time_quadratic_is_even_in_the_root_of_time_and_keeps_its_ends(schedule):
    times = TimeGrid.make(schedule, 7, "time-quadratic", "none").times
    assert (times[0], times[-1]) == (schedule.t_max, schedule.t_min)
    assert np.ptp(np.diff(np.sqrt(times))) < 1e-9


def test_logsnr_is_even_in_lambda_and_keeps_its_ends():
    grid = TimeGrid.make(LINEAR, 7, "logsnr", "none")
    assert (grid.times[0], grid.times[-1]) == (1000, 1)
    assert np.ptp(np.diff(grid.half_log_snr)) < 1e-9


def test_values_at_the_times():
    grid = TimeGrid(LINEAR, (1000.0, 1.0, 0.0))
    assert grid.alpha[2] == 1
    assert grid.sigma[2] == 0
    assert grid.half_log_snr[2] == np.inf
    assert grid.sigma[1] == pytest.approx(0.01, rel=1e-9)


def test_all_thousand_steps_are_every_time():
    assert TimeGrid.make(LINEAR, 1000, "uniform").times == tuple(float(t) for t in range(1000, -1, -1))


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ((10.0,), "at least two"),
        ((10.0, 20.0), "decreasing"),
        ((10.0, 10.0), "decreasing"),
        ((1001.0, 1.0), r"lie in \[0, 1000\]"),
        ((10.0, -1.0), r"lie in \[0, 1000\]"),
        ((10.0, 0.5, 0.0), "only a last time of 0"),
        ((10.0, float("nan")), "decreasing"),
    ],
)
def test_bad_times(times, message):
    with pytest.raises(UserError, match=message):
        TimeGrid(LINEAR, times)


def test_bad_requests():
    with pytest.raises(UserError, match="did you mean 'uniform'"):
        TimeGrid.make(LINEAR, 10, "unifrom")
    with pytest.raises(UserError, match="did you mean 'zero'"):
        TimeGrid.make(LINEAR, 10, "uniform", "zeros")
    with pytest.raises(UserError, match="steps must be from 1 to 100000"):
        TimeGrid.make(LINEAR, 0)
    with pytest.raises(UserError, match="1001 distinct times were asked for; uniform spacing has 1000"):
        TimeGrid.make(LINEAR, 1001, "uniform")
    with pytest.raises(UserError, match="900 distinct times were asked for; quadratic spacing has 801"):
        TimeGrid.make(LINEAR, 900, "quadratic")
