"""What a page holds as JSON: the rows, and what its script shows and copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..compare import Comparison
from ..latex import latex_comparison, latex_rows
from ..sheets import comparison_frame, table_rows
from ..view import Chart, Matrix, Pair, Report
from .tables import delta_title

__all__ = ["records_of", "shown_of"]

DIGITS = 5  # of the numbers that are shown when a point is pointed at, or copied; the records have all


def shown_of(report: Report) -> dict[str, Any]:
    """What the script shows of points and pairs, and what it copies."""
    names, rows = table_rows(report.table)
    cells = _columns(names, [list(map(_short, row)) for row in rows])
    copies: dict[str, Any] = {"results": {"latex": latex_rows(report.table), "csv": cells}}
    if report.baseline:
        copies["baseline"] = {"latex": latex_comparison(report.baseline), "csv": _differences(report.baseline)}
    return {
        "charts": {chart.name: _points(chart) for chart in (*report.charts, *report.others) if chart.kind == "curves"},
        "pairs": [_pairs_of(matrix) for matrix in report.matrices],
        "deltas": [delta_title(matrix, report.table.title) for matrix in report.matrices],
        "copies": copies,
    }


def _points(chart: Chart) -> dict[str, Any]:
    points = [
        [i, *(_rounded(number) for number in (point.asked, point.x, point.y, point.low, point.high))]
        for i, one in enumerate(chart.series)
        for point in one.points
    ]
    return {
        "unit": chart.cost,
        "series": [one.label for one in chart.series],
        "points": points,
        "published": [f"{one.y:g} at {one.x:g}: {one.series}, {one.about}" for one in chart.published],
    }


def _pairs_of(matrix: Matrix) -> list[list[Any]]:
    """Of each pair the difference with the ends of its interval, where there is one; of what is undecided also how many
    samples would decide it.
    """
    return [[_pair(pair) for pair in line] for line in matrix.rows]


def _pair(pair: Pair) -> list[Any]:
    found = [_rounded(pair.delta, 3)]
    if pair.half_width is not None:
        found += [_rounded(pair.delta + sign * pair.half_width, 3) for sign in (-1, 1)]
    return [*found, pair.needed] if pair.needed else found


def _differences(comparison: Comparison) -> dict[str, Any]:
    frame = comparison_frame(comparison)
    plain = frame.astype(object).where(frame.notna(), None)
    return _columns(list(plain.columns), [list(map(_short, row)) for row in plain.values.tolist()])


def records_of(report: Report) -> dict[str, Any]:
    about = "rows of results.csv, by columns; `common` holds those that are the same in all rows"
    return {"about": about, **_columns(report.records.columns, report.records.rows)}


def _columns(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """A table by its columns; what all rows have in common stands once."""
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else {}
    common = {name: each[0] for name, each in columns.items() if len(set(each)) == 1}
    rest = {name: each for name, each in columns.items() if name not in common}
    return {"order": names, "rows": len(rows), "common": common, "columns": rest}


def _short(value: Any) -> Any:
    return _rounded(value) if isinstance(value, float) else value


def _rounded(value: float | None, digits: int = DIGITS) -> float | None:
    if value is None:
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() else short
