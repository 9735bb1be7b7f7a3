"""What a run is given, as it is typed or as Python has it, turned into the values of a `RunConfig`."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError, whole
from ..models.condition import read_prompts
from .cell import Axis

__all__ = ["axis_of", "check_length", "default_out", "prompts_in", "split_names", "split_values"]

LONGEST = 4000  # characters of a prompt; no text encoder takes more


def split_names(text: str | Sequence[str]) -> tuple[str, ...]:
    """'fid,kid' or ['fid', 'kid'] -> ('fid', 'kid'), each once. Raises UserError for what is no text."""
    names = [name.strip() for name in text.split(",")] if isinstance(text, str) else text
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise UserError(f"metrics are names, like 'fid,kid' or ['fid', 'kid'], got {text!r}")
    return tuple(dict.fromkeys(names))


def axis_of(
    nfe: int | str | Sequence[int] | None,
    steps: int | str | Sequence[int] | None,
    passes: int | str | Sequence[int] | None = None,
) -> dict[str, Any]:
    """The `axis` and `values` of a RunConfig from the three ways to give them."""
    given = {name: one for name, one in (("nfe", nfe), ("steps", steps), ("passes", passes)) if one is not None}
    if len(given) > 1:
        raise UserError(
            f"give --nfe (budgets of evaluations), --steps (grid steps) or --passes (rows through networks), not "
            f"{' and '.join(f'--{name}' for name in given)}"
        )
    axis: Axis = "steps" if "steps" in given else "nfe"
    asked: dict[str, Any] = {"axis": axis, "in_passes": "passes" in given}
    for name, one in given.items():
        asked |= {"values": split_values(one, name)}
    return asked


def default_out() -> Path:
    """A folder under results/ named after the time, that is not there yet."""
    named = Path("results") / datetime.datetime.now().strftime("%Y-%m-%d-%H%M%S")
    numbered = (named.with_name(f"{named.name}-{number}") for number in itertools.count(2))
    return next(folder for folder in itertools.chain([named], numbered) if not folder.exists())


def prompts_in(path: Path) -> tuple[str, ...]:
    """The prompts of a file, without the mark that some editors put at its beginning. Raises UserError."""
    first, *rest = read_prompts(path)
    lines = tuple(line for line in (first.removeprefix("\ufeff").lstrip(), *rest) if line)
    if not lines:
        raise UserError(f"--prompts {path} is empty; it has a prompt a line")
    check_length(lines, f"--prompts {path}")
    return lines


def check_length(prompts: Sequence[str], what: str) -> None:
    """Raises UserError for a prompt that is no prompt."""
    for prompt in prompts:
        if len(prompt) > LONGEST:
            raise UserError(f"{what}: '{prompt[:40]}…' has {len(prompt):,} characters, at most {LONGEST:,} are taken")


def split_values(text: int | str | Sequence[int], axis: str) -> tuple[int, ...]:
    """'5,10', [5, 10] or 5 -> a tuple. Raises UserError for what is no whole number."""
    if not isinstance(text, str):
        values = list(text) if isinstance(text, Iterable) else [text]
        try:
            return tuple(whole(axis, value) for value in values)
        except UserError:
            raise UserError(f"{axis} is whole numbers, like [5, 10, 20], got {text!r}") from None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"{axis} is whole numbers separated by commas, like 5,10,20, got '{text}'") from None
