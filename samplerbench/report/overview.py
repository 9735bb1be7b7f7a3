"""All that a report shows of runs, put together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .. import __version__
from ..bench.record import ENDINGS
from ..errors import UserError
from ..metrics.metric import Metric
from ..registry import Registry
from .choice import Where, check_one_table, choose
from .compare import Comparison, pool_with_baseline
from .curves import charts
from .films import films
from .literature import published_folder, published_marks
from .pairs import matrices
from .pictures import strips
from .results import metric_named, read_results
from .runs import facts_of, floors_of, image_shape
from .said import Run, read_run
from .shown import Shown, plain_column, shown
from .tables import table_of
from .view import Chart, Published, Records, Report
from .words import plural

__all__ = ["charted", "overview"]


def overview(
    paths: Sequence[Path],
    metric: str,
    registry: Registry,
    *,
    baseline: str | None = None,
    where: Sequence[Where] = (),
    force: bool = False,
) -> Report:
    """The report on runs: the rows of all of them together, chosen as `table` chooses them.

    metric: what tables, pairs and fronts are of; the other metrics that were measured have a curve each. baseline: the
    sampler that all others are compared with; the first of the table where None.

    Raises UserError for what is no run, for rows that do not compare, and where nothing was measured.
    """
    rows = _something(paths, metric, registry, where, force)
    table = table_of(rows)
    runs = [read_run(one.folder) for one in rows.files]
    pictures, notes = strips(rows, runs)
    trajectories, troubles = films(rows)
    others, left_out = _others(paths, rows, runs, registry, where, force)
    models = list(dict.fromkeys(str(name) for name in plain_column(rows.known, "model") if name))
    return Report(
        title=f"{' and '.join(models) or 'Samplers'}: {table.title} of {plural(len(table.rows), 'sampler')}",
        table=table,
        charts=tuple(_charts(rows, runs, registry)),
        others=others,
        baseline=_baseline(rows, baseline, registry),
        matrices=tuple(matrices(rows)),
        strips=pictures,
        films=trajectories,
        runs=tuple(
            facts_of(one, rows.rows[rows.rows["file"] == number], run)
            for number, (one, run) in enumerate(zip(rows.files, runs, strict=True))
        ),
        records=_records(rows),
        notes=(*notes, *troubles, *floors_of(rows, runs)[1], *left_out),
        version=__version__,
    )


def charted(
    paths: Sequence[Path], metric: str, registry: Registry, *, where: Sequence[Where] = (), force: bool = False
) -> list[Chart]:
    """The charts of one metric alone. Raises UserError as `overview` does."""
    rows = _something(paths, metric, registry, where, force)
    return _charts(rows, [read_run(one.folder) for one in rows.files], registry)


def _charts(rows: Shown, runs: Sequence[Run], registry: Registry) -> list[Chart]:
    return charts(rows, registry, floors_of(rows, runs)[0], _published(rows, runs, registry), runs=runs)


def _something(paths: Sequence[Path], metric: str, registry: Registry, where: Sequence[Where], force: bool) -> Shown:
    """The rows. Raises UserError where there is nothing in them."""
    rows = _rows(paths, metric_named(metric, registry, paths), registry, where, force)
    if not len(rows.known):
        told = [text for one in rows.files for text in (one.nothing, *one.notes)]
        raise UserError(f"nothing to report: {'; '.join(told)}")
    return rows


def _rows(paths: Sequence[Path], metric: Metric, registry: Registry, where: Sequence[Where], force: bool) -> Shown:
    files = choose([read_results(path, metric.name) for path in paths], registry, where, force)
    if not force:
        check_one_table(files)
    return shown(files, metric, force)


def _others(
    paths: Sequence[Path],
    rows: Shown,
    runs: Sequence[Run],
    registry: Registry,
    where: Sequence[Where],
    force: bool,
) -> tuple[tuple[Chart, ...], list[str]]:
    """A chart of each other metric that all files have, against evaluations; and why there is none of others."""
    common = set.intersection(*(set(one.every.columns) for one in rows.files))
    found: list[Chart] = []
    notes: list[str] = []
    for registered in registry.current_metrics():
        metric = registered.cls()
        if metric.name != rows.metric.name and {metric.name, f"{metric.name}{ENDINGS[1]}"} <= common:
            try:
                other = _rows(paths, metric, registry, where, force)
            except UserError as error:  # what the report is about stands without it
                notes.append(f"{metric.title} is left out: {error}")
                continue
            if len(other.known):
                found += charts(other, registry, fronts=False, runs=runs)[:1]
    return tuple(found), notes


def _baseline(rows: Shown, name: str | None, registry: Registry) -> Comparison | None:
    """Every sampler against one: that of the name, or the first that is one configuration and has counterparts."""
    pool = rows.known.reset_index(drop=True)
    if name:
        return pool_with_baseline(pool, rows.files, name, registry, rows.metric)
    for sampler in dict.fromkeys(pool["sampler"].tolist()):
        try:
            found = pool_with_baseline(pool, rows.files, sampler, registry, rows.metric)
        except UserError:
            continue
        if found.differences:
            return found
    return None


def _published(rows: Shown, runs: Sequence[Run], registry: Registry) -> tuple[Published, ...]:
    datasets = []
    for run in runs:
        shape, name = image_shape(run, None), ((run or {}).get("model") or {}).get("dataset")
        datasets.append((str(name), shape[1]) if shape and name else None)
    return published_marks(rows, datasets, published_folder(), registry)


def _records(rows: Shown) -> Records:
    kept = rows.rows.drop(columns=["label", "file"])
    columns = tuple(str(name) for name in kept.columns)
    values = [plain_column(kept, name) for name in columns]
    return Records(columns, tuple(tuple(map(_plain, row)) for row in zip(*values, strict=True)))


def _plain(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value
