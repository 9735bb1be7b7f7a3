"""Errors whose message is meant for the person at the keyboard: one line, what was wrong, what was expected, the
nearest valid choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from inspect import signature
from operator import index
from typing import Any

__all__ = [
    "PLUGINS",
    "BudgetExceeded",
    "Escaped",
    "FailedCells",
    "Miscounted",
    "PluginError",
    "Shortened",
    "TooFewEvaluations",
    "UserError",
    "check_arguments",
    "contained",
    "one_line",
    "unknown",
    "whole",
    "whole_numbers",
]


class UserError(Exception):
    """Bad input. The command line prints the message without a traceback and exits with 2."""


class PluginError(UserError):
    """Somebody's code that could not be loaded, or failed; `details` is its traceback."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


class FailedCells(UserWarning):
    """Cells of a run failed; those that did not are in its results."""


class Shortened(UserWarning):
    """A prompt is longer than the model takes, and its end is left out."""


class TooFewEvaluations(UserError):
    """A sampler cannot take a single step on the budget it was given; the cell is skipped with this reason."""


class BudgetExceeded(RuntimeError):
    """A sampler asked for more network evaluations than its budget; its cell fails."""


class Miscounted(RuntimeError):
    """The network was run on other rows than those that were counted: a sampler went round the counter."""


class Escaped(RuntimeError):
    """A plugin raised what is meant to end a program, such as SystemExit."""


@contextmanager
def contained(what: str) -> Iterator[None]:
    """Turns what a plugin raises to end the program into an error like any other; Ctrl-C passes through."""
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise Escaped(f"{what} raised {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """An exception's type and message without line breaks, and with what does not print escaped."""
    try:
        text = str(error)
    except BaseException:  # a plugin's exception may fail to say what it is
        text = "its message cannot be had"
    message = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(text.split()))
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


PLUGINS = "; one of a plugin needs its --plugin"


def unknown(kind: str, name: object, choices: Iterable[object], more: str = "") -> UserError:
    """The error for a name that is not among `choices`, with the nearest one suggested, and `more` at the end."""
    names = sorted(str(choice) for choice in choices)
    near = get_close_matches(str(name).lower(), names, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    listed = ", ".join(names) if names else "none"
    return UserError(f"unknown {kind} '{name}'{hint} (known: {listed}){more}")


def check_arguments(what: str, make: Callable[..., Any], given: Iterable[str]) -> None:
    """Raises UserError where `make` takes no argument of a name in `given`, or needs one that is not there. what: a
    phrase for messages, such as "schedule 'flow'".
    """
    names = list(given)
    taken = {n: p for n, p in signature(make).parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    for name in names:
        if name not in taken:
            raise unknown(f"key of {what}", name, taken)
    for name, parameter in taken.items():
        if parameter.default is parameter.empty and name not in names:
            raise UserError(f"{what} needs '{name}'")


def whole(name: str, given: Any) -> int:
    """A whole number that somebody gave in Python. Raises UserError for anything else, True, 1.0 and '1' too."""
    if isinstance(given, bool) or not hasattr(given, "__index__"):
        raise UserError(f"{name} is a whole number, got {given!r}")
    return index(given)


def whole_numbers(name: str, values: Any, least: int, most: int) -> tuple[int, ...]:
    """A list of whole numbers in [least, most] as a tuple. Raises ValueError for anything else, True and 1.0 too."""
    if not isinstance(values, list | tuple) or not all(type(v) is int and least <= v <= most for v in values):
        raise ValueError(f"{name} holds whole numbers from {least} to {most}, got {values!r}")
    return tuple(values)
