"""The table of results: samplers × evaluations → a metric; in the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..metrics.metric import Metric, title
from .terminal import plain_console

if TYPE_CHECKING:
    from ..bench.run import BenchmarkRun

__all__ = ["conditions_line", "folded", "markdown_table", "metric_tables", "print_run", "print_table"]

LABEL = 34  # characters of a sampler's name in a line


@dataclass(frozen=True)
class Cell:
    """What is printed of a cell, line by line: the figure with its error, then what is worth a note."""

    lines: tuple[str, ...]
    best: bool = False
    status: str = "done"


@dataclass(frozen=True)
class Layout:
    """A row a sampler, a column a number of evaluations or steps."""

    corner: str
    columns: list[str]
    rows: dict[str, list[Cell]]


def metric_tables(rows: pd.DataFrame, metric: Metric, width: int) -> list[Table]:
    """A row a sampler, a column a budget of evaluations or, in runs of --steps, a number of steps.

    A cell is the metric, its standard error and, in parentheses, the ratio to the best of its column, which is bold.
    Where the counted evaluations are not the column's number they are written after an @. Where `width`
    characters are too few, names are folded and columns go into further tables: no figure is ever cut.
    """
    layout = _layout(rows, metric, ratios=True)
    needed = [
        3 + _width([column, *("\n".join(cells[i].lines) for cells in layout.rows.values())])
        for i, column in enumerate(layout.columns)
    ]
    labels = list(layout.rows)
    if _width([layout.corner, *labels]) + sum(needed) + 4 > width:
        labels = ["\n".join(folded(name)) for name in layout.rows]
    first = _width([layout.corner, *labels]) + 4
    blocks: list[list[int]] = []
    room = 0
    for i, column in enumerate(needed):
        if not blocks or column > room:
            blocks.append([])
            room = width - first
        blocks[-1].append(i)
        room -= column
    tables = []
    for block in blocks:
        table = Table(show_lines=True)
        table.add_column(layout.corner, no_wrap=True)
        for i in block:
            table.add_column(layout.columns[i], justify="right", no_wrap=True)
        for label, cells in zip(labels, layout.rows.values(), strict=True):
            table.add_row(label, *(_text(cells[i]) for i in block))
        tables.append(table)
    return tables


def markdown_table(rows: pd.DataFrame, metric: Metric) -> str:
    """The same in Markdown, without the ratios."""
    layout = _layout(rows, metric, ratios=False)
    lines = [f"| {' | '.join([layout.corner, *layout.columns])} |", "|---" + "|--:" * len(layout.columns) + "|"]
    for name, cells in layout.rows.items():
        sampler, _, spacing = name.partition(" ")
        texts = [f"**{' '.join(cell.lines)}**" if cell.best else " ".join(cell.lines) for cell in cells]
        lines.append(f"| {' | '.join([f'`{sampler}` {spacing}'.strip(), *texts])} |")
    return "\n".join(lines)


def _layout(rows: pd.DataFrame, metric: Metric, ratios: bool) -> Layout:
    axis = _axis(rows)
    found = rows[rows[axis].notna()]
    columns = sorted(set(found[axis]))
    figures = pd.to_numeric(found[metric.name]).groupby(found[axis])
    chosen = figures.min() if metric.direction == "lower" else figures.max()
    cells: dict[str, dict[float, Cell]] = {}
    for _, row in found.iterrows():
        cells.setdefault(_label(row), {})[row[axis]] = _cell(row, axis, metric.name, chosen[row[axis]], ratios)
    return Layout(
        "steps (@ evaluations)" if axis == "steps" else "network evaluations",
        [f"{column:g}" for column in columns],
        {label: [of.get(column, Cell(("",))) for column in columns] for label, of in cells.items()},
    )


def _axis(rows: pd.DataFrame) -> str:
    """The column of results.csv that was asked for: `budget`, or `steps`; `nfe` where a file has neither."""
    for name in ("budget", "steps"):
        if name in rows.columns and rows[name].notna().any():
            return name
    return "nfe"


def _label(row: pd.Series) -> str:
    spacing = row.get("spacing")
    named = "spacing=" in row["sampler"] or spacing is None or pd.isna(spacing)
    return str(row["sampler"]) if named else f"{row['sampler']} ({spacing})"


def _cell(row: pd.Series, axis: str, metric: str, best: float, ratios: bool) -> Cell:
    value, se = row[metric], row.get(f"{metric}_se")
    if pd.isna(value):
        status = str(row.get("status", "done"))
        return Cell(("none" if status == "done" else status,), status=status)
    figure = f"{value:#.4g}".rstrip(".")  # four significant digits, trailing zeros kept
    if se is not None and not pd.isna(se):
        figure += f" ±{se:.2g}"
    notes = [f"({value / best:.2f})"] if ratios and best > 0 else []
    if row["nfe"] != row[axis]:
        notes.append(f"@{row['nfe']:g}")
    return Cell((figure, *([" ".join(notes)] if notes else [])), best=bool(value == best))


def _text(cell: Cell) -> Text:
    style = "bold green" if cell.best else {"done": "", "failed": "red"}.get(cell.status, "dim")
    return Text("\n".join(cell.lines), style=style)


def folded(label: str, width: int = LABEL) -> list[str]:
    """A sampler's name in lines of some `width` characters, broken before its options."""
    lines = [""]
    for part in label.replace(":", "\n:").replace(" (", "\n (").split("\n"):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append(" " + part.lstrip())
        else:
            lines[-1] += part
    return lines


def _width(texts: Sequence[str]) -> int:
    return max(cell_len(line) for text in texts for line in text.split("\n"))


def conditions_line(rows: pd.DataFrame) -> str:
    """What all the rows have in common: model, samples, seed, reference, precision, device; where they differ, each."""

    def of(name: str) -> str:
        known: Sequence[object] = rows[name].dropna().unique().tolist() if name in rows.columns else []
        return " and ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in known) or "unknown"

    reference = f"{of('extractor')} against {of('reference_count')} real images"
    return f"{of('model')}, {of('samples')} samples, seed {of('seed')}, {reference}, {of('dtype')} on {of('device')}"


def _cells(count: int) -> str:
    return f"{count} cell{'s' if count > 1 else ''}"


def _reasons(run: BenchmarkRun) -> dict[tuple[str, str], list[str]]:
    """The labels of the cells for which something was not done, by what it is."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for cell, record in zip(run.cells, run.records, strict=False):
        if record.reason:
            reasons.setdefault((record.status, record.reason), []).append(cell.label)
    return reasons


def print_table(rows: pd.DataFrame, metric: Metric, markdown: bool) -> None:
    """The table of rows of results.csv, and the conditions under it."""
    console = plain_console()
    axis = _axis(rows)
    named = rows[rows[axis].notna()].apply(lambda row: (_label(row), row[axis]), axis=1)
    if named.duplicated().any():
        count = int(named.duplicated().sum())
        console.print(Text(f"{_cells(count)} more than once; the last row of each counts", "yellow"), soft_wrap=True)
    if markdown:
        console.print(markdown_table(rows, metric), markup=False, soft_wrap=True)
        console.print()
    else:
        _print_metric(console, rows, metric)
    console.print(conditions_line(rows[rows[metric.name].notna()]), markup=False, soft_wrap=True)


def _print_metric(console: Console, rows: pd.DataFrame, metric: Metric) -> None:
    rest = f"{metric.direction} is better (ratio to the best of the column)"
    console.print(f"{title(metric.name)} ± standard error, {rest}", soft_wrap=True)
    for table in metric_tables(rows, metric, console.width):
        console.print(table)


def print_run(run: BenchmarkRun) -> None:
    """The table, what was skipped or failed and why, and where the files are."""
    from ..bench.run import records_frame  # which loads torch; the table of finished runs needs none

    console = plain_console()
    rows = records_frame(run.records, [metric.name for metric in run.metrics])
    for metric in run.metrics if run.records else []:
        _print_metric(console, rows, metric)
    if run.records:
        console.print(conditions_line(rows), soft_wrap=True)
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
