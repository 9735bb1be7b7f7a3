"""Views as Markdown."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from .compare import Comparison
from .view import Table
from .words import AXES, cell_lines, comparison_cells, comparison_header

__all__ = ["markdown", "markdown_comparison", "markdown_table"]


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[int] = ()) -> str:
    """A table. right: columns that are set to the right."""
    marks = ["--:" if i in right else "---" for i in range(len(header))]
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in (header, *rows)]
    return "\n".join([lines[0], f"|{'|'.join(marks)}|", *lines[1:]])


def markdown_table(table: Table) -> str:
    """The table of results, without the ratios; bold is what may be the best of its column."""
    rows = []
    for row in table.rows:
        sampler, _, rest = row.label.partition(" ")
        figures = [" ".join(cell_lines(cell, ratios=False)) for cell in row.cells]
        marked = [f"**{text}**" if cell.best else text for cell, text in zip(row.cells, figures, strict=True)]
        rows.append([f"`{sampler}` {rest}".strip(), *marked])
    header = [AXES[table.axis], *(f"{column:g}" for column in table.columns)]
    return markdown(header, rows, right=range(1, len(header)))


def markdown_comparison(comparison: Comparison) -> str:
    """The table of differences."""
    header = comparison_header(comparison)
    rows = [comparison_cells(one, comparison.extrapolated) for one in comparison.differences]
    return markdown(header, rows, right={*range(1, len(header) - 4), len(header) - 3})
