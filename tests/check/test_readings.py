"""Wrong readings are named, right ones are not blamed: the exact ε of a Gaussian mixture is a perfect network behind
any convention.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from samplerbench import EDMSchedule, FlowSchedule, VESchedule, cosine_schedule, linear_schedule
from samplerbench.check.denoising import BANDS, Levels, compare, errors_of, levels_of
from samplerbench.check.readings import alternatives, declared
from samplerbench.models.preconditioning import PREDICTIONS, Label, Preconditioning

from .exact import SHORT, Changed, Exact, data_of

COUNT = 256
LINEAR, COSINE = linear_schedule(), cosine_schedule()


def compared(network, path, convention, count=COUNT):
    right = declared(path, convention)
    readings = [right, *alternatives(right)]
    levels = levels_of(right, count, 0)
    errors = errors_of(readings, {"": network}, data_of(count), levels, 0)
    return compare(readings, levels, errors)


def better(found):
    """What fits better than the declared reading, the best first."""
    return [c.reading.name for c in sorted(found, key=lambda c: not c.best) if c.verdict == "better"]


CONVENTIONS = {
    "epsilon": (LINEAR, Preconditioning("epsilon")),
    "v": (LINEAR, Preconditioning("v")),
    "x0": (COSINE, Preconditioning("x0")),
    "score": (VESchedule(t_min=1e-3), Preconditioning("score", label=Label("sigma"))),
    "velocity": (FlowSchedule(), Preconditioning("velocity", label=Label("flow-time", 1000.0))),
    "edm": (EDMSchedule(), Preconditioning("edm", "edm", Label("log-sigma", 0.25))),
}


@pytest.mark.parametrize("name", CONVENTIONS)
def test_the_right_reading_of_a_perfect_network_is_not_blamed(name):
    path, convention = CONVENTIONS[name]
    found = compared(Exact(path, convention), path, convention)
    assert better(found) == []
    assert all(c.ratio > 1 for c in found if c.verdict == "worse")
    assert sum(c.verdict == "worse" for c in found) >= len(found) - 4


@pytest.mark.parametrize("taken", ["epsilon", "v", "x0", "score", "edm"])
@pytest.mark.parametrize("true", ["epsilon", "v", "x0", "score", "edm"])
def test_a_wrong_meaning_of_the_output_is_named(true, taken):
    if true == taken:
        return
    right = Preconditioning(true)
    names = better(compared(Exact(LINEAR, right), LINEAR, replace(right, prediction=taken)))
    assert names[0] == f"output is {true}"


WRONG = {
    "label + 1": lambda right: replace(right, label=Label("index", offset=-1.0)),
    "label - 1": lambda right: replace(right, label=Label("index", offset=1.0)),
    "label - ½": lambda right: replace(right, label=Label("index", offset=0.5)),
    "label + ½": lambda right: replace(right, label=Label("index", offset=-0.5)),
    "labels reversed": lambda right: replace(right, label=Label("index", factor=-1.0, offset=99.0)),
    "label × 100": lambda right: replace(right, label=Label("index", factor=1 / 100)),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_wrong_labels_are_named(name, prediction):
    right = Preconditioning(prediction)
    assert better(compared(Exact(SHORT, right), SHORT, WRONG[name](right), 1024))[0] == name


@pytest.mark.parametrize(("true", "taken", "name"), [(LINEAR, COSINE, "linear"), (COSINE, LINEAR, "cosine")])
@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_a_wrong_schedule_is_named(true, taken, name, prediction):
    right = Preconditioning(prediction)
    assert better(compared(Exact(true, right), taken, right))[0] == f"schedule {name}"


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda net, x, label: -net(x, label), "output negated"),
        (lambda net, x, label: net((x + 1) / 2, label), "input 2x - 1"),
        (lambda net, x, label: net(2 * x - 1, label), "input (x + 1)/2"),
    ],
)
@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_a_wrong_sign_or_input_is_named(change, name, prediction):
    right = Preconditioning(prediction)
    assert better(compared(Changed(Exact(LINEAR, right), change), LINEAR, right))[0] == name


@pytest.mark.parametrize(("data", "name"), [((0.5, 0.5), "data in [0, 1]"), ((0.5, 0.0), "data in [-½, ½]")])
@pytest.mark.parametrize("prediction", ["epsilon", "v", "x0"])
def test_data_of_another_range_is_named(data, name, prediction):
    right = Preconditioning(prediction)
    found = compared(Exact(LINEAR, right, data), LINEAR, right)
    assert better(found)[0] == name
    (best,) = [c for c in found if c.reading.name == name]
    assert best.interval[1] < 0.9


def test_a_whole_convention_is_named():
    path, convention = CONVENTIONS["velocity"]
    assert better(compared(Exact(path, convention), LINEAR, Preconditioning("epsilon")))[0] == "flow, time × 1000"
    assert better(compared(Exact(LINEAR, Preconditioning()), path, convention))[0] == "ε of DDPM"


def test_all_readings_solve_the_same_task():
    """Behind its own convention every perfect network makes the same ε̂ of the same x."""
    errors = []
    for name in PREDICTIONS:
        path, convention = CONVENTIONS.get(name, (FlowSchedule(), Preconditioning(name, label=Label("time"))))
        right = declared(path, convention)
        lam = np.linspace(4, -3.5, COUNT)
        levels = Levels(path.time(lam), lam)
        errors.append(errors_of([right], {"": Exact(path, convention)}, data_of(COUNT), levels, 1)[:, 0])
    for other in errors[1:]:
        assert np.allclose(other, errors[0], rtol=2e-3)


def test_levels_are_even_in_lambda_and_have_labels():
    right = declared(LINEAR, Preconditioning())
    levels = levels_of(right, 512, 0)
    assert np.array_equal(levels.times, np.round(levels.times))
    assert (levels.times[0], levels.half_log_snr[-1] > -4.7) == (1, True)
    assert np.allclose(np.diff(levels.half_log_snr[::64]), np.diff(levels.half_log_snr[::64]).mean(), rtol=0.2)


def test_a_ratio_and_its_error_are_what_two_means_say():
    """Against the plain calculation: the logarithm of the ratio of means, its error by the jackknife."""
    rng = np.random.Generator(np.random.Philox(1))
    right = declared(LINEAR, Preconditioning())
    readings = [right, replace(right, name="other", mistake="")]
    levels = Levels(np.ones(BANDS * 200), np.zeros(BANDS * 200))
    errors = rng.gamma(4, size=(BANDS * 200, 2)) + rng.gamma(4, size=(BANDS * 200, 1))
    (found,) = compare(readings, levels, errors, confidence=0.95)
    bands = errors.reshape(BANDS, 200, 2)
    log = np.log(bands[..., 1].mean(1) / bands[..., 0].mean(1)).mean()
    assert found.ratio == pytest.approx(np.exp(log))
    left = [
        np.log(np.delete(band[:, 1], i).mean() / np.delete(band[:, 0], i).mean()) for band in bands for i in range(200)
    ]
    variance = sum(199 * np.var(left[b * 200 : (b + 1) * 200]) for b in range(BANDS)) / BANDS**2
    width = np.log(found.interval[1] / found.interval[0]) / 2
    assert width == pytest.approx(1.96 * np.sqrt(variance), rel=0.02)


def test_one_in_a_hundred_families_without_a_difference_is_blamed():
    """Ten readings as good as the declared one, 30 times."""
    right = declared(LINEAR, Preconditioning())
    readings = [right] + [replace(right, name=str(k), mistake="") for k in range(10)]
    levels = Levels(np.ones(BANDS * 16), np.zeros(BANDS * 16))
    blamed = 0
    for seed in range(30):
        rng = np.random.Generator(np.random.Philox(seed))
        errors = rng.gamma(2, size=(BANDS * 16, 1)) + 0.1 * rng.gamma(2, size=(BANDS * 16, len(readings)))
        blamed += any(c.verdict != "cannot tell" for c in compare(readings, levels, errors, margin=0.0))
    assert blamed <= 3  # 0.3 expected


def test_what_is_not_finite_loses():
    right = declared(LINEAR, Preconditioning())
    broken = Changed(Exact(LINEAR, right.preconditioning), lambda net, x, label: net(x, label) / (label.min() >= 0))
    found = {c.reading.name: c for c in compared(broken, LINEAR, right.preconditioning)}
    assert (found["label - 1"].verdict, found["label - 1"].ratio) == ("worse", float("inf"))
