"""`samplerbench cache`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import UserError
from .help import Command
from .options import plugin_option

if TYPE_CHECKING:
    from ..bench.cached import Entry

GROUPS = {
    "What may go": ["older_than", "unreachable", "down_to"],
    "What is done": ["delete"],
    "What is looked at": ["folder", "plugins"],
}
EXAMPLES = [
    "samplerbench cache                                     # what is there, by model and sampler",
    "samplerbench cache --unreachable --older-than 30d      # what would go",
    "samplerbench cache --down-to 20GB --delete",
]
SIZES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
AGES = {"h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}


def _amount(ctx: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """A size in bytes, or an age in seconds."""
    if text is None:
        return None
    units = AGES if parameter.name == "older_than" else SIZES
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([A-Za-z]+)", text.strip())
    unit = found and next((u for u in units if u.lower() == found[2].lower()), None)
    if not found or unit is None:
        example = "30d, 12h or 2w" if units is AGES else "20GB or 500MB"
        raise UserError(f"{parameter.opts[0]} {text}: expected a number and a unit, such as {example}")
    return float(found[1]) * units[unit]


@click.command(cls=Command, groups=GROUPS, examples=EXAMPLES)
@click.option("--older-than", metavar="AGE", callback=_amount, help="What no run has used for so long: 30d, 12h, 2w.")
@click.option("--unreachable", is_flag=True, help="What the present code and plugins would never ask for.")
@click.option("--down-to", metavar="SIZE", callback=_amount, help="What was used longest ago, until so much is left.")
@click.option("--delete", is_flag=True, help="Delete what these options name. Without it nothing is deleted.")
@click.option("--cache", "folder", type=click.Path(path_type=Path), help="The folder.  [default: that of `run`]")
@plugin_option("Your own samplers and extractors, whose code --unreachable compares.")
def cache(
    older_than: float | None,
    unreachable: bool,
    down_to: float | None,
    delete: bool,
    folder: Path | None,
    plugins: tuple[str, ...],
) -> None:
    """Show what the cache of finished work holds, and delete what is not wanted any more.

    Nothing is deleted that a run is using, or that was written or used within the last hour. What was deleted is drawn
    again when a run needs it.
    """
    from ..bench.cached import entries, removable, remove, unfinished
    from ..folders import shard_cache
    from ..report.terminal.console import plain_console

    root = folder or shard_cache()
    if not root.is_dir():
        if folder is not None:
            raise UserError(f"--cache {folder}: no such folder")
        click.echo(f"{root} is empty")
        return
    if delete and not unreachable and older_than is None and down_to is None:
        raise UserError("--delete needs to know what: --older-than, --unreachable or --down-to")
    found, parts = list(entries(root)), unfinished(root)
    if older_than is None and not unreachable and down_to is None:
        _show(found, plain_console())
        click.echo(f"{_size(sum(one.size for one in found))} in {root}")
        return
    free = removable(found, root)
    chosen = _chosen(found, free, older_than, unreachable, down_to, plugins)
    _show([entry for entry, _ in chosen], plain_console(), [why for _, why in chosen])
    told = f"{_size(sum(entry.size for entry, _ in chosen))} of {_size(sum(one.size for one in found))} in {root}"
    if len(free) < len(found):
        click.echo(f"{len(found) - len(free)} entries stay: a run is using them, or did within the last hour")
    if not delete:
        click.echo(f"{told} would go, and {len(parts)} unfinished files; --delete deletes them")
        return
    gone = remove([entry for entry, _ in chosen], root)
    for part in parts:
        part.unlink(missing_ok=True)
    freed = _size(sum(one.size for one in gone))
    click.echo(f"deleted {freed} in {len(gone)} entries, and {len(parts)} unfinished files")


def _chosen(
    found: list[Entry],
    free: list[Entry],
    older_than: float | None,
    unreachable: bool,
    down_to: float | None,
    plugins: tuple[str, ...],
) -> list[tuple[Entry, str]]:
    """What of the free entries may go, with the reason."""
    import time

    from ..bench.reach import Reach
    from ..plugins import load_plugins

    now, reach = time.time(), Reach(load_plugins(plugins)) if unreachable else None
    chosen: dict[Path, tuple[Entry, str]] = {}
    for entry in free:
        why = reach.why_not(entry) if reach else ""
        if not why and older_than is not None and now - entry.used > older_than:
            why = "not used for long"
        if why:
            chosen[entry.path] = entry, why
    left = sum(entry.size for entry in found if entry.path not in chosen)
    for entry in sorted(free, key=lambda one: one.used):
        if down_to is not None and left > down_to and entry.path not in chosen:
            left -= entry.size
            chosen[entry.path] = entry, "used longest ago"
    return list(chosen.values())


def _show(found: list[Entry], console: object, reasons: list[str] | None = None) -> None:
    """A line for each model, sampler and reason, the largest first."""
    import time

    from ..report.terminal.text import boxed

    groups: dict[tuple[str, ...], list[Entry]] = {}
    for entry, why in zip(found, reasons or [""] * len(found), strict=True):
        groups.setdefault((entry.model or entry.about, entry.sampler, why), []).append(entry)
    rows = [
        (*names[:2], str(len(group)), _size(sum(one.size for one in group)),
         _age(time.time() - max(one.used for one in group)), *names[2 : 2 + bool(reasons)])
        for names, group in sorted(groups.items(), key=lambda one: -sum(entry.size for entry in one[1]))
    ]  # fmt: skip
    if rows:
        header = ("model", "sampler", "cells", "size", "last used", *(["why"] if reasons else []))
        boxed(header, rows, console, right=(2, 3, 4))  # type: ignore[arg-type]


def _size(count: float) -> str:
    unit = next((unit for unit in reversed(SIZES) if count >= SIZES[unit]), "B")
    return f"{count / SIZES[unit]:.{0 if unit == 'B' else 1}f} {unit}"


def _age(seconds: float) -> str:
    hours = seconds / 3600  # below 0 where a clock is behind
    if hours < 1:
        return "less than an hour ago"
    return f"{hours / 24:.0f} d ago" if hours >= 48 else f"{hours:.0f} h ago"
