"""Tables as text. Foreign text is printed as it stands, never as markup; 10^5 rows take a second, not a minute."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import chain, repeat, zip_longest
from typing import Any, TypeAlias

import click
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

__all__ = ["BAD", "BEST", "DIM", "GOOD", "Style", "boxed", "folded", "say", "styled", "width_of"]

Style: TypeAlias = Mapping[str, Any]  # as click.style has it
GOOD: Style = {"fg": "green"}
BEST: Style = {"fg": "green", "bold": True}
BAD: Style = {"fg": "red"}
DIM: Style = {"dim": True}

LABEL = 34  # characters of a sampler's name in a line
LEAST = 12  # characters that the first column keeps
BOX = ("┏━┳┓", "┃", "┡━╇┩", "│", "├─┼┤", "└─┴┘")
PLAIN = ("+-++", "|", "+-++", "|", "+-++", "+-++")  # where the terminal has no other characters


def say(console: Console, text: str, style: str = "") -> None:
    """Prints text as it is, not broken into lines."""
    console.print(Text(text, style), soft_wrap=True)


def styled(console: Console) -> bool:
    """Whether the console shows bold and colours."""
    return console.is_terminal and not console.no_color and not console.is_dumb_terminal


def boxed(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    console: Console,
    *,
    right: Collection[int] = (),
    styles: Sequence[Sequence[Style]] = (),
    ruled: bool = False,
) -> None:
    """Prints a table. Cells may have several lines, and no character is left out. The first column is broken where the
    console is too narrow, before options where that is enough.

    right: columns that are set to the right. styles: of each row's cells. ruled: a line between the rows.
    """
    lines, tall = _lines(header, rows)
    widths = [max(map(width_of, column)) for column in zip(*lines, strict=True)]
    room = max(console.width - sum(widths[1:]) - 3 * len(widths) - 1, LEAST)
    if widths[0] > room:
        broken = ["\n".join(_narrowed(row[0], room)) for row in rows]
        lines, tall = _lines(header, [[name, *row[1:]] for name, row in zip(broken, rows, strict=True)])
        widths[0] = max(width_of(line[0]) for line in lines)
    columns = [
        [_padded(cell, width, i in right) for cell in column]
        for i, (column, width) in enumerate(zip(zip(*lines, strict=True), widths, strict=True))
    ]
    coloured = styled(console)
    if coloured and styles:
        plain: Sequence[Style] = [{}] * len(columns)
        of = [each for each, count in zip((plain, *styles), tall, strict=True) for _ in range(count)]
        for i, column in enumerate(columns):
            columns[i] = [click.style(c, **each[i]) if each[i] else c for c, each in zip(column, of, strict=True)]
    top, heavy, under, light, between, bottom = PLAIN if console.options.ascii_only else BOX

    def rule(form: str) -> str:
        return form[0] + form[2].join(form[1] * (width + 2) for width in widths) + form[3]

    texts = [
        f"{bar} {f' {bar} '.join(line)} {bar}"
        for bar, line in zip(chain([heavy] * tall[0], repeat(light)), zip(*columns, strict=True), strict=False)
    ]
    out, at = [rule(top), *texts[: tall[0]], rule(under)], tall[0]
    for i, count in enumerate(tall[1:]):
        out += [rule(between)] if ruled and i else []
        out += texts[at : at + count]
        at += count
    click.echo("\n".join([*out, rule(bottom)]), file=console.file, color=coloured)


def _lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[tuple[str, ...]], list[int]]:
    """The lines of a table, cell by cell, and how many each row has."""
    lines: list[tuple[str, ...]] = []
    tall = []
    for row in (header, *rows):
        before = len(lines)
        lines += zip_longest(*(cell.split("\n") for cell in row), fillvalue="")
        tall.append(len(lines) - before)
    return lines, tall


def folded(label: str, width: int = LABEL) -> list[str]:
    """A sampler's name in lines of some `width` characters, broken before its options."""
    lines = [""]
    for part in label.replace(":", "\n:").replace(" (", "\n (").split("\n"):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append(" " + part.lstrip())
        else:
            lines[-1] += part
    return lines


def width_of(text: str) -> int:
    """How many places a text takes in a terminal."""
    return len(text) if text.isascii() else cell_len(text)


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - width_of(text))
    return space + text if right else text + space


def _narrowed(text: str, width: int) -> list[str]:
    """Lines that are at most so wide."""
    parts = [part for line in text.split("\n") for part in folded(line, width)]
    return [piece for part in parts for piece in _broken(part, width)]


def _broken(line: str, width: int) -> list[str]:
    """A line in parts that are at most so wide."""
    parts = [""]
    for character in line:
        if width_of(parts[-1] + character) > width:
            parts.append("")
        parts[-1] += character
    return parts
