"""The table of results: samplers × evaluations → a metric; in the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console

from ..metrics.metric import Metric
from .choice import cells
from .compare import CONFIDENT
from .layout import Cell, HonestBest, Layout, layout
from .results import Results, measured
from .terminal import plain_console
from .text import BAD, BEST, DIM, Style, boxed, folded, markdown, say, styled, width_of

if TYPE_CHECKING:
    from ..bench.run import BenchmarkRun

__all__ = ["captions", "conditions_line", "markdown_table", "print_run", "print_table", "print_tables"]

CORNERS = {"budget": "network evaluations", "steps": "steps (@ evaluations)", "nfe": "network evaluations"}
VERSIONS = ("torch", "samplerbench")  # told where rows were drawn with several
STAR = "*"
REASONS = 8  # that are told one by one


def print_table(
    files: Sequence[Results], metric: Metric, as_markdown: bool, honest: bool = False, force: bool = False
) -> None:
    """The table of the rows of files, and under it what its reader has to know."""
    console = plain_console()
    table = layout(files, metric, honest, force)
    for note in dict.fromkeys([*(note for one in files for note in one.notes), *table.notes]):
        say(console, note, "yellow")
    if as_markdown:
        say(console, f"{markdown_table(table)}\n")
        lines = [_title(table), *captions(table, "Bold")]
    else:
        say(console, f"{_title(table)} {_ratios(table)}")
        print_tables(table, console)
        lines = captions(table, _mark(console))
    for line in lines:
        say(console, line)
    rows = table.shown
    say(console, conditions_line(rows[measured(rows, metric.name)]))
    _print_reasons(console, rows)


def print_tables(table: Layout, console: Console) -> None:
    """A cell is the metric, its standard error and, in parentheses, the ratio to the best value of its column; cells
    that may be the best are bold, or have a star where the console shows no bold. Where the counted evaluations are not
    the column's number they are written after an @. Where the console is too narrow, names are folded and columns go
    into further tables: no figure is ever cut.
    """
    corner = CORNERS[table.axis]
    headings = [f"{column:g}" for column in table.columns]
    star = "" if styled(console) else STAR
    texts = {label: [_text(cell, star=star) for cell in line] for label, line in table.rows.items()}
    needed = [
        3
        + max(width_of(part) for text in (heading, *(line[i] for line in texts.values())) for part in text.split("\n"))
        for i, heading in enumerate(headings)
    ]
    labels = list(table.rows)
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
    for block in blocks:
        boxed(
            [corner, *(headings[i] for i in block)],
            [[label, *(line[i] for i in block)] for label, line in zip(labels, texts.values(), strict=True)],
            console,
            right=range(1, len(block) + 1),
            styles=[[{}, *(_style(line[i]) for i in block)] for line in table.rows.values()],
            ruled=True,
        )


def markdown_table(table: Layout) -> str:
    """The same in Markdown, without the ratios."""
    rows = []
    for label, line in table.rows.items():
        sampler, _, rest = label.partition(" ")
        figures = [" ".join(_text(cell, ratios=False).split("\n")) for cell in line]
        marked = [f"**{text}**" if cell.best else text for cell, text in zip(line, figures, strict=True)]
        rows.append([f"`{sampler}` {rest}".strip(), *marked])
    header = [CORNERS[table.axis], *(f"{column:g}" for column in table.columns)]
    return markdown(header, rows, right=range(1, len(header)))


def _mark(console: Console) -> str:
    """How `print_tables` marks what may be the best."""
    return "Bold" if styled(console) else STAR


def _text(cell: Cell, ratios: bool = True, star: str = "") -> str:
    if cell.value is None:
        return "" if cell.status == "" else cell.status
    figure = f"{cell.value:#.4g}".rstrip(".")  # four significant digits, trailing zeros kept
    if cell.best:
        figure = star + figure
    if cell.se is not None:
        figure += f" ±{cell.se:.2g}"
    notes = [f"({cell.ratio:.2f})"] if ratios and cell.ratio is not None else []
    if cell.nfe is not None:
        notes.append(f"@{cell.nfe:g}")
    return "\n".join([figure, *([" ".join(notes)] if notes else [])])


def _style(cell: Cell) -> Style:
    if cell.best:
        return BEST
    return {"done": {}, "": {}, "failed": BAD}.get(cell.status, DIM)


def _title(table: Layout) -> str:
    metric = table.metric
    with_error = any(cell.se is not None for line in table.rows.values() for cell in line)
    error = " ± standard error" if with_error else ""
    return f"{metric.title}{error}, {metric.direction} is better"


def _ratios(table: Layout) -> str:
    return f"(ratio to the {_extreme(table.metric)} of the column)"


def _extreme(metric: Metric) -> str:
    return "lowest" if metric.direction == "lower" else "highest"


def captions(table: Layout, mark: str) -> list[str]:
    """What is said under the table: what is marked, by `mark`, and what its errors are."""
    metric = table.metric
    name, extreme = metric.title, _extreme(metric)
    values = [cell for line in table.rows.values() for cell in line if cell.value is not None]
    lines: list[str] = []
    if not values:
        return lines
    if not table.how:
        lines.append(f"{mark}: the {extreme} of its column. No cell has a standard error, so others may be as good.")
    else:
        errors = {"paired": "paired", "unpaired": "unpaired", "mixed": "partly paired"}[table.how]
        infinite = " at infinitely many samples" if table.extrapolated else ""
        lines.append(
            f"{mark}: all that may be the best of their column{infinite}, with {CONFIDENT} confidence a column "
            f"({errors} differences)."
        )
        if missing := sum(cell.se is None for cell in values):
            lines.append(f"{cells(missing)} without a standard error: marked only where it is the {extreme}.")
        if metric.extrapolates:
            count = _samples(table.shown)
            lines.append(f"± is the error of the {name} of {count}. The {name} of infinitely many is another number.")
    return lines + [_honest_line(one, extreme) for one in table.honest]


def _samples(rows: pd.DataFrame) -> str:
    counts = rows["samples"].dropna().unique().tolist() if "samples" in rows.columns else []
    return f"{counts[0]:.0f} samples" if len(counts) == 1 else "the samples that there are"


def _honest_line(one: HonestBest, extreme: str) -> str:
    """The best of a column without the luck that made it the best."""
    if one.found is None:
        why = "That takes what one run keeps beside its results.csv, of every cell of the column."
        return f"{one.column:g}: the best cannot be chosen and estimated on different samples. {why}"
    found = one.found
    return (
        f"{one.column:g}: {one.sampler} has the {extreme} on {found.share * 100:.0f} % of the halves. The best of a "
        f"half comes to {found.value:#.4g} ±{found.se:.2g} on the other half, which did not choose it. This figure is "
        "extrapolated from half of the samples to all of them."
    )


def conditions_line(rows: pd.DataFrame) -> str:
    """What all the rows have in common: model, samples, seed, reference, precision, device; where they differ, each."""

    def of(name: str) -> str:
        known = rows[name].dropna().unique().tolist() if name in rows.columns else []
        return " and ".join(f"{v:.0f}" if isinstance(v, float) else str(v) for v in known) or "unknown"

    reference = f"{of('extractor')} against {of('reference_count')} real images"
    line = f"{of('model')}, {of('samples')} samples, seed {of('seed')}, {reference}, {of('dtype')} on {of('device')}"
    several = [name for name in VERSIONS if name in rows.columns and rows[name].nunique() > 1]
    return line + "".join(f"; drawn with {name} {of(name)}" for name in several)


def _print_reasons(console: Console, rows: pd.DataFrame) -> None:
    """What was skipped or failed and why, and why a metric or its error is missing."""
    if "reason" not in rows.columns:
        return
    told = rows[rows["reason"].notna() & (rows["reason"] != "")]
    by: dict[tuple[str, str], list[str]] = {}
    status = told["status"].fillna("done").tolist() if "status" in told.columns else ["done"] * len(told)
    for label, state, reason in zip(_cell_names(told), status, told["reason"].tolist(), strict=True):
        by.setdefault((state, reason), []).append(label)
    for (state, reason), labels in list(by.items())[:REASONS]:
        if state == "done":  # and a metric or its error is missing
            say(console, f"{cells(len(labels))}: {reason}", "dim")
        else:
            say(console, f"{state}: {', '.join(labels)}: {reason}", "red" if state == "failed" else "dim")
    if len(by) > REASONS:
        say(console, f"and {len(by) - REASONS} more: see the column `reason` of results.csv", "dim")


def _cell_names(rows: pd.DataFrame) -> list[str]:
    """'ddim nfe=10', as a run calls its cells."""
    asked = rows.reindex(columns=["sampler", "budget", "steps"]).astype(object)
    return [
        f"{sampler} nfe={budget}"
        if pd.notna(budget)
        else f"{sampler} steps={steps}"
        if pd.notna(steps)
        else str(sampler)
        for sampler, budget, steps in asked.map(_plain).itertuples(index=False)
    ]


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value == value else value


def print_run(run: BenchmarkRun) -> None:
    """The table of each metric, what was skipped or failed and why, and where the files are."""
    from ..bench.run import records_frame  # which loads torch; the table of finished runs needs none

    console = plain_console()
    if run.records:
        rows = records_frame(run.records, [metric.name for metric in run.metrics])
        for metric in run.metrics:
            table = layout([Results(str(run.store.out), rows, run.store.out, metric.name)], metric)
            for note in table.notes:
                say(console, note, "yellow")
            say(console, f"{_title(table)} {_ratios(table)}")
            print_tables(table, console)
            for line in captions(table, _mark(console)):
                say(console, line)
        say(console, conditions_line(rows))
        _print_reasons(console, rows)
    missing = len(run.cells) - len(run.records)
    if missing:
        say(console, f"{missing} of {cells(len(run.cells))} were not run.")
    where = [
        f"results: {run.store.csv}",
        f"samples: {run.store.out / 'samples'}",
        f"conditions: {run.store.out / 'run.json'}",
    ]
    if run.broken:
        where.append(f"tracebacks: {run.store.out / 'errors'}")
    for line in where:
        say(console, line)
