"""A whole run: what was asked for, the cells one after the other, and the output folder."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import cached_property
from pathlib import Path

from ..devices import resolve_device
from ..errors import UserError
from ..files import content_key
from ..folders import shard_cache
from ..images import sample_grid
from ..metrics.measured import Unmeasurable
from ..models.formats.own import shipped_models
from ..models.guided import asked_of
from ..models.model import Model
from ..plugins import load_plugins
from ..registry import Registry
from ..sampler import Sampler
from ..settings import products
from .cached import describe, using
from .environment import hardware
from .execute import Executor, Listener, Outcome
from .guides import Guides
from .influences import Kept
from .keep import Keeper
from .maker import Failure, Maker
from .manifest import manifest
from .measure import Measurer, real_images
from .plan import Planned, RunConfig, chosen_samplers, plan_cells, told_of_spacings
from .pools.choose import pool_of
from .record import Record
from .references import find_reference
from .shards import ShardCache
from .store import Store
from .task import Setup
from .telling import Logged, Several
from .worker import Worker
from .written import WrittenPlan

__all__ = ["BenchmarkRun"]


class BenchmarkRun:
    """A run that is ready: everything was loaded and checked, the cells are planned, nothing is written yet.

    Args:
        samplers: those of the config that are objects, whose classes need not be registered.
        model: that of the config where it is an object; a copy of it is run.
        plan_only: write the plan for `samplerbench worker`, and run nothing.

    Attributes:
        cells: what will be run. broken: how many cells failed, or a metric
            of theirs.
    """

    def __init__(
        self,
        config: RunConfig,
        out: Path,
        listener: Listener,
        samplers: Sequence[Sampler] = (),
        model: Model | None = None,
        plan_only: bool = False,
    ) -> None:
        listener = Several([Logged(), listener])
        self.config, self.listener, self.plan_only = config, listener, plan_only
        self.store = Store(out, listener.notice)
        self._records: dict[int, Record] = {}
        self.broken = 0
        self.registry: Registry = load_plugins(config.plugins, samplers)
        for text in [*map(str, self.registry.problems), *self.registry.notices()]:
            listener.notice(text)
        chosen = chosen_samplers(config, self.registry)
        self.metrics = [self.registry.metric(name) for name in config.metrics]
        self.device = resolve_device(config.device)
        if model is None:
            self._load: Callable[[], Model] = lambda: self.registry.model(config.model, self.model.sha256)
            self.model = self.registry.model(config.model)
        else:
            untouched = copy.deepcopy(model.current())
            if untouched.sha256 != model.sha256:
                listener.notice(f"model '{model.name}' is not as it was loaded; its rows have another model_sha256")
            self._load = lambda: copy.deepcopy(untouched)
            self.model = self._load()
        objects = [type(one).__name__ for one in samplers] + ([] if model is None else [type(model).__name__])
        self._objects = ", ".join(objects)
        name = self.model.extractor if config.extractor is None else config.extractor
        if name is None:
            raise UserError(f"model '{self.model.name}' names no feature extractor; choose one with --extractor")
        self.extractor = self.registry.extractor(name, config.extractor_weights, self.device, self.model.image_shape)
        for metric in self.metrics:
            if metric.needs_classes and not self.extractor.classes:
                raise UserError(f"{metric.name} needs classes, and extractor '{self.extractor.spec}' has no classifier")
            if metric.needs_directions and not self.extractor.extractor.directions:
                raise UserError(f"{metric.name} is of CLIP's embeddings; choose --extractor clip")
            if metric.needs_text and not self.extractor.extractor.reads:
                raise UserError(f"{metric.name} needs embeddings of prompts; choose --extractor clip")
            if metric.needs_text and (self.model.conditioner is None or self.model.conditioner.kind != "prompt"):
                raise UserError(f"{metric.name} is of models that are asked in words; '{self.model.name}' is not")
        self.reference = find_reference(config, self.model, self.extractor, self.device, listener.notice)
        for line in told_of_spacings((sampler for sampler, _ in chosen.values()), self.model.schedule):
            listener.notice(line)
        if (conditioner := self.model.conditioner) and (
            line := conditioner.told(asked_of(self.model, config.lines).lines)
        ):
            listener.notice(line)
        self.cells = plan_cells(config, chosen, self.registry, self.model, self.extractor, self.device)

    def execute(self) -> None:
        """Runs every cell that the folder has no finished row of; each one's row is on disk before the next starts. On
        Ctrl-C the finished rows stand, and it is raised on.
        """
        with products():
            executor = self._executor()  # what cannot be leaves no folder behind
            earlier = self.store.open()
            try:
                with using(self._cache, [cell.cell.key for cell in self.cells]):
                    self._execute(executor, earlier)
            finally:
                self.store.close()

    @property
    def _cache(self) -> Path:
        return self.config.cache or shard_cache()

    def _executor(self) -> Executor:
        config, notice = self.config, self.listener.notice
        folder = self._cache
        worker = Worker(
            model=self.model,
            reload=self._load,
            extractor=self.extractor,
            make=self.registry.sampler,
            guide=Guides(self.registry, [cell.cell.guidance for cell in self.cells]),
            asked=asked_of(self.model, config.lines),
            device=self.device,
            dtype=config.dtype,
            batch_size=config.batch_size,
            hardware=hardware(self.device),
            notice=notice,
            how_compiled=config.compile,
        )
        coded = [(metric, self.metric_sha256[metric.name]) for metric in self.metrics]
        keeper = Keeper(folder, notice, config.fresh)
        working = self.listener.working
        measurer = Measurer(coded, self.reference, worker, keeper, config.data_root, notice, working, self._confirm)
        maker = Maker(worker, self.registry, ShardCache(folder, notice, config.fresh, [self.store.shards]))
        workers, timeout = ("serial", None) if self.plan_only else (config.workers, config.cell_timeout)
        pool = pool_of(workers, timeout, maker, lambda: self._setup(worker))
        return Executor(config, worker, measurer, pool, self.store.has_trajectory, self.listener)

    def _plan(self, worker: Worker) -> WrittenPlan | None:
        """What others need to sample for this run; None where objects of this process cannot be written down."""
        if self._objects:
            return None
        cells = [planned.cell for planned in self.cells if planned.cell.times is not None]
        return WrittenPlan(self._setup(worker), tuple(cells), self.config.samples)

    def _setup(self, worker: Worker) -> Setup:
        """What a worker in another process is made from. Raises UserError where that cannot be said in plain text."""
        config = self.config
        if self._objects:
            raise UserError(
                f"--workers {config.workers}: {self._objects} is an object of this process, and other processes cannot "
                "have it; name a model or a plugin's sampler, or use serial"
            )
        return Setup(
            model=_absolute(config.model),
            extractor=self.extractor.spec,
            extractor_weights=None if config.extractor_weights is None else str(config.extractor_weights.resolve()),
            plugins=tuple(map(_absolute_plugin, config.plugins)),
            device=worker.device,
            dtype=worker.dtype,
            compiled=worker.compiled,
            batch_size=worker.batch_size,
            threads=0,
            asked=config.lines,
            cache=str(self._cache.resolve()),
            fresh=config.fresh,
            folder=str(Path.cwd()),
        )

    def _confirm(self, metric: str) -> None:
        self.registry.metric_entry(metric).confirm()

    @cached_property
    def metric_sha256(self) -> dict[str, str]:
        """The hash of each metric's code; of one that needs the dataset's images, of them too."""
        found = {}
        for metric in self.metrics:
            found[metric.name] = self.registry.metric_entry(metric.name).code_sha256
            if metric.needs_images:
                with suppress(Unmeasurable):  # without them there will be no value
                    images = real_images(self.model, self.config.data_root).sha256
                    found[metric.name] = content_key([found[metric.name], images])
        return found

    def _execute(self, executor: Executor, earlier: list[Record]) -> None:
        config, listener = self.config, self.listener
        planned = [_identity(executor.record(cell)) for cell in self.cells]
        now = {metric.name: code for metric, code in executor.measurer.metrics}
        for record in earlier:  # what other code has measured is measured again
            for name, value in list(record.metrics.items()):
                if name in now and value.sha256 != now[name]:
                    del record.metrics[name]
        labels = dict(zip(planned, (cell.label for cell in self.cells), strict=True))
        known = {} if config.fresh else {_identity(r): r for r in earlier if r.status == "done"}
        finished = {
            identity: record
            for identity, record in known.items()
            if identity in labels
            and all(record.metric(name).value is not None for name in config.metrics)
            and self.store.has_artefacts(record, labels[identity], list(record.metrics))
        }
        others = [r for r in earlier if _identity(r) not in planned]
        self.store.replace([*others, *(finished[i] for i in planned if i in finished)], config.metrics)
        self.store.write_run(manifest(self, "planned" if self.plan_only else "running"))
        self.store.write_plan(self._plan(executor.worker))
        if self.plan_only:
            return
        listener.plan(self.cells, config.samples)
        places = {cell.cell.key: place for place, cell in enumerate(self.cells)}
        try:
            for cell, identity in zip(self.cells, planned, strict=True):
                if identity in finished:
                    listener.start(cell)
                    self._ended(places[cell.cell.key], cell, finished[identity])
            left = [c for c, identity in zip(self.cells, planned, strict=True) if identity not in finished]
            with closing(executor.run(left)) as outcomes:
                for cell, outcome in outcomes:
                    place = places[cell.cell.key]
                    self._keep(cell, outcome, known.get(planned[place]))
                    self._ended(place, cell, outcome.record)
            # in the order of the plan, whatever was there before and whichever ended first
            self.store.replace([*others, *self.records], config.metrics)
        except BaseException as error:
            with suppress(UserError):  # where the disk is full, say what could not be written first
                status = "interrupted" if isinstance(error, KeyboardInterrupt) else "aborted"
                self.listener.end(status)
                self.store.write_run(manifest(self, status))
            raise
        self.store.write_run(manifest(self, "finished"))
        self.listener.end("finished")

    @property
    def records(self) -> list[Record]:
        """Those of the cells that have ended, in the order of the plan."""
        return [self._records[place] for place in sorted(self._records)]

    def _ended(self, place: int, cell: Planned, record: Record) -> None:
        self._records[place] = record
        self.listener.finish(cell, record)

    def _keep(self, cell: Planned, outcome: Outcome, earlier: Record | None) -> None:
        """Keeps the outcome of a cell. What its row promises is on disk before it."""
        record = outcome.record
        if earlier:  # with other metrics, which stand where what is kept of them does
            for name in earlier.metrics:
                alone = [name]
                if name not in record.metrics and self.store.has_artefacts(earlier, cell.label, alone):
                    record.metrics[name] = earlier.metrics[name]
        if outcome.details:
            self.store.save_error(record, cell.label, outcome.details)
        if outcome.measured:
            describe(self._cache, cell.cell, self.model.name)
            kept = {
                name: Kept(float(one.value), one.influences, one.halves) for name, one in outcome.measured.found.items()
            }
            self.store.save_artefacts(record, cell.label, sample_grid(outcome.measured.images), kept)
            if isinstance(outcome.film, Failure):  # a row does not promise it
                self.listener.notice(f"{cell.label}: no trajectory was kept: {outcome.film.reason}")
            elif outcome.film:
                self.store.save_trajectory(record, cell.label, outcome.film.png)
        self.store.append(record)
        self.broken += bool(outcome.details)


def _absolute(text: str) -> str:
    """A model's path, or FILE.py:function, from wherever another process is; what is neither is as it was, and the name
    of a shipped model, whatever lies here by that name.
    """
    file, colon, name = text.rpartition(":")
    if colon and file.endswith(".py") and Path(file).is_file():
        return f"{Path(file).resolve()}:{name}"
    return str(Path(text).resolve()) if text not in shipped_models() and Path(text).exists() else text


def _absolute_plugin(text: str) -> str:
    """A FILE.py or FOLDER from wherever another process is; a module is as it was, whatever lies here by its name."""
    return str(Path(text).resolve()) if text.endswith(".py") or Path(text).is_dir() else text


def _identity(record: Record) -> tuple[object, ...]:
    """What makes two rows the same result."""
    return record.key, record.samples, record.reference_sha256
