"""What a check found, as plain data."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import one_line

__all__ = ["Failed", "Finding", "Inapplicable", "found"]


class Failed(Exception):
    """A check's own verdict: what was found, and what was expected."""


class Inapplicable(Exception):
    """The check says nothing here, for this reason."""


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        check: its name. path: the kind of path that it was made on, where it was asked for by name.
        verdict: passed, failed or skipped. text: what was found.
        details: a traceback where something raised.
    """

    check: str
    verdict: str
    text: str
    details: str = ""
    path: str = ""


def found(name: str, check: Callable[[], str], path: str = "") -> Finding:
    """The outcome of a check that returns what it found, or raises. Ctrl-C passes through."""
    try:
        return Finding(name, "passed", check(), path=path)
    except Inapplicable as reason:
        return Finding(name, "skipped", str(reason), path=path)
    except Failed as reason:
        return Finding(name, "failed", str(reason), path=path)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: it is this check's, not the program's, end
        return Finding(name, "failed", one_line(error), traceback.format_exc(), path)
