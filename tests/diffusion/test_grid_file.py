"""Grids from a file, and samplers that have a grid of their own."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

import numpy as np
import pytest

import samplerbench
from samplerbench import Sampler, TooFewEvaluations, UserError, VESchedule, VPSchedule, linear_schedule
from samplerbench.check.checks import check_sampler
from samplerbench.diffusion.grid_file import grid_file
from samplerbench.plugins import load_plugins
from samplerbench.sampler import check_options
from samplerbench.sampling import plan_grid

LINEAR, REGISTRY = linear_schedule(), load_plugins()
GRIDS = {"3": [1000, 500, 100, 0], "5": [1000, 700, 400, 150, 30, 0]}


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def of(grids=GRIDS, **more):
        said = {"schema": "samplerbench-grids", "version": 1, "coordinate": "time", "grids": grids} | more
        (tmp_path / "grids.json").write_text(json.dumps({k: v for k, v in said.items() if v is not None}))
        return "file:grids.json"

    return of


def test_a_budget_has_the_grid_of_its_evaluations(write):
    spec = f"ddim:eta=0.5:spacing={write()}"
    sampler = REGISTRY.sampler(spec)
    assert (sampler.spec(), sampler.final) == (spec, "zero")
    assert plan_grid(sampler, LINEAR, nfe=5).times == tuple(GRIDS["5"])
    assert plan_grid(sampler, LINEAR, steps=3).times == tuple(GRIDS["3"])
    with pytest.raises(TooFewEvaluations, match="has no grid for 4 evaluations, only for 3, 5"):
        plan_grid(sampler, LINEAR, nfe=4)
    with pytest.raises(UserError, match="has no grid of 4 steps, only for 3, 5"):
        plan_grid(sampler, LINEAR, steps=4)
    with pytest.raises(TooFewEvaluations, match="5 steps of listed times need more than 5 evaluations"):
        plan_grid(REGISTRY.sampler("heun:spacing=file:grids.json"), LINEAR, nfe=5)


def test_where_the_grids_end_is_where_the_sampler_ends(write):
    assert REGISTRY.sampler(f"dpm:spacing={write()}").final == "zero"
    write({"2": [1000, 400, 1]})
    assert REGISTRY.sampler("ddim:spacing=file:grids.json").final == "none"
    sampler = REGISTRY.sampler("ddim:spacing=file:grids.json:final=denoise")
    assert sampler.final == "denoise"
    with pytest.raises(TooFewEvaluations, match="2 steps of listed times need more than 2 evaluations"):
        plan_grid(sampler, LINEAR, nfe=2)


@pytest.mark.parametrize("schedule", [LINEAR, VPSchedule(), VESchedule()], ids=["discrete", "vp", "ve"])
def test_sigmas_are_the_same_on_every_path(write, schedule):
    sigmas = [50.0, 3.0, 0.7, 0.02, 0]
    sampler = REGISTRY.sampler(f"ddim:spacing={write({'4': sigmas}, coordinate='sigma')}")
    grid = plan_grid(sampler, schedule, nfe=4)
    assert np.array(grid.sigma) / grid.alpha == pytest.approx(sigmas)
    most = float(np.exp(-schedule.half_log_snr(schedule.t_max)))
    write({"4": [most * (1 + 1e-9), 1, 0]}, coordinate="sigma")
    assert plan_grid(sampler, schedule, nfe=4).times[0] == schedule.t_max
    write({"4": [2 * most, 1, 0]}, coordinate="sigma")
    with pytest.raises(UserError, match=r"σ/α is from .* on this path, got"):
        plan_grid(sampler, schedule, nfe=4)


def test_a_file_of_another_path_is_refused(write):
    sampler = REGISTRY.sampler(f"ddim:spacing={write(path=json.loads(json.dumps(LINEAR.config())))}")
    assert plan_grid(sampler, LINEAR, nfe=3).steps == 3
    with pytest.raises(UserError, match="has grids of another path: "):
        plan_grid(sampler, VPSchedule(), nfe=3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": None}, 'a file of grids says "schema": "samplerbench-grids"'),
        ({"version": 2}, "it is of version 2, and this samplerbench reads 1"),
        ({"cordinate": "time"}, "unknown key 'cordinate'; did you mean 'coordinate'"),
        ({"coordinate": "lambda"}, "coordinate is time or sigma, got 'lambda'"),
        ({"grids": {}}, "grids is an object of evaluations and grids"),
        ({"grids": {"five": [3, 2]}}, "a key of grids is a number of evaluations, like 5, got 'five'"),
        ({"grids": {"5": [1000]}}, "the grid for 5 evaluations has two numbers or more, decreasing"),
        ({"grids": {"5": [100, 200]}}, "the grid for 5 evaluations has two numbers or more, decreasing"),
        ({"grids": {"5": [1000, "0"]}}, "the grid for 5 evaluations is a list of numbers"),
        ({"grids": {"1": [1000, 0], "2": [1000, 500, 1]}}, "some grids end at 0, the data, and some above"),
        ({"path": "vp"}, "path is the config of a path"),
    ],
)
def test_bad_files(write, changes, message):
    with pytest.raises(UserError, match=r"spacing=file:grids\.json") as raised:
        grid_file(write(**changes))
    assert message in str(raised.value)


def test_files_that_are_none(write, tmp_path):
    with pytest.raises(UserError, match=r"spacing=file:nosuch\.json cannot be read: No such file"):
        REGISTRY.sampler("ddim:spacing=file:nosuch.json")
    (tmp_path / "grids.json").write_text("{")
    with pytest.raises(UserError, match="is no JSON file of grids"):
        grid_file("file:grids.json")
    (tmp_path / "grids.json").write_text("[" * 10**5)
    with pytest.raises(UserError, match="is no JSON file of grids"):
        grid_file("file:grids.json")
    (tmp_path / "grids.json").write_text('{"schema": "samplerbench-grids", "schema": "x"}')
    with pytest.raises(UserError, match="'schema' is there twice"):
        grid_file("file:grids.json")


def test_it_passes_the_check(write):
    findings = check_sampler(REGISTRY.sampler(f"dpm:spacing={write()}"))
    assert not [one for one in findings if one.verdict == "failed"]


def test_a_run_says_it_and_another_content_is_another_code(write, tiny_model, tmp_path):
    spec = f"ddim:spacing={write()}"
    options = {"model": str(tiny_model), "device": "cpu", "samples": 10, "out": tmp_path / "out"}
    frame = samplerbench.run(spec, nfe=[3, 4, 5], **options)
    assert frame["spacing"].tolist() == ["file:grids.json"] * 3
    assert frame["status"].tolist() == ["done", "skipped", "done"]
    write(GRIDS | {"4": [1000, 500, 250, 100, 0]})
    again = samplerbench.run(spec, nfe=[3, 4, 5], **options)
    assert again["status"].tolist() == ["done"] * 3
    assert again["sampler_sha256"][0] != frame["sampler_sha256"][0]


@dataclass(frozen=True, kw_only=True)
class Cubic(Sampler):
    """DDIM on times that are even in the cube root; a little denser near the data than the quadratic ones."""

    name = "cubic"
    spacing: str = "own"
    final: str = "none"

    def grid(self, schedule, steps):
        return np.linspace(schedule.t_max ** (1 / 3), schedule.t_min ** (1 / 3), steps + 1) ** 3

    def sample(self, eps, grid, x, noise):
        for i in range(grid.steps):
            ratio = grid.alpha[i + 1] / grid.alpha[i]
            x = ratio * x + (grid.sigma[i + 1] - ratio * grid.sigma[i]) * eps(x, grid.times[i])
        return x


def test_an_own_grid_is_planned_and_others_are_a_choice():
    grid = plan_grid(Cubic(), LINEAR, nfe=4)
    assert (grid.times[0], grid.times[-1]) == (1000, 1)
    assert np.diff(np.cbrt(grid.times)) == pytest.approx([-9 / 4] * 4)
    assert Cubic(spacing="logsnr").spec() == "cubic:spacing=logsnr"
    assert plan_grid(Cubic(spacing="logsnr"), LINEAR, nfe=4).times[1] != grid.times[1]


def test_its_order_is_measured_on_the_ladder_that_it_gives():
    (order,) = [one for one in check_sampler(Cubic()) if one.check == "order"]
    assert order.verdict == "passed"
    assert "on its own grid, declared 1" in order.text

    class Stuck(Cubic):
        def grid(self, schedule, steps):  # further steps are crowded where they do not help
            few = super().grid(schedule, 20)
            crowd = np.linspace(few[-2], few[-1], steps - 18)[1:]
            return [*few[:-1], *crowd]

    (order,) = [one for one in check_sampler(Stuck()) if one.check == "order"]
    assert order.verdict == "failed"
    assert "on its own grid" in order.text


@pytest.mark.parametrize(
    ("times", "final", "error", "message"),
    [
        (lambda n: range(n, 0, -1), "none", ValueError, "cubic.grid gives 4 times for 4 steps, expected 5"),
        (lambda n: range(n, -1, -1), "none", UserError, "cubic.grid ends at 0, the data, and final is none"),
        (lambda n: range(n + 1, 0, -1), "zero", UserError, "cubic.grid ends at 1, above the data, and final is zero"),
        (lambda n: range(1, n + 2), "none", UserError, "times must be decreasing"),
        (lambda n: [2000, *range(n, 0, -1)], "none", UserError, "times must lie in [0, 1000], got 2000"),
    ],
)
def test_bad_grids(times, final, error, message):
    class Bad(Cubic):
        def grid(self, schedule, steps):
            return times(steps)

    with pytest.raises(error) as raised:
        plan_grid(Bad(final=final), LINEAR, nfe=4)
    assert message in str(raised.value)


def test_a_random_grid_is_refused():
    class Moody(Cubic):
        def grid(self, schedule, steps):
            return [1000 * random.random(), 0] if steps == 1 else super().grid(schedule, steps)

    assert plan_grid(Moody(), LINEAR, nfe=4).steps == 4
    with pytest.raises(ValueError, match=r"cubic\.grid gives other times when it is asked again for 1 steps"):
        plan_grid(Moody(), LINEAR, nfe=1)


def test_spacing_and_method_go_together():
    @dataclass(frozen=True, kw_only=True)
    class Silent(Cubic):
        spacing: str = "uniform"

    with pytest.raises(TypeError, match='Silent has a grid of its own; say so by spacing: str = "own"'):
        check_options(Silent)

    @dataclass(frozen=True, kw_only=True)
    class Empty(Sampler):
        name = "empty"
        spacing: str = "own"

        def sample(self, eps, grid, x, noise):
            return x

    with pytest.raises(TypeError, match=r"Empty\.spacing is own, and it has no method grid"):
        check_options(Empty)
    with pytest.raises(UserError, match="unknown spacing 'own'"):
        REGISTRY.sampler("ddim:spacing=own")
