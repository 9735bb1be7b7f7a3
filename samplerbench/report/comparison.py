"""Comparisons as tables: in the terminal, as Markdown, as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.table import Table
from rich.text import Text

from ..errors import UserError
from ..metrics.metric import title
from .compare import Comparison, Difference
from .literature import Ranking
from .table import folded
from .terminal import plain_console

__all__ = ["comparison_frame", "print_comparison", "print_published", "print_rankings", "write_csv"]

WIDE = 120  # characters from which on a difference fits into one line
NARROW = 22  # characters of a sampler's name where it does not
STYLES = {"better": "green", "worse": "red", "no difference": "", "unknown": "dim"}


def comparison_frame(comparison: Comparison) -> pd.DataFrame:
    """A row a difference, plain values."""
    return pd.DataFrame(
        {
            "sampler": [d.sampler for d in comparison.differences],
            "nfe": [d.nfe for d in comparison.differences],
            "base": [comparison.base] * len(comparison.differences),
            f"{comparison.metric}_base": [d.base for d in comparison.differences],
            comparison.metric: [d.other for d in comparison.differences],
            "delta": [d.delta for d in comparison.differences],
            "se": [d.error for d in comparison.differences],
            "low": [d.interval[0] if d.interval else None for d in comparison.differences],
            "high": [d.interval[1] if d.interval else None for d in comparison.differences],
            "p_holm": [d.p for d in comparison.differences],
            "method": [d.how for d in comparison.differences],
            "verdict": [d.verdict for d in comparison.differences],
        }
    )


def print_comparison(comparison: Comparison, markdown: bool) -> None:
    """The table, with the conditions that differ above it and the cells without a counterpart below."""
    console = plain_console()
    for warning in comparison.warnings:
        console.print(Text(f"differs: {warning}" if ":" in warning else warning, "yellow"), soft_wrap=True)
    if markdown:
        console.print(_markdown(comparison), markup=False, soft_wrap=True)
    else:
        sign = "below" if comparison.direction == "lower" else "above"
        what = f"Δ{title(comparison.metric)} of {comparison.other} against {comparison.base}"
        console.print(f"{what}; {sign} 0 is better", markup=False, soft_wrap=True)
        console.print(_table(comparison, console.width))
    for name, labels in ((comparison.base, comparison.only_base), (comparison.other, comparison.only_other)):
        if labels:
            console.print(f"only in {name}: {', '.join(labels)}", markup=False, soft_wrap=True)


def _header(comparison: Comparison) -> list[str]:
    name = title(comparison.metric)
    return ["sampler", "NFE", "base", name, f"Δ{name}", "95 %", "p (Holm)", "error", ""]


def _cells(d: Difference) -> list[str]:
    interval = f"[{d.interval[0]:+.3g}, {d.interval[1]:+.3g}]" if d.interval else ""
    p = "" if d.p is None else "<0.001" if d.p < 0.001 else f"{d.p:.2g}"
    return [
        d.sampler,
        f"{d.nfe:g}",
        f"{d.base:.4g}",
        f"{d.other:.4g}",
        f"{d.delta:+.3g}",
        interval,
        p,
        d.how,
        d.verdict,
    ]


def _table(comparison: Comparison, width: int) -> Table:
    """A row a difference; in a terminal too narrow for it, what belongs together stands one above the other."""
    header, rows = _header(comparison), [_cells(d) for d in comparison.differences]
    narrow = width < WIDE
    if narrow:
        header, *rows = [
            [
                cells[0],
                cells[1],
                f"{cells[3]}\n{cells[2]}",
                f"{cells[4]}\n{cells[5]}",
                f"{cells[6]} {cells[7]}\n{cells[8]}",
            ]
            for cells in (header, *rows)
        ]
        for cells in rows:
            cells[0] = "\n".join(folded(cells[0], NARROW))
    numbers = (1, 2) if narrow else (1, 2, 3, 4, 6)
    table = Table(show_lines=narrow)
    for i, heading in enumerate(header):
        table.add_column(heading, overflow="fold", justify="right" if i in numbers else "left")
    for cells, d in zip(rows, comparison.differences, strict=True):
        table.add_row(*cells, style=STYLES[d.verdict])
    return table


def _markdown(comparison: Comparison) -> str:
    lines = [_header(comparison), ["---"] * 9, *(_cells(d) for d in comparison.differences)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def print_published(frame: pd.DataFrame) -> None:
    """Our rows beside the literature's, the sources below."""
    console = plain_console()
    cited = frame["source"] + frame["provenance"].map(lambda how: "" if how == "read" else f" ({how})")
    sources = list(dict.fromkeys(cited))
    table = Table()
    table.add_column("sampler", no_wrap=True)
    for heading in ("NFE", "FID here", "FID there"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("dataset, network", overflow="fold")
    table.add_column("source", justify="right", no_wrap=True)
    for row, source in zip(frame.to_dict("records"), cited, strict=True):
        spacing = f" ({row['spacing']})" if isinstance(row["spacing"], str) else ""
        label = "\n".join(folded(row["sampler"] + spacing, NARROW))
        figures = [f"{row[name]:.4g}" for name in ("nfe", "our fid", "fid")]
        table.add_row(label, *figures, f"{row['dataset']}, {row['checkpoint']}", f"[{sources.index(source) + 1}]")
    console.print(table)
    for number, source in enumerate(sources, 1):
        console.print(f"[{number}] {source}", markup=False, soft_wrap=True)


def print_rankings(rankings: Sequence[Ranking]) -> None:
    """How many of the literature's rankings hold here, and those that do not."""
    console = plain_console()
    counts = {word: sum(one.finding == word for one in rankings) for word in ("holds", "reversed", "open")}
    console.print(
        f"Of {len(rankings)} rankings of two samplers at equal evaluations {counts['holds']} hold here, "
        f"{counts['reversed']} are reversed, {counts['open']} are within the error.",
        soft_wrap=True,
    )
    table = Table()
    for heading in ("NFE", "better there", "than", "FID there", "ΔFID here", "error", ""):
        table.add_column(heading, overflow="fold", justify="right" if heading in ("NFE", "ΔFID here") else "left")
    for one in rankings:
        if one.finding != "holds":
            there = " and ".join(f"{fid:g}" for fid in one.theirs)
            d = one.ours
            names = ("\n".join(folded(name, NARROW)) for name in (one.better, one.worse))
            table.add_row(f"{d.nfe:g}", *names, there, f"{d.delta:+.3g}", d.how, one.finding)
    if table.row_count:
        console.print(table)


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Writes a table where it was asked for."""
    try:
        frame.to_csv(path, index=False)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None
