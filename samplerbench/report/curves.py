"""Charts of a metric against what a sample costs: evaluations of the network, or seconds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..registry import Registry
from ..stats.power import power_law
from .axes import axis_of_costs, axis_of_values
from .results import HUGE
from .said import Claims, Run, claims_of
from .shown import Shown, plain_column
from .view import Chart, Cost, Direction, Floor, Point, Published, Series, Slope

__all__ = ["COSTS", "charts", "costs_of", "front", "traits"]

COSTS: tuple[Cost, ...] = ("evaluations", "seconds")
SAMPLING = ("seconds_network", "seconds_sampler", "seconds_decoding", "seconds_sampling")  # the last up to schema 3
NORMAL = 1.959963984540054  # errors to either side that hold the truth with 95 %
FALLING = ("ode_rmse",)  # metrics that fall as a power of the evaluations, so that a slope says something


def charts(
    rows: Shown,
    registry: Registry,
    floors: Sequence[Floor] = (),
    published: Sequence[Published] = (),
    fronts: bool = True,
    runs: Sequence[Run] = (),
) -> list[Chart]:
    """The curves of a metric against evaluations and, where rows say them, seconds; and of each the front.

    runs: what is known of the run of each file of `rows`, which says what a sampler claims whose plugin is not here.
    """
    found: list[Chart] = []
    for cost in COSTS:
        places, x = costs_of(rows, cost)
        if not places:  # of seconds: every row has counted evaluations
            continue
        series = _series(rows, registry, runs, places, x, cost)
        points = [point for one in series for point in one.points]
        beside = tuple(published) if cost == "evaluations" else ()
        what, title = rows.metric.title, f"{rows.metric.title} against {_titles(cost)[0]}"
        across = axis_of_costs(
            _titles(cost)[1],
            [*(point.x for point in points), *(one.x for one in beside)],
            () if cost == "seconds" else x if rows.axis == "steps" else rows.columns,
        )
        up = axis_of_values(f"{what} ({rows.metric.direction} is better)", points, floors, [one.y for one in beside])
        name, notes = f"{rows.metric.name}-{cost}", _notes(rows, cost, places)
        found.append(Chart(name, "curves", cost, title, across, up, series, tuple(floors), beside, notes))
        if fronts:
            behind = Chart(f"{name}-front", "front", cost, f"{title}: the front", across, up, series, tuple(floors))
            found.append(replace(behind, notes=notes) if cost == "seconds" else behind)
    return found


def costs_of(rows: Shown, cost: Cost) -> tuple[list[int], list[float]]:
    """The places in `rows.known` of the cells whose cost is known, and what a sample of each costs: evaluations as
    counted, or the seconds of sampler, network and decoder.
    """
    if cost == "evaluations":
        each = plain_column(rows.known, "nfe")
    else:
        columns = [list(map(_number, plain_column(rows.known, name))) for name in (*SAMPLING, "samples")]
        each = [
            sum(part or 0.0 for part in parts) / samples if samples and any(parts) else None
            for *parts, samples in zip(*columns, strict=True)
        ]
    places = [k for k, value in enumerate(each) if value is not None and value > 0]
    return places, [float(each[k]) for k in places]


def front(points: Sequence[tuple[float, float]], direction: Direction) -> list[int]:
    """The places of the points (cost, value) that none is better than at the same cost or a lower one, the cheapest
    first; of equal ones the first.
    """
    sign = 1 if direction == "lower" else -1
    found: list[int] = []
    best = math.inf
    for k in sorted(range(len(points)), key=lambda k: (points[k][0], sign * points[k][1])):
        if sign * points[k][1] < best:
            best = sign * points[k][1]
            found.append(k)
    return found


def traits(spec: str, registry: Registry, run: Run = None) -> tuple[str, Claims | None]:
    """What a curve is drawn by: the family (the samplers of one plugin), and what the sampler claims: as its run says,
    or, of an older run, as it does today. A sampler that is not here is a family of its own name; where neither knows
    its claims they are None.
    """
    claims = claims_of(run, spec)
    try:
        sampler = registry.sampler(spec)
        if claims is None:
            order = sampler.global_order
            claims = Claims(None if order is None else float(order), bool(sampler.stochastic))
        return type(sampler).__module__, claims
    except Exception:  # of a plugin's making, too: here a sampler is but a name
        return spec.partition(":")[0], claims


def _series(
    rows: Shown, registry: Registry, runs: Sequence[Run], places: Sequence[int], x: Sequence[float], cost: Cost
) -> tuple[Series, ...]:
    proof, metric = rows.proof, rows.metric
    labels, specs, asked, files = (rows.known[name].tolist() for name in ("label", "sampler", rows.axis, "file"))
    values = [proof.estimates[k].value for k in places]
    ahead = {places[i] for i in front(list(zip(x, values, strict=True)), metric.direction)}
    columns = {asked[k] for k in ahead}
    members: dict[str, list[tuple[float, int]]] = {}
    for k, at in zip(places, x, strict=True):
        members.setdefault(labels[k], []).append((at, k))
    found = []
    for label, cells in members.items():
        cells.sort()
        first = cells[0][1]
        family, claims = traits(specs[first], registry, runs[files[first]] if runs else None)
        points = tuple(
            Point(
                at,
                proof.estimates[k].value,
                *_interval(proof.estimates[k].value, proof.estimates[k].se),
                float(asked[k]),
                k in ahead,
                k in rows.best and asked[k] in columns,
            )
            for at, k in cells
        )
        slope = _slope(rows, cells) if metric.name in FALLING and cost == "evaluations" else None
        found.append(Series(label, family, claims, points, slope))
    return tuple(found)


def _interval(value: float, se: float | None) -> tuple[float | None, float | None]:
    return (None, None) if se is None else (value - NORMAL * se, value + NORMAL * se)


def _slope(rows: Shown, cells: Sequence[tuple[float, int]]) -> Slope | None:
    x, places = [at for at, _ in cells], [k for _, k in cells]
    estimates = [rows.proof.estimates[k] for k in places]
    fitted = power_law(x, estimates, [rows.proof.streams[k] for k in places])
    return None if fitted is None else Slope(*fitted)


def _titles(cost: Cost) -> tuple[str, str]:
    """In a heading, and along an axis."""
    if cost == "evaluations":
        return "evaluations of the network", "evaluations of the network a sample"
    return "seconds a sample", "seconds a sample, sampler and network"


def _notes(rows: Shown, cost: Cost, places: Sequence[int]) -> tuple[str, ...]:
    """What has to be known of seconds: what they were measured on, and whose are missing."""
    if cost != "seconds":
        silent = not costs_of(rows, "seconds")[0]
        return ("Against seconds there is no chart: no row says its seconds of sampling.",) if silent else ()
    known = rows.known.iloc[list(places)]
    machines = _unique(plain_column(known, "hardware"))
    lines = []
    if len(machines) > 1:
        lines.append(f"The seconds were measured on several machines, and do not compare: {'; '.join(machines)}.")
    elif machines:
        lines.append(
            f"Measured on {machines[0]}, in batches of {' or '.join(_unique(plain_column(known, 'batch_size')))}."
        )
    several = " The cells are of several runs, between which this may differ." if known["file"].nunique() > 1 else ""
    lines.append(
        "Seconds were taken once and have no error. Whatever else the machine did at the time makes them longer."
        + several
    )
    if missing := len(rows.known) - len(places):
        lines.append(f"{missing} of {len(rows.known)} cells do not say their seconds, and are left out.")
    return tuple(lines)


def _unique(values: Iterable[object]) -> list[str]:
    return list(dict.fromkeys(str(value).removesuffix(".0") for value in values if value is not None))


def _number(value: object) -> float | None:
    """A field as a number; None where it is none, or none that was measured."""
    try:
        number = float(value) if isinstance(value, str | int | float) else math.nan
    except ValueError:
        return None
    return number if number == 0 or 1 / HUGE <= abs(number) <= HUGE else None
