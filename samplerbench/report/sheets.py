"""Views as CSV: plain values, every digit."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..errors import UserError
from .compare import Comparison
from .view import Table

__all__ = ["comparison_frame", "table_rows", "write_csv"]


def table_rows(table: Table) -> tuple[list[str], list[list[float | str | bool | None]]]:
    """The columns and a row a cell that is there: sampler, what was asked for, the metric, its error, what was counted,
    status, and whether it may be the best of its column.
    """
    name = table.metric
    rows: list[list[float | str | bool | None]] = []
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            if cell.value is not None:
                counted = column if cell.nfe is None else cell.nfe
                rows.append([row.label, column, cell.value, cell.se, counted, cell.status, cell.best])
            elif cell.status:
                rows.append([row.label, column, None, None, None, cell.status, None])
    return ["sampler", table.axis, name, f"{name}_se", "nfe", "status", "may_be_best"], rows


def comparison_frame(comparison: Comparison) -> pd.DataFrame:
    """A row a difference, plain values; the columns are described in docs/results-files.md."""
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
                "guidance": one.guidance,
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
