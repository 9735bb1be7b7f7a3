"""Comparisons as tables: in the terminal, as Markdown, as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console

from ..errors import UserError
from .choice import cells
from .compare import CONFIDENT, Compared, Comparison, Family, Judged
from .terminal import plain_console
from .text import BAD, DIM, GOOD, Style, boxed, folded, markdown, say

__all__ = ["comparison_frame", "family_line", "figures", "print_comparisons", "print_notes", "write_csv"]

WIDE = 120  # characters from which on a difference fits into one line
NARROW = 22  # characters of a sampler's name where it does not
STYLES: dict[str, Style] = {"better": GOOD, "worse": BAD, "unknown": DIM}
DRIFTS = "†"


def comparison_frame(comparison: Comparison) -> pd.DataFrame:
    """A row a difference, plain values; the columns are described in results/README.md."""
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
        sign = "below" if comparison.direction == "lower" else "above"
        what = f"Δ{comparison.title} of {comparison.other} against {comparison.base}"
        say(console, f"{what}; {sign} 0 is better")
        if as_markdown:
            say(console, f"\n{_markdown(comparison)}\n")
        else:
            _print_table(comparison, console)
        captions = _captions(comparison)
        for line in captions:
            if line not in told:
                say(console, line)
        told |= {*captions, *comparison.warnings}
    else:
        say(console, f"no cell of {comparison.other} has a counterpart in {comparison.base}: nothing is compared")
    for name, labels in ((comparison.base, comparison.only_base), (comparison.other, comparison.only_other)):
        if labels:
            say(console, f"only in {name}: {'; '.join(labels)}")


def print_notes(notes: Sequence[str]) -> None:
    """What is to be told of the files."""
    console = plain_console()
    for note in dict.fromkeys(notes):
        say(console, note, "yellow")


def _captions(comparison: Comparison) -> list[str]:
    """What the reader of the table has to know."""
    name = comparison.title
    asked = {"budget": "budgets", "steps": "steps", "nfe": "counted evaluations"}[comparison.axis]
    family = family_line(comparison.family, [one.judged for one in comparison.differences])
    lines = [f"Cells are compared at equal {asked}. {family}"]
    hows = {d.judged.how for d in comparison.differences}
    explained = {
        "same": "same: the key says that it is one result",
        "paired": "paired: both are from the same noise",
        "unpaired": "unpaired: the error is that of two independent results",
    }
    if told := [text for how, text in explained.items() if how in hows]:
        lines.append("; ".join(told) + ".")
    if comparison.extrapolated:
        lines.append(
            f"Δ{name}∞ is the difference at infinitely many samples. (At n samples {name} has a bias, which differs "
            f"between samplers.) Where Δ{name}∞ is given, the interval, p and the verdict are about it."
        )
    if drifting := sum(d.judged.tested.difference.drifts for d in comparison.differences):
        lines.append(
            f"{DRIFTS}: Δ{name}∞ is more than half an error away from Δ{name} ({cells(drifting)}). There the number of "
            "samples matters."
        )
    return lines


def family_line(family: Family, judged: Sequence[Judged]) -> str:
    """What intervals and p are."""
    sizes = sorted({one.size for one in judged if one.size})
    if not sizes:
        if judged and all(one.how == "same" for one in judged):
            return "Nothing differs."
        return "No difference has a standard error to judge it by."
    count = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    where = "all differences shown" if family == "all" else "all differences at one number of evaluations"
    return f"Intervals hold at once, with {CONFIDENT} confidence, for {where} ({count}). p is adjusted alike."


def _header(comparison: Comparison) -> list[str]:
    name = comparison.title
    infinite = [f"Δ{name}∞"] if comparison.extrapolated else []
    return [
        "sampler",
        "NFE",
        "base",
        name,
        f"Δ{name}",
        *infinite,
        f"{CONFIDENT} at once",
        "p",
        "method",
        "verdict",
    ]


def figures(judged: Judged) -> tuple[str, str, str, str]:
    """A difference for people: of the n samples, of infinitely many, its interval, its p."""
    difference, interval, p = judged.tested.difference, judged.tested.interval, judged.tested.p
    infinite = f"{difference.delta:+.3g}" + (DRIFTS if difference.drifts else "") if difference.extrapolated else ""
    between = f"[{interval[0]:+.3g}, {interval[1]:+.3g}]" if interval else ""
    return f"{difference.delta_n:+.3g}", infinite, between, "" if p is None else "<0.001" if p < 0.001 else f"{p:.2g}"


def _cells(one: Compared, extrapolated: bool) -> list[str]:
    delta, infinite, between, p = figures(one.judged)
    asked = f"{one.asked:g}" if one.asked == one.nfe else f"{one.asked:g} @{one.nfe:g}"
    return [
        one.label,
        asked,
        f"{one.base:.4g}",
        f"{one.other:.4g}",
        delta,
        *([infinite] if extrapolated else []),
        between,
        p,
        one.judged.how,
        one.judged.verdict,
    ]


def _print_table(comparison: Comparison, console: Console) -> None:
    """A row a difference; in a terminal too narrow for it, what belongs together stands one above the other."""
    extrapolated = comparison.extrapolated
    lines = [_header(comparison), *(_cells(one, extrapolated) for one in comparison.differences)]
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


def _markdown(comparison: Comparison) -> str:
    header = _header(comparison)
    extrapolated = comparison.extrapolated
    rows = [_cells(one, extrapolated) for one in comparison.differences]
    return markdown(header, rows, right={*range(1, len(header) - 4), len(header) - 3})


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Writes a table where it was asked for."""
    try:
        frame.to_csv(path, index=False)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None
