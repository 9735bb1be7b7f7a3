"""The tables of a page."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape

from ..compare import Comparison
from ..view import Cell, Matrix, Pair, RunFacts, Strip, Table
from ..words import AXES, comparison_cells, comparison_header, comparison_values, error_of, figure, signed

__all__ = [
    "comparison_table",
    "delta_title",
    "facts_list",
    "films_table",
    "matrix_table",
    "results_table",
    "strips_table",
]


def scrolled(name: str, inner: str) -> str:
    """What may be wider than the screen, in a box of its own that scrolls, with the keyboard too."""
    return f'<div class="scroll" role="region" aria-label="{escape(name)}" tabindex="0">{inner}</div>'


def results_table(table: Table) -> str:
    """Samplers × evaluations; bold is what may be the best of its column."""
    heads = [AXES[table.axis], *(f"{column:g}" for column in table.columns)]
    rows = [
        f'<tr><th scope="row">{_sampler(row.label)}</th>{"".join(map(_cell, row.cells))}</tr>' for row in table.rows
    ]
    return scrolled("table of results", _table("results", heads, rows))


def comparison_table(comparison: Comparison) -> str:
    """Every difference to the baseline, with its interval and what it says."""
    rows = []
    for one in comparison.differences:
        name, *cells, verdict = comparison_cells(one, comparison.extrapolated)
        values = comparison_values(one, comparison.extrapolated)
        columns = "".join(
            f"<td{_sorted_by(value)}>{escape(_minus(text))}</td>" for text, value in zip(cells, values, strict=True)
        )
        rows.append(
            f'<tr><th scope="row">{_sampler(name)}</th>{columns}'
            f'<td class="v {escape(verdict)}">{escape(verdict)}</td></tr>'
        )
    return scrolled("differences to the baseline", _table("baseline", comparison_header(comparison), rows))


def delta_title(matrix: Matrix, title: str) -> str:
    """What the differences of a matrix are called."""
    return {"all": f"Δ{title}∞", "some": f"Δ{title}∞ or Δ{title}", "none": f"Δ{title}"}[matrix.infinite]


def matrix_table(matrix: Matrix, number: int, title: str) -> str:
    """The pairs at one number of evaluations, in the order of the matrix. A cell is the row less the column."""
    names = matrix.labels
    heads = "".join(f'<th scope="col">{i}</th>' for i in range(1, len(names) + 1))
    rows = []
    for i, (name, pairs) in enumerate(zip(names, matrix.rows, strict=True), 1):
        rows.append(f'<tr><th scope="row">{i} {_sampler(name)}</th>{"".join(map(_pair, pairs))}<td>·</td></tr>')
    first = f'<th scope="col">{escape(delta_title(matrix, title))}, row less column</th>'
    inner = (
        f'<table class="matrix" data-m="{number}"><thead><tr>{first}{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
    return scrolled(f"pairs at {matrix.column:g}", inner)


def strips_table(strips: Sequence[Strip], axis: str) -> str:
    """Samplers down, evaluations across: the same place in every strip is the same x_T."""
    columns = sorted({one.column for one in strips})
    found = {(one.label, one.column): one for one in strips}
    rows = []
    for label in dict.fromkeys(one.label for one in strips):
        cells = "".join(_strip(found.get((label, column)), axis) for column in columns)
        rows.append(f'<tr><th scope="row">{_sampler(label)}</th>{cells}</tr>')
    heads = "".join(f'<th scope="col">{column:g}</th>' for column in columns)
    inner = (
        f'<table class="strips"><thead><tr><th scope="col">{escape(AXES[axis])}</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
    return scrolled("strips of samples", inner)


def films_table(films: Sequence[Strip]) -> str:
    """A film a sampler, one below the other."""
    rows = []
    for one in films:
        data = b64encode(one.image).decode()
        about = f"{one.label}: {one.count} samples from x_T to x_0, in {len(one.evaluations)} evaluations"
        rows.append(
            f'<tr><th scope="row">{_sampler(one.label)}</th><td><img alt="{escape(about)}" width="{one.width}" '
            f'height="{one.height}" src="data:{one.media};base64,{data}"></td></tr>'
        )
    return scrolled("trajectories", f'<table class="strips"><tbody>{"".join(rows)}</tbody></table>')


def facts_list(run: RunFacts) -> str:
    """The conditions of a run, and its command."""
    facts = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in run.facts)
    command = f'<pre tabindex="0"><code>{escape(run.command)}</code></pre>' if run.command else ""
    return f"<h3>{escape(run.name)}</h3>{command}<dl>{facts}</dl>"


def _table(name: str, heads: Iterable[str], rows: Sequence[str]) -> str:
    columns = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    return (
        f'<table id="{name}" class="sortable"><thead><tr>{columns}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    )


def _sampler(label: str) -> str:
    """A name that may be broken before its options."""
    return escape(label).replace(":", "<wbr>:")


def _sorted_by(value: float | None) -> str:
    """The attribute that the page's script sorts by: what a cell shows, as a plain number."""
    return "" if value is None else f' data-v="{value:.6g}"'


def _cell(cell: Cell) -> str:
    if cell.value is None:
        return f'<td class="no">{escape(cell.status)}</td>'
    text = figure(cell.value)
    marked = f"<b>{text}</b>" if cell.best else text
    error = "" if cell.se is None else f" <small>±{error_of(cell.se)}</small>"
    counted = "" if cell.nfe is None else f" <small>@{cell.nfe:g}</small>"
    return f"<td{_sorted_by(cell.value)}>{marked}{error}{counted}</td>"


def _pair(pair: Pair) -> str:
    """Bold where the row is better, plain where it is worse; what is undecided has a sign of its own."""
    number = _minus(f"{pair.delta:+.0f}" if abs(pair.delta) >= 99.5 else signed(pair.delta, 2))
    kind, text = {
        "better": ("b", number),
        "worse": ("w", number),
        "undecided": ("t", f"≈{number}"),
        "same": ("t", "0"),
    }.get(pair.verdict, ("", f"{number}?"))
    return f"<td class={kind}>{text}" if kind else f"<td>{text}"  # HTML needs no </td>, and there are thousands


def _strip(strip: Strip | None, axis: str) -> str:
    if strip is None:
        return "<td></td>"
    data = b64encode(strip.image).decode()
    what = "steps" if axis == "steps" else "evaluations"
    about = f"{strip.label}, {strip.column:g} {what}: the first {strip.count} samples"
    return (
        f'<td><img alt="{escape(about)}" width="{strip.width}" height="{strip.height}" '
        f'src="data:{strip.media};base64,{data}"></td>'
    )


def _minus(text: str) -> str:
    """With minus signs, not hyphens, before digits."""
    return text.replace("-", "−") if text[:1] in "-[" else text
