"""Views as CSV: plain values, every digit."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ..errors import UserError
from .compare import Comparison
from .view import Records, Table

__all__ = ["comparison_frame", "records_csv", "table_csv", "write_csv"]


def table_csv(table: Table) -> str:
    """A line a cell that is there: sampler, what was asked for, the metric, its error, what was counted, status."""
    name = table.metric
    lines: list[list[object]] = [["sampler", table.axis, name, f"{name}_se", "nfe", "status", "may_be_best"]]
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            if cell.status:
                counted = column if cell.nfe is None else cell.nfe
                done = cell.value is not None
                figures = [
                    cell.value,
                    cell.se,
                    f"{counted:g}" if done else "",
                    cell.status,
                    int(cell.best) if done else "",
                ]
                lines.append([row.label, f"{column:g}", *("" if one is None else one for one in figures)])
    return _csv(lines)


def records_csv(records: Records) -> str:
    """The rows of results.csv."""
    return _csv([records.columns, *(["" if value is None else value for value in row] for row in records.rows)])


def _csv(lines: Sequence[Sequence[object]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(lines)
    return buffer.getvalue()


def comparison_frame(comparison: Comparison) -> pd.DataFrame:
    """A row a difference, plain values; the columns are described in results/README.md."""
    rows = []
    for one in comparison.differences:
        judged, difference = one.judged, one.judged.tested.difference
        low, high = judged.tested.interval or (None, None)
        rows.append(
            {
                "sampler": one.sampler,
                "nfe": one.nfe,
                "base": comparison.base,
                "other": comparison.other,
                "spacing": one.spacing,
                "matched_by": comparison.axis,
                "matched_at": one.asked,
                f"{comparison.metric}_base": one.base,
                comparison.metric: one.other,
                "delta": judged.delta_n,
                "delta_inf": judged.delta if difference.extrapolated else None,
                "se": difference.se,
                "low": low,
                "high": high,
                "p": judged.tested.p,
                "family": comparison.family,
                "family_size": judged.size,
                "method": judged.how,
                "verdict": judged.verdict,
            }
        )
    return pd.DataFrame(rows)


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Writes a table where it was asked for."""
    try:
        frame.to_csv(path, index=False)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None
