"""What is written to the terminal: text of others as it is, and no run lost to a terminal that takes nothing."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

from rich.console import Console

__all__ = ["error_console", "plain_console"]


def plain_console() -> Console:
    """Standard output, on which `[/x]` in a name is `[/x]` and no markup."""
    return Console(highlight=False, markup=False, emoji=False)


def error_console(quiet: bool) -> Console:
    """Standard error, on which what cannot be written is dropped: progress is not worth a run."""
    return Console(file=_Dropping(sys.stderr), quiet=quiet, highlight=False, markup=False, emoji=False)  # type: ignore[arg-type]


class _Dropping:
    """A text stream whose write errors are nobody's."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):  # ValueError: the stream was closed
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()
