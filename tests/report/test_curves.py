"""Charts as data: intervals, axes, fronts, floors, the literature's figures, and how curves are told apart."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from samplerbench import UserError
from samplerbench.report.axes import axis_of_costs, axis_of_values
from samplerbench.report.curves import front, traits
from samplerbench.report.overview import overview
from samplerbench.report.said import Claims
from samplerbench.report.styles import COLOURS, MARKERS, styles
from samplerbench.report.view import Axis, Floor, Point, Series

from .conftest import HASHES, cell, write_run


@pytest.fixture
def charts(tmp_path, registry):
    def of(*cells, run=None, floors=None, metric="fid"):
        folder = write_run(tmp_path / "run", list(cells))
        for name, said in (("run.json", run), ("floors.json", floors)):
            if said is not None:
                (folder / name).write_text(json.dumps(said))
        found = overview([folder], metric, registry)
        return {chart.name: chart for chart in (*found.charts, *found.others)}

    return of


def seconds(sampling, **changes):
    return {"seconds_sampling": sampling, "seconds_decoding": 0.0, "hardware": "a machine", "batch_size": 64, **changes}


def test_a_curve_has_its_cells_in_order_with_their_intervals(charts):
    found = charts(
        cell("ddim", 10, 12.0, fid_se=2.0), cell("ddim", 5, 20.0), cell("heun", 10, 9.0, nfe=9.0, fid_se=None)
    )
    (ddim, heun) = found["fid-evaluations"].series
    assert [(p.x, p.y) for p in ddim.points] == [(5, 20), (10, 12)]
    assert (ddim.points[1].low, ddim.points[1].high) == pytest.approx((12 - 1.96 * 2, 12 + 1.96 * 2), abs=1e-3)
    assert [(p.x, p.asked, p.low) for p in heun.points] == [(9, 10, None)]  # where it was counted
    assert ddim.claims == Claims(1, False)
    assert "fid-seconds" not in found
    assert "no row says its seconds" in found["fid-evaluations"].notes[0]


def test_seconds_are_those_of_a_sample_without_features(charts):
    found = charts(
        cell("ddim", 5, 20.0, **seconds(2.56)),
        cell("ddim", 10, 12.0, **seconds(5.12, seconds_decoding=2.56)),
        cell("heun", 5, 9.0),
    )
    (series,) = found["fid-seconds"].series
    assert [p.x for p in series.points] == pytest.approx([0.01, 0.03])
    assert found["fid-seconds"].notes == found["fid-seconds-front"].notes
    assert found["fid-seconds"].notes == (
        "Measured on a machine, in batches of 64.",
        "Seconds were taken once and have no error. Whatever else the machine did at the time makes them longer.",
        "1 of 3 cells do not say their seconds, and are left out.",
    )
    found = charts(cell("ddim", 5, 20.0, **seconds(1)), cell("heun", 5, 9.0, **seconds(1, hardware="another")))
    assert found["fid-seconds"].notes[0].startswith("The seconds were measured on several machines, and do not compare")


def test_the_front_is_what_nothing_is_better_and_cheaper_than():
    rng = np.random.default_rng(0)
    points = [(float(x), float(y)) for x, y in rng.integers(1, 12, (60, 2))]
    for direction, sign in (("lower", 1), ("higher", -1)):
        slow = {
            (x, y)
            for x, y in points
            if not any((a <= x and sign * b <= sign * y) and (a, b) != (x, y) for a, b in points)
        }
        found = [points[k] for k in front(points, direction)]
        assert set(found) == slow
        assert found == sorted(found)
        assert len(found) == len(slow)  # of equal points one


def test_what_ties_with_the_front_is_marked(charts):
    found = charts(cell("ddim", 5, 20.0), cell("ddpm", 5, 20.5), cell("heun", 5, 90.0), cell("heun", 10, 95.0))
    points = {(one.label, p.x): p for one in found["fid-evaluations-front"].series for p in one.points}
    marks = {key: (p.front, p.best) for key, p in points.items()}
    assert marks == {
        ("ddim (uniform)", 5): (True, True),
        ("ddpm (uniform)", 5): (False, True),
        ("heun (uniform)", 5): (False, False),
        ("heun (uniform)", 10): (False, False),  # the best of its column, and behind the front
    }
    assert [p.behind for p in points.values()] == [False, False, True, True]
    found = charts(cell("ddim", 5, 20.0, fid_se=None), cell("heun", 5, 90.0, fid_se=None))
    points = [p for one in found["fid-evaluations-front"].series for p in one.points]
    assert [p.behind for p in points] == [False, False]  # without errors nothing is known to be


def test_one_cell_has_round_ticks(charts):
    found = charts(cell("ddim", 5, 23.877, **seconds(0.023877 * 256)))
    ticks = [tick for chart in found.values() for axis in (chart.x, chart.y) for tick in axis.ticks]
    assert ticks
    assert all(len(f"{tick:g}") <= 6 for tick in ticks)
    assert all(tick == round(tick, 4) for tick in ticks)


def test_axes_hold_what_is_drawn_on_them():
    points = [Point(5, 900.0, 890.0, 910.0, 5), Point(20, 8.0, -3.0, 20.0, 20)]
    axis = axis_of_values("FID", points, [Floor(0.1, None, "real"), Floor(6.0, None, "converged")])
    assert axis.log
    assert 3 < axis.low < 4  # below half of the value where an interval reaches below 0, and no floor is far below
    assert axis.high > 910
    assert axis.ticks == (5, 10, 20, 50, 100, 200, 500, 1000)
    assert [axis.place(axis.low), axis.place(axis.high), axis.place(math.sqrt(axis.low * axis.high))] == pytest.approx(
        [0, 1, 0.5]
    )
    assert axis.place(-1) == -math.inf
    even = axis_of_values("recall", [Point(5, 0.4, 0.3, 0.5, 5), Point(10, 0.8, 0.7, 0.9, 10)])
    assert not even.log
    assert even.ticks == (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    assert axis_of_values("kid", [Point(5, -0.1, None, None, 5)]).ticks  # one value, below 0
    costs = axis_of_costs("evaluations", [5, 6, 100], [5, 6, 8, 99, 100])
    assert costs.ticks == (5, 6, 8, 100)  # two that are too near: the last one
    assert axis_of_costs("seconds", [0.3]).ticks


def test_floors_are_read_where_they_fit(charts):
    hashes = {f"{name}_sha256": HASHES[f"{name}_sha256"] * 16 for name in ("reference", "extractor", "model")}
    real = {"about": "real test images", "metric": "fid", "samples": 256, "value": 1.5, **hashes, "model_sha256": None}
    own = {**real, "about": "its own samples", "value": 15.0, "se": 0.1, "model_sha256": hashes["model_sha256"]}
    others = [{**real, name: value} for name, value in (("samples", 99), ("metric", "kid"), ("reference_sha256", "x"))]
    cells = [cell("ddim", 5, 20.0), cell("ddim", 10, 16.0)]
    found = charts(*cells, floors={"floors": [own, real, *others, {**own, "model_sha256": "x"}]})["fid-evaluations"]
    assert found.floors == (Floor(1.5, None, "real test images"), Floor(15.0, 0.1, "its own samples"))
    asked = [cell("ddim", n, 90.0 / n, asked_sha256="a" * 64) for n in (5, 10)]
    mine, anothers = ({**own, "about": about, "asked_sha256": about * 64} for about in "ab")
    found = charts(*asked, floors={"floors": [mine, anothers]})["fid-evaluations"]
    assert found.floors == (Floor(15.0, 0.1, "a"),)
    for broken in ({}, {"floors": [{**real, "value": "1"}]}, {"floors": [{**real, "vallue": 1}]}, [1]):
        with pytest.raises(UserError, match=r"floors\.json is no file of floors"):
            charts(*cells, floors=broken)


def test_the_literature_stands_beside_the_same_data_set_alone(charts):
    def run(dataset):
        return {"model": {"dataset": dataset, "sample_shape": [3, 32, 32], "sha256": HASHES["model_sha256"] * 16}}

    inception = {"extractor": "inception-v3-compat", "spacing": "quadratic"}
    cells = [cell("ddim", n, 14.0, **inception) for n in (10, 20)]
    marks = charts(*cells, run=run("CIFAR10"))["fid-evaluations"].published
    assert {(one.x, one.y, one.series) for one in marks} >= {
        (10, 13.36, "ddim (quadratic)"),
        (20, 6.84, "ddim (quadratic)"),
    }
    assert any("Song et al. 2021" in one.about and "here 256 samples" in one.about for one in marks)
    assert not charts(*cells, run=run("celeba"))["fid-evaluations"].published
    assert not charts(*cells)["fid-evaluations"].published
    plain = [cell("ddim", n, 14.0, spacing="quadratic") for n in (10, 20)]  # in features that are not Inception's
    assert not charts(*plain, run=run("CIFAR10"))["fid-evaluations"].published


def test_other_metrics_have_a_curve_and_ode_rmse_its_slope(charts):
    def row(n, **changes):
        return cell("ddim", n, 20.0, kid=1 / n, kid_se=0.1, kid_n=256, ode_rmse=3 * n**-2.0, ode_rmse_se=0.0, **changes)

    found = charts(*(row(n, ode_rmse_n=256) for n in (5, 10, 20)))
    assert {"kid-evaluations", "ode_rmse-evaluations"} <= set(found)
    assert "kid-evaluations-front" not in found
    (series,) = found["ode_rmse-evaluations"].series
    assert (series.slope.exponent, series.slope.factor) == pytest.approx((-2, 3))
    assert series.slope.at(10) == pytest.approx(0.03)
    assert found["kid-evaluations"].series[0].slope is None


def test_families_are_those_of_a_plugin(registry):
    assert traits("pndm", registry)[0] == traits("ipndm:order=2", registry)[0] != traits("ddim", registry)[0]
    assert traits("sde-dpm-solver", registry)[1].stochastic
    assert traits("heun", registry)[1] == Claims(2, False)
    assert traits("nobodys:a=1", registry) == ("nobodys", None)
    assert traits("ddim:nosuch=1", registry) == ("ddim", None)


def test_a_sampler_whose_plugin_is_not_here_is_drawn_as_its_run_says(charts):
    asked = [
        {"sampler": "nobodys", "order": 2.5, "stochastic": True, "values": [5]},
        {"sampler": "heun", "order": None, "stochastic": False, "values": [5]},
    ]
    cells = [cell(name, 5, 20.0) for name in ("nobodys", "elses", "heun", "ddim")]
    series = charts(*cells, run={"status": "finished", "asked": asked})["fid-evaluations"].series
    found = {one.label.partition(" ")[0]: one.claims for one in series}
    said = {"nobodys": Claims(2.5, True), "elses": None, "heun": Claims(None, False), "ddim": Claims(1, False)}
    assert found == said
    drawn = dict(zip(found, styles(series), strict=True))
    assert [(one.fill, one.thin, one.dash) for one in drawn.values()] == [
        ("none", False, (7.0, 2.5)),
        ("pale", True, ()),  # neither order nor noise is known
        ("full", False, (6.0, 2.0, 1.5, 2.0)),
        ("full", False, (1.5, 2.5)),
    ]


def test_curves_are_told_apart_without_colour():
    def series(family, order=2.0, stochastic=False):
        return Series("", family, Claims(order, stochastic), ())

    several = [series(f"family {i}") for i in range(9)] + [series("family 0", 1.0), series("family 0", None, True)]
    found = styles(several)
    assert [one.colour for one in found[:9]] == [*range(len(COLOURS)), None, None]
    assert len({one.marker for one in found[: len(MARKERS)]}) == len(MARKERS)
    assert len({found[0].marker, found[9].marker, found[10].marker}) == 3
    assert [one.dash for one in (found[0], found[9], found[10])] == [(), (1.5, 2.5), (6.0, 2.0, 1.5, 2.0)]
    assert [one.fill for one in (found[0], found[10])] == ["full", "none"]
    assert Axis("", False, 0, 2, ()).place(1) == 0.5
