"""Live progress in the terminal."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ...bench.execute import Listener
from ...bench.plan import Planned
from ...bench.record import Record
from ...devices import resolve_device
from ...training.recipe import Recipe
from ..pace import Pace, Running
from .console import error_console

__all__ = ["RunProgress", "train_with_progress"]

WHOLE = "whole run"
SHOWN = 8  # running cells that have a bar
LABEL, BAR, TEXT = 32, 40, 37  # characters of their three columns at most


class RunProgress(Listener):
    """A line a finished cell, and bars for each running one and for the whole run, on standard error.

    `titles`: what metrics are called here, by name.
    """

    def __init__(self, quiet: bool) -> None:
        self.console = error_console(quiet)
        self.pace = Pace()
        self.titles: dict[str, str] = {}
        self._label = 0
        self._live = Live(console=self.console, get_renderable=self._view, transient=True, refresh_per_second=10)

    def __enter__(self) -> RunProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def plan(self, cells: list[Planned], samples: int) -> None:
        self.pace.plan(cells, samples)
        self._label = min(max(len(name) for name in (WHOLE, *(cell.label for cell in cells))), LABEL)
        self._live.start(refresh=True)

    def start(self, cell: Planned) -> None:
        self.pace.start(cell)

    def advance(self, cell: Planned, samples: int) -> None:
        self.pace.advance(cell, samples)

    def found(self, cell: Planned, samples: int) -> None:
        self.pace.found(cell, samples)

    def finish(self, cell: Planned, record: Record) -> None:
        running = self.pace.finish(cell)
        if record.status == "done":
            drawn = running is not None and running.done > 0
            took = f"{record.seconds:.1f} s" if drawn else "was there already"
            found = f" ({record.cached} samples from the cache)" if drawn and record.cached else ""
            values = ", ".join(
                f"{self.titles.get(name, name)} {value.value:.4g}"
                for name, value in record.metrics.items()
                if value.value is not None
            )
            text = f"{cell.label}: {values or 'nothing measured'} in {record.nfe:g} evaluations, {took}{found}"
            self.console.print(text)
        else:
            self.console.print(f"{cell.label}: {record.status}: {record.reason}", style="yellow")

    def working(self, text: str) -> None:
        self.pace.doing(text)

    def notice(self, text: str) -> None:
        self.console.print(f"Note: {text}", style="yellow")

    def _view(self) -> Table:
        pace, running = self.pace, list(self.pace.running.values())
        bar = max(min(self.console.width - self._label - TEXT - 2, BAR), 0)
        rows = Table.grid(padding=(0, 1))
        rows.add_column(no_wrap=True, width=self._label, overflow="ellipsis")
        rows.add_column(width=bar)
        rows.add_column(no_wrap=True, overflow="ellipsis")
        left = "" if pace.left is None else f", {_clock(pace.left)} left"
        told = f"{pace.ended}/{pace.cells} cells, {_clock(pace.took)}{left}"
        rows.add_row(Text(WHOLE), ProgressBar(1.0, pace.share, width=bar), Text(told))
        for one in running[:SHOWN]:
            rows.add_row(
                Text(one.planned.label),
                ProgressBar(max(one.samples, 1), min(one.done, one.samples), width=bar),
                Text(self._said(one)),
            )
        if len(running) > SHOWN:
            rows.add_row(Text(f"and {len(running) - SHOWN} more cells"))
        return rows

    def _said(self, one: Running) -> str:
        if one.measured:
            return one.doing or "measuring"
        rate = self.pace.rate(one)
        return f"{one.done}/{one.samples} samples" + ("" if rate is None else f", {rate:.1f} images/s")


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def train_with_progress(recipe: Recipe, out: Path, data_root: Path | None, device: str, quiet: bool) -> dict[str, Any]:
    """`training.run.train` with a bar that shows the loss, one for each thing that is made afterwards, and a summary at
    the end.
    """
    from ...training.run import train
    from ...training.told import Told

    console = error_console(quiet)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )

    class Bars(Told):
        smooth: float | None = None

        def __init__(self, progress: Progress) -> None:
            self.progress = progress
            self.tasks = {recipe.name: progress.add_task(recipe.name, total=recipe.total)}

        def step(self, done: int, loss: float) -> None:
            self.smooth = loss if self.smooth is None else 0.98 * self.smooth + 0.02 * loss
            description = f"{recipe.name}  loss {self.smooth:.4f}"
            self.progress.update(self.tasks[recipe.name], completed=done, description=description)

        def finishing(self, what: str, done: int, total: int) -> None:
            if what not in self.tasks:
                self.progress.update(self.tasks[recipe.name], completed=recipe.total)  # of an earlier run, perhaps
                self.tasks[what] = self.progress.add_task(what, total=total)
                if not console.is_terminal:
                    console.print(f"{recipe.total} steps are done; now {what}", soft_wrap=True)
            self.progress.update(self.tasks[what], completed=done)

    with Progress(*columns, console=console) as progress:
        summary = train(recipe, out, data_root, resolve_device(device), Bars(progress))
    for key, value in summary.items():
        shown = (f"{value:.1f}" if value > 10 else f"{value:.4g}") if isinstance(value, float) else value
        console.print(f"{key.replace('_', ' ')}: {shown}")
    return summary
