"""Live progress in the terminal."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ...bench.execute import Listener
from ...bench.plan import Planned
from ...bench.record import Record
from ...devices import resolve_device
from ...training.recipe import Recipe
from .console import error_console

__all__ = ["RunProgress", "train_with_progress"]


class RunProgress(Listener):
    """A line a finished cell, and bars for the running one and for the whole run, on standard error.

    The whole run is measured in planned network evaluations, so that its ETA knows that fifty steps take longer than
    five. `titles`: what metrics are called here, by name.
    """

    def __init__(self, quiet: bool) -> None:
        self.console = error_console(quiet)
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=self.console,
            transient=True,
        )
        self.samples = self.done = 0
        self.titles: dict[str, str] = {}

    def __enter__(self) -> RunProgress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.progress.live.is_started:
            self.progress.stop()

    def plan(self, cells: list[Planned], samples: int) -> None:
        self.samples = samples
        self.total = sum(cell.claimed for cell in cells) * samples
        self.cells, self.ended = len(cells), 0
        self.whole = self.progress.add_task("whole run", total=self.total, text=f"0/{self.cells} cells")
        self.current = self.progress.add_task("", total=samples, text="")
        self.progress.start()

    def start(self, cell: Planned) -> None:
        self.done, self.started = 0, time.monotonic()
        self.progress.reset(self.current, total=self.samples, description=cell.label, text="")

    def advance(self, cell: Planned, samples: int) -> None:
        self.done += samples
        rate = self.done / max(time.monotonic() - self.started, 1e-9)
        self.progress.update(
            self.current, advance=samples, text=f"{self.done}/{self.samples} samples, {rate:.1f} images/s"
        )
        self.progress.update(self.whole, advance=samples * cell.claimed)

    def finish(self, cell: Planned, record: Record) -> None:
        self.ended += 1
        missing = (self.samples - self.done) * cell.claimed
        self.progress.update(self.whole, advance=missing, text=f"{self.ended}/{self.cells} cells")
        if record.status == "done":
            took = "was there already" if self.done == 0 else f"{record.seconds:.1f} s"
            found = f" ({record.cached} samples from the cache)" if self.done and record.cached else ""
            values = ", ".join(
                f"{self.titles.get(name, name)} {value.value:.4g}"
                for name, value in record.metrics.items()
                if value.value is not None
            )
            text = f"{cell.label}: {values or 'nothing measured'} in {record.nfe:g} evaluations, {took}{found}"
            self.progress.console.print(text)
        else:
            self.progress.console.print(f"{cell.label}: {record.status}: {record.reason}", style="yellow")

    def working(self, text: str) -> None:
        self.progress.update(self.current, text=text)

    def notice(self, text: str) -> None:
        self.progress.console.print(f"Note: {text}", style="yellow")


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
