"""Comparisons in the terminal, as tables or as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from ..compare import Comparison
from ..markdown import markdown_comparison
from ..results import Results, measured
from ..tables import reasons
from ..words import (
    comparison_captions,
    comparison_cells,
    comparison_header,
    comparison_title,
    reason_lines,
    verdict_line,
)
from .console import plain_console
from .text import BAD, DIM, GOOD, Style, boxed, folded, say

__all__ = ["print_comparisons", "print_left_out", "print_notes", "print_verdict"]

WIDE = 120  # characters from which on a difference fits into one line
NARROW = 22  # characters of a sampler's name where it does not
STYLES: dict[str, Style] = {"better": GOOD, "worse": BAD, "unknown": DIM}


def print_comparisons(comparisons: Sequence[Comparison], as_markdown: bool) -> None:
    """The tables, each with the conditions that differ above it and the cells without a counterpart below. A line that
    stood under an earlier one is not said again.
    """
    told: set[str] = set()
    for comparison in comparisons:
        _print_comparison(comparison, as_markdown, told)


def _print_comparison(comparison: Comparison, as_markdown: bool, told: set[str]) -> None:
    console = plain_console()
    print_notes([line for line in comparison.warnings if line not in told])
    if comparison.differences:
        say(console, comparison_title(comparison))
        if as_markdown:
            say(console, f"\n{markdown_comparison(comparison)}\n")
        else:
            _print_table(comparison, console)
        captions = comparison_captions(comparison)
        for line in captions:
            if line not in told:
                say(console, line)
        told |= {*captions, *comparison.warnings}
    else:
        say(console, f"no cell of {comparison.other} has a counterpart in {comparison.base}: nothing is compared")
    for name, labels in ((comparison.base, comparison.only_base), (comparison.other, comparison.only_other)):
        if labels:
            say(console, f"only in {name}: {'; '.join(labels)}")


def print_left_out(files: Sequence[Results]) -> None:
    """Which cells of each file have no value to compare, and why."""
    console = plain_console()
    for one in files:
        for _, line in reason_lines(reasons(one.every[~measured(one.every, one.metric)])):
            say(console, f"not compared, of {one.name}: {line}", "dim")


def print_verdict(comparison: Comparison) -> None:
    """What the table comes to, in a line."""
    if line := verdict_line(comparison):
        say(plain_console(), line, "bold")


def print_notes(notes: Sequence[str]) -> None:
    """What is to be told of the files."""
    console = plain_console()
    for note in dict.fromkeys(notes):
        say(console, note, "yellow")


def _print_table(comparison: Comparison, console: Console) -> None:
    """A row a difference; in a terminal too narrow for it, what belongs together stands one above the other."""
    extrapolated = comparison.extrapolated
    lines = [comparison_header(comparison), *(comparison_cells(one, extrapolated) for one in comparison.differences)]
    narrow = console.width < WIDE
    right = {1, 2, 3} if narrow else set(range(1, len(lines[0]) - 4)) | {len(lines[0]) - 3}
    if narrow:
        stacked = []
        for name, asked, base, other, *deltas, between, p, how, verdict in lines:
            differences = "\n".join([*deltas, between])
            stacked.append(
                [name, asked, f"{other}\n{base}", differences, "\n".join([verdict, how, *([f"p {p}"] if p else [])])]
            )
        for cells in stacked[1:]:
            cells[0] = "\n".join(folded(cells[0], NARROW))
        stacked[0][-1] = "verdict\nmethod\np"
        lines = stacked
    styles = [[STYLES.get(one.judged.verdict, {})] * len(lines[0]) for one in comparison.differences]
    boxed(lines[0], lines[1:], console, right=right, styles=styles, ruled=narrow)
