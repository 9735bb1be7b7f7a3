"""What a worker is told: in plain text, so that it can be sent to another process or another machine, or be written
down for later.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, TypeVar

from .cell import Cell
from .shards import SHARD

__all__ = ["FilmTask", "Setup", "ShardTask", "Task", "cell_of", "largest_first", "read_task", "tasks_of"]


@dataclass(frozen=True)
class Setup:
    """What a worker is made from. What the cells of its tasks say of it has to be true of it: their hashes are compared
    with those of what it loaded.

    Attributes:
        model: what `--model` takes; extractor, extractor_weights, plugins: likewise.
        device: cpu, cuda or cuda:N. dtype: precision of the network. compiled: whether it is, and how.
        batch_size: samples at once. threads: of torch on a CPU; 0 leaves them as they are.
        asked: the lines that samples are asked for in turn; none where they are the model's own.
        cache: the folder of shards. fresh: whether those in it count for nothing.
        folder: that of the run, from which samplers and guidance name their files.
    """

    model: str
    extractor: str
    extractor_weights: str | None
    plugins: tuple[str, ...]
    device: str
    dtype: str
    compiled: str
    batch_size: int
    threads: int
    asked: tuple[str, ...]
    cache: str
    fresh: bool
    folder: str = "."

    @classmethod
    def read(cls, said: dict[str, Any]) -> Setup:
        """The same of what JSON made of `asdict`. Raises TypeError or ValueError where that is no setup."""
        setup = cls(**{**said, "plugins": tuple(said["plugins"]), "asked": tuple(said["asked"])})
        named = setup.model, setup.extractor, setup.extractor_weights or "", *setup.plugins, *setup.asked
        texts = (*named, setup.device, setup.cache, setup.folder)
        if not all(isinstance(text, str) for text in texts):
            raise TypeError(f"expected text: {[text for text in texts if not isinstance(text, str)]}")
        if type(setup.batch_size) is not int or setup.batch_size < 1:
            raise ValueError(f"batch_size is {setup.batch_size!r}, expected a number from 1 on")
        if type(setup.threads) is not int or setup.threads < 0:
            raise ValueError(f"threads is {setup.threads!r}, expected a number from 0 on")
        return setup


@dataclass(frozen=True)
class ShardTask:
    """Samples of a cell, `count` of them from `first` on, where shard `index` begins; they may be those of several."""

    cell: Cell
    index: int
    first: int
    count: int

    @property
    def samples(self) -> range:
        """Which samples of the cell they are."""
        return range(self.first, self.first + self.count)

    def shards(self) -> list[ShardTask]:
        """A task for each shard of it."""
        end = self.first + self.count
        return [
            ShardTask(self.cell, start // SHARD, start, min(SHARD, end - start))
            for start in range(self.first, end, SHARD)
        ]

    def text(self) -> str:
        """The task in a line of JSON."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class FilmTask:
    """The picture of how the first samples of a cell came to be, `rows` of them: see `bench.trajectory`. It is drawn
    when all shards of the cell are there.
    """

    cell: Cell
    rows: int
    count: ClassVar[int] = 0  # samples of the cell that it adds

    def text(self) -> str:
        """The task in a line of JSON."""
        return json.dumps(asdict(self))


Task = ShardTask | FilmTask


def read_task(text: str) -> Task:
    """What `text` wrote."""
    said = json.loads(text)
    kind: type[Task] = FilmTask if "rows" in said else ShardTask
    return kind(cell_of(said.pop("cell")), **said)


def cell_of(said: dict[str, Any]) -> Cell:
    """A cell of what JSON made of it: lists are tuples."""
    values = {f.name: _tuples(said[f.name]) for f in fields(Cell)}
    return Cell(**values)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def tasks_of(cell: Cell, samples: int, batch_size: int = SHARD) -> list[ShardTask]:
    """The shards of a cell, one a task, or as many as a batch fills."""
    step = SHARD * -(-batch_size // SHARD)
    return [ShardTask(cell, start // SHARD, start, min(step, samples - start)) for start in range(0, samples, step)]


AnyTask = TypeVar("AnyTask", ShardTask, Task)


def largest_first(tasks: Sequence[AnyTask]) -> list[AnyTask]:
    """The tasks of the cells that take the most evaluations first, so that no long one is left for the end; those of a
    cell stay together, in their order.
    """
    return sorted(tasks, key=lambda task: (-len(task.cell.times or ()), task.cell.key))
