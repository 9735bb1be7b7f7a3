"""Progress of a run in a notebook: one frame of HTML, which is written anew as the run goes on. It needs no widgets."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from html import escape
from typing import Any

from ..bench.execute import Listener
from ..bench.plan import Planned
from ..bench.record import Record
from .pace import Pace

__all__ = ["NotebookProgress", "in_notebook", "progress_here"]

EVERY = 0.2  # seconds between two frames
SHOWN = 8  # running cells that are shown, and finished ones


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module else None
    return shell is not None and "IPKernelApp" in shell.config


def progress_here() -> Any:
    """A listener that shows progress where this process can: in its notebook, or on standard error. A context."""
    if in_notebook():
        return NotebookProgress()
    from .terminal.progress import RunProgress

    return RunProgress(quiet=False)


class NotebookProgress(Listener, AbstractContextManager["NotebookProgress"]):
    """Bars for the whole run and each running cell, and the last finished cells."""

    def __init__(self) -> None:
        self.pace = Pace()
        self._handle: Any = None
        self._lines: list[str] = []
        self._drawn = 0.0

    def __exit__(self, *_: object) -> None:
        self._draw()

    def plan(self, cells: list[Planned], samples: int) -> None:
        self.pace.plan(cells, samples)
        self._draw()

    def start(self, cell: Planned) -> None:
        self.pace.start(cell)
        self._draw()

    def advance(self, cell: Planned, samples: int) -> None:
        self.pace.advance(cell, samples)
        self._draw(soon=True)

    def found(self, cell: Planned, samples: int) -> None:
        self.pace.found(cell, samples)
        self._draw(soon=True)

    def finish(self, cell: Planned, record: Record) -> None:
        self.pace.finish(cell)
        values = ", ".join(f"{name} {v.value:.4g}" for name, v in record.metrics.items() if v.value is not None)
        self._lines.append(f"{cell.label}: {values or f'{record.status}: {record.reason}'}")
        self._draw()

    def working(self, text: str) -> None:
        self.pace.doing(text)
        self._draw(soon=True)

    def notice(self, text: str) -> None:
        self._lines.append(f"Note: {text}")
        self._draw()

    def html(self) -> str:
        """The frame as it is now."""
        pace, running = self.pace, list(self.pace.running.values())
        left = "" if pace.left is None or pace.share == 1 else f", about {pace.left:.0f} s left"
        parts = [f"<div>{_bar(pace.share)} {pace.share:.0%} of the run, {pace.took:.0f} s{left}</div>"]
        for one in running[:SHOWN]:
            text = one.doing or ("measuring" if one.measured else f"{one.done}/{one.samples} samples")
            bar = _bar(one.done / max(one.samples, 1))
            parts.append(f"<div>{bar} {escape(one.planned.label)}: {escape(text)}</div>")
        if len(running) > SHOWN:
            parts.append(f"<div>and {len(running) - SHOWN} more cells</div>")
        parts += [f"<div><small>{escape(line)}</small></div>" for line in self._lines[-SHOWN:]]
        return "".join(parts)

    def _draw(self, soon: bool = False) -> None:
        """soon: a frame that may be left out where the last one was just now."""
        if soon and time.monotonic() - self._drawn < EVERY:
            return
        from IPython.display import HTML, display

        self._drawn, frame = time.monotonic(), HTML(self.html())
        if self._handle is None:
            self._handle = display(frame, display_id=True)
        else:
            self._handle.update(frame)


def _bar(share: float) -> str:
    return f'<progress value="{min(share, 1):.4f}" max="1"></progress>'
