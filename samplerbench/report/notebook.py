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

__all__ = ["NotebookProgress", "in_notebook", "progress_here"]

EVERY = 0.2  # seconds between two frames
SHOWN = 8  # finished cells that are shown


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
    """Bars for the whole run and the running cell, and the last finished cells. The whole is measured in planned
    evaluations of the network.
    """

    def __init__(self) -> None:
        self._handle: Any = None
        self._lines: list[str] = []
        self._total = self._whole = self._samples = self._done = 0
        self._label = self._text = ""
        self._begun, self._drawn = time.monotonic(), 0.0

    def __exit__(self, *_: object) -> None:
        self._draw()

    def plan(self, cells: list[Planned], samples: int) -> None:
        self._samples, self._total = samples, sum(cell.claimed for cell in cells) * samples
        self._draw()

    def start(self, cell: Planned) -> None:
        self._label, self._done, self._text = cell.label, 0, ""
        self._draw()

    def advance(self, cell: Planned, samples: int) -> None:
        self._done += samples
        self._whole += samples * cell.claimed
        self._draw(soon=True)

    def finish(self, cell: Planned, record: Record) -> None:
        self._whole += (self._samples - self._done) * cell.claimed
        values = ", ".join(f"{name} {v.value:.4g}" for name, v in record.metrics.items() if v.value is not None)
        self._lines.append(f"{cell.label}: {values or f'{record.status}: {record.reason}'}")
        self._label = ""
        self._draw()

    def working(self, text: str) -> None:
        self._text = text
        self._draw(soon=True)

    def notice(self, text: str) -> None:
        self._lines.append(f"Note: {text}")
        self._draw()

    def html(self) -> str:
        """The frame as it is now."""
        took = time.monotonic() - self._begun
        share = self._whole / self._total if self._total else 1.0
        left = f", about {took / share - took:.0f} s left" if 0 < share < 1 else ""
        parts = [f"<div>{_bar(share)} {share:.0%} of the run, {took:.0f} s{left}</div>"]
        if self._label:
            text = self._text or f"{self._done}/{self._samples} samples"
            parts.append(f"<div>{_bar(self._done / max(self._samples, 1))} {escape(self._label)}: {escape(text)}</div>")
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
