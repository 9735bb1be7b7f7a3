"""Runs cells: their shards, from a pool, their metrics, and one record each at the end."""

from __future__ import annotations

import datetime
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from .. import __version__
from ..errors import one_line
from ..metrics.measured import Measured
from .maker import Failure, Filmed, Made
from .measure import Measurements, Measurer
from .plan import Planned, RunConfig
from .pools.pool import Pool, Result, Told
from .pools.serial import SerialPool
from .record import Record, Value
from .shards import PARTS, Gathered, Shard
from .task import FilmTask, ShardTask, Task, tasks_of
from .trajectory import SAMPLES
from .worker import Worker

__all__ = ["Executor", "Listener", "Outcome"]


class Listener:
    """What a run tells while it goes on; every method does nothing here."""

    def plan(self, cells: list[Planned], samples: int) -> None:
        """The cells are known."""

    def start(self, cell: Planned) -> None:
        """A cell begins."""

    def advance(self, cell: Planned, samples: int) -> None:
        """So many more samples of the cell were drawn."""

    def found(self, cell: Planned, samples: int) -> None:
        """So many samples of the cell were there already. Whoever does not tell the two apart is told of them as of
        those that are drawn.
        """
        self.advance(cell, samples)

    def finish(self, cell: Planned, record: Record) -> None:
        """A cell has ended, whatever its status."""

    def working(self, text: str) -> None:
        """How far a long computation of a metric has come, in place of what it said before."""

    def notice(self, text: str) -> None:
        """Something the user should know."""

    def end(self, status: str) -> None:
        """The run is finished, interrupted or aborted."""


@dataclass
class Outcome:
    """A cell's record, what was measured, a traceback where a plugin failed, and the film that was asked for."""

    record: Record
    measured: Measurements | None = None
    details: str = ""
    film: Filmed | Failure | None = None


@dataclass
class Executor:
    """Runs cells: a pool makes their shards, and each is measured when its last one is there.

    filmed: whether there is a film already of the cell of a record and a label.
    """

    config: RunConfig
    worker: Worker
    measurer: Measurer
    pool: Pool
    filmed: Callable[[Record, str], bool]
    listener: Listener = field(default_factory=Listener)
    _told: set[frozenset[str]] = field(default_factory=set)

    def run(self, cells: Sequence[Planned]) -> Generator[tuple[Planned, Outcome], None, None]:
        """The outcomes of cells, as they end. What a sampler raises becomes a failed record; KeyboardInterrupt passes
        through.
        """
        left: dict[str, _Cell] = {}
        for planned in cells:
            if planned.cell.times is None:
                yield planned, self._unplanned(planned)
            else:
                record, samples = self.record(planned), self.config.samples
                mine: list[Task] = [*tasks_of(planned.cell, samples, self.worker.batch_size)]
                if not self.filmed(record, planned.label):
                    mine.append(FilmTask(planned.cell, min(SAMPLES, samples)))
                left[planned.cell.key] = _Cell(planned, record, Gathered(samples), mine)
        tasks = [task for cell in left.values() for task in cell.tasks]
        begun: set[str] = set()

        def start(task: Task) -> None:
            if task.cell.key not in begun:
                begun.add(task.cell.key)
                self.listener.start(left[task.cell.key].planned)

        def advance(task: Task, samples: int) -> None:
            if task.cell.key in left:
                self.listener.advance(left[task.cell.key].planned, samples)

        def found(task: Task, samples: int) -> None:
            if task.cell.key in left:
                self.listener.found(left[task.cell.key].planned, samples)

        told = Told(start, advance, self.listener.notice, found)
        results = self.pool.make(tasks, lambda task: task.cell.key in left, told)
        ended: deque[tuple[_Cell, Future[Outcome]]] = deque()
        with closing(results), self._measuring() as measuring:
            for result in results:
                cell = left[result.task.cell.key]
                cell.add(result)
                if cell.failure or cell.done == len(cell.tasks):
                    del left[result.task.cell.key]
                    ended.append((cell, measuring(cell)))
                while ended and (ended[0][1].done() or len(ended) > 1):
                    yield _next(ended)
            while ended:
                yield _next(ended)

    @contextmanager
    def _measuring(self) -> Iterator[Callable[[_Cell], Future[Outcome]]]:
        """How a cell that has its samples is measured: in a thread, while the next one samples, where that takes
        nothing from the sampling; at once where both would want the same processors.
        """
        if (isinstance(self.pool, SerialPool) and self.worker.device == "cpu") or not self.measurer.beside:
            yield self._at_once
            return
        thread = ThreadPoolExecutor(1, "metrics")
        try:
            yield lambda cell: thread.submit(self._outcome, cell, beside=True)
        finally:
            thread.shutdown(cancel_futures=True)

    def _at_once(self, cell: _Cell) -> Future[Outcome]:
        done: Future[Outcome] = Future()
        done.set_result(self._outcome(cell))
        return done

    def _unplanned(self, planned: Planned) -> Outcome:
        record = self.record(planned)
        record.status, record.reason = ("failed" if planned.details else "skipped"), planned.reason
        return Outcome(record, details=planned.details)

    def _outcome(self, cell: _Cell, beside: bool = False) -> Outcome:
        """beside: whether others use the process meanwhile."""
        record, details = cell.record, ""
        measured: Measurements | None = None
        if cell.failure:
            record.status, record.reason, details = cell.failure.status, cell.failure.reason, cell.failure.details
            record.batch_size = self.worker.batch_size
        else:
            try:
                whole = cell.gathered.whole()
                _account(record, whole, cell.cached)
                self._tell_of_hardware(cell.planned, whole)
                measured = self.measurer.measure(cell.planned.cell, cell.planned.sampler, whole, beside)
            except Exception as error:
                record.status, record.reason, details = "failed", one_line(error), traceback.format_exc()
            else:
                for metric, code in self.measurer.metrics:
                    record.metrics[metric.name] = _value(measured.found.get(metric.name), self.config.samples, code)
                record.reason, details = "; ".join(measured.reasons), measured.details
                record.seconds_metrics = round(measured.seconds, 4)
                record.seconds = round(record.seconds_metrics + _drawing(record), 4)
                for writing in cell.writing:
                    writing.result()  # what can be kept is on the disk before the row
        record.finished = _now()
        return Outcome(record, measured, details, cell.film)

    def _tell_of_hardware(self, planned: Planned, whole: Shard) -> None:
        """Says once that samples of a cell were drawn on several kinds of hardware."""
        kinds = frozenset(batch.hardware for batch in whole.batches)
        if len(kinds) > 1 and kinds not in self._told:
            self._told.add(kinds)
            named = " and ".join(sorted(kinds))
            self.listener.notice(f"{planned.label}: samples were drawn on {named}; its seconds are of all of them")

    def record(self, planned: Planned) -> Record:
        """The record of a cell before it is run: its conditions."""
        cell, model, reference = planned.cell, self.worker.model, self.measurer.reference
        return Record(
            key=cell.key,
            model=model.name,
            sampler=cell.sampler,
            spacing=planned.sampler.spacing,
            final=planned.sampler.final,
            budget=cell.budget,
            steps=None if cell.times is None else len(cell.times) - 1,
            samples=self.config.samples,
            seed=cell.seed,
            guidance=cell.guidance[0] if cell.guidance else "",
            asked_sha256=cell.asked,
            batch_size=self.worker.batch_size,
            device=self.worker.device,
            dtype=cell.dtype,
            compiled=cell.compiled,
            extractor=cell.extractor[0],
            reference_count=reference.statistics.count,
            reference_features=None if reference.features is None else len(reference.features),
            model_sha256=cell.model,
            sampler_sha256=cell.code,
            extractor_sha256=cell.extractor[2],
            reference_sha256=reference.sha256,
            torch=cell.torch,
            samplerbench=__version__,
            finished=_now(),
        )


@dataclass
class _Cell:
    """A cell that is being run. gathered: its samples so far, of so many tasks that are done, so many of them cached.
    writing: of the shards that are new. failure: why there will be none. film: that of the cell, or why there is none.
    """

    planned: Planned
    record: Record
    gathered: Gathered
    tasks: list[Task]
    done: int = 0
    cached: int = 0
    writing: list[Future[bool]] = field(default_factory=list)
    failure: Failure | None = None
    film: Filmed | Failure | None = None

    def add(self, result: Result) -> None:
        """What became of one of its tasks."""
        match result.task, result.outcome:
            case ShardTask() as task, Made() as made:
                try:
                    self.gathered.add(task.first, made.shard)
                except RuntimeError as error:  # it is of another shape than the others
                    self.failure = Failure("failed", f"its shards do not go together: {one_line(error)}")
                    return
                self.done, self.cached = self.done + 1, self.cached + made.cached
                if made.writing is not None:
                    self.writing.append(made.writing)
            case FilmTask(), (Filmed() | Failure()) as film:
                self.done, self.film = self.done + 1, film
            case _, Failure() as failure:
                self.failure = failure


def _next(ended: deque[tuple[_Cell, Future[Outcome]]]) -> tuple[Planned, Outcome]:
    cell, outcome = ended.popleft()
    return cell.planned, outcome.result()


def _account(record: Record, whole: Shard, cached: int) -> None:
    """What the samples took goes into the record."""
    record.cached = cached
    record.nfe, record.passes = float(whole.evaluations.mean()), float(whole.passes.mean())
    for part in PARTS:
        setattr(record, f"seconds_{part}", round(sum(getattr(batch, part) for batch in whole.batches), 4))
    record.images_per_second = round(len(whole) / max(_drawing(record), 1e-4), 3)
    record.memory_mb = max(batch.memory for batch in whole.batches)
    record.batch_size = max(batch.at_once for batch in whole.batches)
    record.hardware = " and ".join(dict.fromkeys(batch.hardware for batch in whole.batches))


def _drawing(record: Record) -> float:
    """Seconds without those of metrics."""
    return float(sum(getattr(record, f"seconds_{part}") for part in PARTS))


def _value(measured: Measured | None, samples: int, code: str) -> Value:
    if measured is None:
        return Value()
    se = None if measured.se is None else float(measured.se)
    return Value(float(measured.value), se, samples if measured.count is None else measured.count, code)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
