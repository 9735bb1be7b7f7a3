"""The table of results in the terminal: samplers × evaluations → a metric."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from ...bench.record import records_frame
from ..choice import cells
from ..markdown import markdown_table
from ..results import Results
from ..tables import conditions_line, reasons, table
from ..view import Cell, Reason, Table
from ..words import AXES, cell_lines, extreme, reason_lines, table_captions, table_title
from .console import plain_console
from .text import BAD, BEST, DIM, Style, boxed, folded, say, styled, width_of

if TYPE_CHECKING:
    from ...bench.run import BenchmarkRun

__all__ = ["print_run", "print_table", "print_tables"]

STAR = "*"
BARS = "▁▂▃▄▅▆▇█"
TOP = 30  # times the smallest value


def print_table(table: Table, as_markdown: bool) -> None:
    """The table, and under it what its reader has to know."""
    console = plain_console()
    for note in table.notes:
        say(console, note, "yellow")
    if as_markdown:
        say(console, f"{markdown_table(table)}\n")
        for line in (table_title(table), *table_captions(table, "Bold")):
            say(console, line)
    else:
        _print_captioned(table, console)
    say(console, table.conditions)
    _print_reasons(console, table.reasons)


def _print_captioned(table: Table, console: Console) -> None:
    say(console, f"{table_title(table)} (ratio to the {extreme(table)} of the column)")
    print_tables(table, console)
    for line in table_captions(table, _mark(console)):
        say(console, line)


def print_tables(table: Table, console: Console) -> None:
    """A cell is the metric, its standard error and, in parentheses, the ratio to the best value of its column; cells
    that may be the best are bold, or have a star where the console shows no bold. Where the counted evaluations are not
    the column's number they are written after an @. Where the console is too narrow, names are folded and columns go
    into further tables: no figure is ever cut. A terminal that is wide enough has a small curve in each row.
    """
    corner = AXES[table.axis]
    headings = [f"{column:g}" for column in table.columns]
    star = "" if styled(console) else STAR
    texts = [[_text(cell, star) for cell in row.cells] for row in table.rows]
    needed = [
        3 + max(width_of(part) for text in (heading, *(line[i] for line in texts)) for part in text.split("\n"))
        for i, heading in enumerate(headings)
    ]
    labels = [row.label for row in table.rows]
    if max(map(width_of, (corner, *labels))) + sum(needed) + 4 > console.width:
        labels = ["\n".join(folded(label)) for label in labels]
    first = max(width_of(part) for label in (corner, *labels) for part in label.split("\n")) + 4
    blocks: list[list[int]] = []
    room = 0
    for i, width in enumerate(needed):
        if not blocks or width > room:
            blocks.append([])
            room = console.width - first
        blocks[-1].append(i)
        room -= width
    title, curves = _curves(table)
    beside = (
        len(blocks) == 1
        and len(table.columns) > 1
        and console.is_terminal
        and not console.options.ascii_only
        and room >= max(width_of(title), len(table.columns)) + 3
    )
    for block in blocks:
        boxed(
            [corner, *(headings[i] for i in block), *([title] if beside else [])],
            [
                [label, *(line[i] for i in block), *([curve] if beside else [])]
                for label, line, curve in zip(labels, texts, curves, strict=True)
            ],
            console,
            right=range(1, len(block) + 1),
            styles=[[{}, *(_style(row.cells[i]) for i in block), *([{}] if beside else [])] for row in table.rows],
            ruled=True,
        )


def _curves(table: Table) -> tuple[str, list[str]]:
    """What a wide terminal shows besides: a small curve a row, a bar a column, all on one scale, and its title. The
    scale is logarithmic where all values are above 0, and ends at 30 times the smallest.
    """
    values = [cell.value for cell in table.cells if cell.value is not None]
    log = bool(values) and table.direction == "lower" and min(values) > 0
    low, high = (min(values), min(max(values), TOP * min(values)) if log else max(values)) if values else (0.0, 1.0)

    def bar(cell: Cell) -> str:
        if cell.value is None:
            return " "
        place, span = (math.log(cell.value / low), math.log(high / low)) if log else (cell.value - low, high - low)
        return BARS[min(int(place / span * len(BARS)), len(BARS) - 1) if span else 0]

    curves = ["".join(map(bar, row.cells)) for row in table.rows]
    return f"log {table.title}" if log else table.title, curves


def _mark(console: Console) -> str:
    """How `print_tables` marks what may be the best."""
    return "Bold" if styled(console) else STAR


def _text(cell: Cell, star: str) -> str:
    first, *rest = cell_lines(cell)
    return "\n".join([star + first if cell.best else first, *rest])


def _style(cell: Cell) -> Style:
    if cell.best:
        return BEST
    return {"done": {}, "": {}, "failed": BAD}.get(cell.status, DIM)


def _print_reasons(console: Console, told: Sequence[Reason]) -> None:
    for state, line in reason_lines(told):
        say(console, line, "red" if state == "failed" else "dim")


def print_run(run: BenchmarkRun) -> None:
    """The table of each metric, what was skipped or failed and why, and where the files are."""
    console = plain_console()
    if run.records:
        rows = records_frame(run.records, [metric.name for metric in run.metrics])
        for metric in run.metrics:
            found = table([Results(str(run.store.out), rows, run.store.out, metric.name)], metric)
            for note in found.notes:
                say(console, note, "yellow")
            _print_captioned(found, console)
        say(console, conditions_line(rows))
        _print_reasons(console, reasons(rows))
    missing = len(run.cells) - len(run.records)
    if missing:
        say(console, f"{missing} of {cells(len(run.cells))} {'was' if missing == 1 else 'were'} not run.")
        if not run.config.fresh:
            say(console, f"The same command goes on with what is missing, if it names --out {run.store.out}.")
    where = [
        f"results: {run.store.csv}",
        f"samples: {run.store.out / 'samples'}",
        f"conditions: {run.store.out / 'run.json'}",
    ]
    if run.broken:
        where.append(f"tracebacks: {run.store.out / 'errors'}")
    for line in where:
        say(console, line)
