"""Views as LaTeX: booktabs tables to be put into a paper. They need \\usepackage{booktabs} and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .compare import CONFIDENT, Comparison
from .view import Cell, Table
from .words import AXES, comparison_cells, comparison_header, error_of, figure, table_captions, table_title

__all__ = ["escaped", "latex_comparison", "latex_rows", "latex_table"]

# characters that LaTeX reads as commands, and those that its fonts lack
SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "±": r"$\pm$",
    "Δ": r"$\Delta$",
    "∞": r"$_\infty$",
    "†": r"$^\dagger$",
    "ε": r"$\varepsilon$",
    "σ": r"$\sigma$",
    "α": r"$\alpha$",
    "η": r"$\eta$",
    "ρ": r"$\rho$",
}


def escaped(text: str) -> str:
    """Text that LaTeX sets as it is."""
    return "".join(SPECIAL.get(character, character) for character in text)


def latex_table(table: Table) -> str:
    """The table of results, each figure with its standard error; bold is what may be the best of its column. What its
    reader has to know stands below, in comments.
    """
    head, rows, foot = latex_rows(table)
    return "\n".join([head, *rows, foot])


def latex_rows(table: Table) -> tuple[str, list[str], str]:
    """The same in parts: what stands above the rows, a line a row, and what stands below."""
    columns = len(table.columns)
    header = [escaped(AXES[table.axis]), *(f"{column:g}" for column in table.columns)]
    head = _opened("l" + "r" * columns, header)
    rows = [_line([_sampler(row.label), *map(_cell, row.cells)]) for row in table.rows]
    return head, rows, _closed(_captions(table))


def latex_comparison(comparison: Comparison) -> tuple[str, list[str], str]:
    """The table of differences, in parts; bold is what is better than the baseline."""
    names = comparison_header(comparison)
    numbers = set(range(1, len(names) - 4)) | {len(names) - 3}
    spec = "".join("r" if i in numbers else "l" for i in range(len(names)))
    delta = 5 if comparison.extrapolated else 4
    rows, bold = [], False
    for one in comparison.differences:
        cells = [escaped(text) for text in comparison_cells(one, comparison.extrapolated)]
        cells[0] = _sampler(one.label)
        for i in (delta - 1, delta):
            cells[i] = _number(cells[i])
        cells[delta + 1] = _number(cells[delta + 1])
        if one.judged.verdict == "better":
            bold = True
            cells[delta] = rf"\textbf{{{cells[delta]}}}"
        rows.append(_line(cells))
    against = f"% {comparison.title} of {comparison.other} against {comparison.base}; {CONFIDENT} intervals at once"
    against += f"; bold: better than {comparison.base}" if bold else ""
    return _opened(spec, [escaped(name) for name in names]), rows, _closed([r"% needs \usepackage{booktabs}", against])


def _captions(table: Table) -> list[str]:
    lines = [
        r"needs \usepackage{booktabs}",
        table_title(table),
        *table_captions(table, "bold"),
        table.conditions,
        *table.notes,
    ]
    return [f"% {' '.join(line.split())}" for line in lines]


def _cell(cell: Cell) -> str:
    if cell.value is None:
        return escaped(cell.status)
    text = figure(cell.value)
    marked = rf"\textbf{{{text}}}" if cell.best else text
    error = "" if cell.se is None else rf" {{\scriptsize $\pm$\,{error_of(cell.se)}}}"
    counted = "" if cell.nfe is None else rf" {{\scriptsize @{cell.nfe:g}}}"
    return marked + error + counted


def _sampler(label: str) -> str:
    name, _, rest = label.partition(" ")
    return rf"\texttt{{{escaped(name)}}}" + (f" {escaped(rest)}" if rest else "")


def _number(text: str) -> str:
    """With a minus, not a hyphen."""
    return text.replace("-", "$-$")


def _line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _opened(spec: str, header: Sequence[str]) -> str:
    return "\n".join([rf"\begin{{tabular}}{{{spec}}}", r"\toprule", _line(header), r"\midrule"])


def _closed(comments: Sequence[str]) -> str:
    return "\n".join([r"\bottomrule", r"\end{tabular}", *comments])
