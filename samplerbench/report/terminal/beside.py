"""What `compare --against published` prints: our rows beside the literature's, and which of its rankings hold."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

import pandas as pd

from ..compare import CONFIDENT, Family
from ..literature import Ranking
from ..markdown import markdown
from ..words import family_line, figure, figures
from .console import plain_console
from .text import BAD, Style, boxed, folded, say

__all__ = ["print_published", "print_rankings"]

NARROW = 22  # characters of a sampler's name
STYLES: dict[str, Style] = {"reversed": BAD}


def print_published(frame: pd.DataFrame, as_markdown: bool) -> None:
    """Our rows beside the literature's, the sources below."""
    console = plain_console()
    cited = [
        source if how == "read" else f"{source} ({how})"
        for source, how in zip(frame["source"], frame["provenance"], strict=True)
    ]
    sources = list(dict.fromkeys(cited))
    rows = []
    for row, source in zip(frame.to_dict("records"), cited, strict=True):
        spacing = f" ({row['spacing']})" if isinstance(row["spacing"], str) else ""
        numbers = [f"{row['nfe']:g}", figure(row["our fid"]), f"{row['fid']:.4g}"]
        number = f"[{sources.index(source) + 1}]"
        rows.append([row["sampler"] + spacing, *numbers, f"{row['dataset']}, {row['checkpoint']}", number])
    header = ["sampler", "NFE", "FID here", "FID there", "dataset, network", "source"]
    if as_markdown:
        say(console, f"{markdown(header, rows, right=(1, 2, 3))}\n")
    else:
        for cells in rows:
            cells[0] = "\n".join(folded(cells[0], NARROW))
            cells[4] = "\n".join(wrap(cells[4], NARROW - 2, break_long_words=False))
        boxed([name.replace("FID ", "FID\n") for name in header], rows, console, right=(1, 2, 3, 5))
    for place, source in enumerate(sources, 1):
        say(console, f"[{place}] {source}")


def print_rankings(rankings: Sequence[Ranking], family: Family, as_markdown: bool) -> None:
    """How many of the literature's rankings hold here, and those that do not."""
    console = plain_console()
    if not rankings:
        say(console, "The published tables rank no two of these samplers at equal evaluations.")
        return
    counts = {word: sum(one.finding == word for one in rankings) for word in ("holds", "reversed", "undecided")}
    say(
        console,
        f"Of {len(rankings)} rankings of two samplers at equal evaluations {counts['holds']} hold here, "
        f"{counts['reversed']} are reversed, {counts['undecided']} are undecided: the interval has 0 in it.",
    )
    say(console, family_line(family, [one.ours for one in rankings]))
    if unpaired := sum(one.ours.how == "unpaired" for one in rankings):
        say(console, f"{unpaired} of them are judged unpaired; what pairs two rows lies in the run's folder.")
    shown = [one for one in rankings if one.finding != "holds"]
    header = ["better there", "than", "NFE", "FID there", "ΔFID here", f"{CONFIDENT} at once", "method", ""]
    rows = []
    for one in shown:
        there = " and ".join(f"{fid:g}" for fid in one.theirs)
        delta, infinite, between, _ = figures(one.ours)
        rows.append(
            [one.better, one.worse, f"{one.nfe:g}", there, infinite or delta, between, one.ours.how, one.finding]
        )
    if not shown:
        return
    if as_markdown:
        say(console, f"\n{markdown(header, rows, right=(2, 4))}")
        return
    stacked = [_stacked(cells) for cells in (header, *rows)]
    boxed(
        stacked[0],
        stacked[1:],
        console,
        right=(1,),
        styles=[[STYLES.get(one.finding, {})] * len(stacked[0]) for one in shown],
        ruled=True,
    )


def _stacked(cells: Sequence[str]) -> list[str]:
    """What belongs together one above the other, so that 80 characters are enough."""
    better, worse, nfe, there, delta, between, how, finding = cells
    names = ["\n".join(folded(name, 2 * NARROW - 10)) for name in (better, worse)]
    return ["\n".join(names), nfe, there.replace(" and ", "\n"), f"{delta}\n{between}", f"{finding}\n{how}".strip()]
