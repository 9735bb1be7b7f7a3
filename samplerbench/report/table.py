"""The table at the end of a run: samplers × evaluations → a metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..bench.record import Record
from ..metrics.metric import Metric, title

if TYPE_CHECKING:
    from ..bench.run import BenchmarkRun

__all__ = ["metric_table", "print_run"]


def metric_table(records: Sequence[Record], axis: str, metric: Metric) -> Table:
    """A row a sampler, a column a budget (axis `nfe`) or a number of steps (`steps`).

    A cell is the metric, its standard error and, in parentheses, the ratio to the best of its column, which is bold.
    Where the counted evaluations are not the column's number they are written after an @.
    """
    columns = sorted({_column(r, axis) for r in records})
    choose = min if metric.direction == "lower" else max
    found = [(_column(r, axis), r.metric(metric.name).value) for r in records]
    best = {
        c: choose((value for column, value in found if column == c and value is not None), default=None)
        for c in columns
    }
    table = Table(show_lines=True)
    table.add_column("network evaluations" if axis == "nfe" else "steps (@ evaluations)", no_wrap=True)
    for column in columns:
        table.add_column(str(column), justify="right", no_wrap=True)
    rows: dict[str, dict[int, Record]] = {}
    for record in records:
        rows.setdefault(_row(record), {})[_column(record, axis)] = record
    for name, cells in rows.items():
        table.add_row(name, *(_cell(cells.get(c), metric.name, best[c], c) for c in columns))
    return table


def _column(record: Record, axis: str) -> int:
    value = record.budget if axis == "nfe" else record.steps
    return value if value is not None else 0


def _row(record: Record) -> str:
    return record.sampler if "spacing=" in record.sampler else f"{record.sampler} ({record.spacing})"


def _cell(record: Record | None, metric: str, best: float | None, column: int) -> Text:
    if record is None:
        return Text("")
    measured = record.metric(metric)
    if measured.value is None or best is None:
        word = "none" if record.status == "done" else record.status
        return Text(word, style="red" if record.status == "failed" else "dim")
    error = "" if measured.se is None else f" ±{measured.se:.2g}"
    notes = [f"({measured.value / best:.2f})"] if best > 0 else []
    if record.nfe != column:
        notes.append(f"@{record.nfe:g}")
    text = f"{_digits(measured.value)}{error}\n{' '.join(notes)}"
    return Text(text, style="bold green" if measured.value == best else "")


def _digits(value: float) -> str:
    """Four significant digits, trailing zeros kept."""
    return f"{value:#.4g}".rstrip(".")


def _conditions(records: Sequence[Record]) -> str:
    r = records[0]
    count = "an unknown number of" if r.reference_count is None else r.reference_count
    reference = f"{r.extractor} against {count} real images"
    return f"{r.model}, {r.samples} samples, seed {r.seed}, {reference}, {r.dtype} on {r.device}"


def _cells(count: int) -> str:
    return f"{count} cell{'s' if count > 1 else ''}"


def _reasons(run: BenchmarkRun) -> dict[tuple[str, str], list[str]]:
    """The labels of the cells for which something was not done, by what it is."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for cell, record in zip(run.cells, run.records, strict=False):
        if record.reason:
            reasons.setdefault((record.status, record.reason), []).append(cell.label)
    return reasons


def print_run(run: BenchmarkRun) -> None:
    """The table, what was skipped or failed and why, and where the files are."""
    console = Console(highlight=False)
    for metric in run.metrics if run.records else []:
        rest = f"{metric.direction} is better (ratio to the best of the column)"
        console.print(f"{title(metric.name)} ± standard error, {rest}", soft_wrap=True)
        console.print(metric_table(run.records, run.config.axis, metric))
    if run.records:
        console.print(_conditions(run.records), soft_wrap=True)
    for (status, reason), labels in _reasons(run).items():
        if status == "done":  # and a metric is empty
            console.print(Text(f"not measured in {_cells(len(labels))}: {reason}", style="dim"), soft_wrap=True)
        else:
            style = "red" if status == "failed" else "dim"
            console.print(Text(f"{status}: {', '.join(labels)}: {reason}", style=style), soft_wrap=True)
    missing = len(run.cells) - len(run.records)
    if missing:
        console.print(f"{missing} of {_cells(len(run.cells))} were not run.")
    where = [
        f"results: {run.store.csv}",
        f"samples: {run.store.out / 'samples'}",
        f"conditions: {run.store.out / 'run.json'}",
    ]
    if run.broken:
        where.append(f"tracebacks: {run.store.out / 'errors'}")
    for line in where:
        console.print(line, markup=False, soft_wrap=True)
