"""A worker that is not in the process of the run: made from a `Setup`, in plain text, and held to what cells say."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..code import code_sha256
from ..errors import UserError
from ..models.guided import asked_of
from ..plugins import load_plugins
from .environment import hardware
from .guides import Guides
from .maker import Failure, Filmed, Maker, nobody
from .plan import code_of
from .shards import Shard, ShardCache, as_bytes
from .task import Setup, ShardTask, Task
from .worker import Worker

if TYPE_CHECKING:
    from .cell import Cell

__all__ = ["Done", "OtherSampler", "Remote"]


class OtherSampler(UserError):
    """This worker's sampler is not the cell's; those of other cells may be."""


@dataclass(frozen=True)
class Done:
    """What was made of a task. cached: how many of its samples were there already. data: the bytes of each shard where
    they could not be written into the cache; of a film the picture.
    """

    cached: int
    data: list[bytes] | None


class Remote:
    """Its process goes to the run's folder. notice: told a line that the user should know. shared: whether others see
    its folder of shards.

    Raises UserError where model, extractor or plugins cannot be loaded.
    """

    def __init__(self, setup: Setup, notice: Callable[[str], None], shared: bool = True) -> None:
        with suppress(OSError):  # this machine does not have it
            os.chdir(setup.folder)
        if setup.threads:
            torch.set_num_threads(setup.threads)
        self.setup = setup
        self.registry = load_plugins(setup.plugins)
        model = self.registry.model(setup.model)
        weights = None if setup.extractor_weights is None else Path(setup.extractor_weights)
        extractor = self.registry.extractor(setup.extractor, weights, setup.device, model.image_shape)
        self.hardware = hardware(setup.device)
        self.cache = (ShardCache if shared else _NoCache)(Path(setup.cache), notice, setup.fresh)
        self._asked = asked_of(model, setup.asked)
        self._guides = Guides(self.registry)
        worker = Worker(
            model=model,
            reload=lambda: self.registry.model(setup.model, model.sha256),
            extractor=extractor,
            make=self.registry.sampler,
            guide=self._guides,
            asked=self._asked,
            device=setup.device,
            dtype=setup.dtype,
            batch_size=setup.batch_size,
            hardware=self.hardware,
            notice=notice,
            how_compiled=setup.compiled,
        )
        self.maker = Maker(worker, self.registry, self.cache)
        self._model, self._extractor = model.sha256, extractor
        self._core = code_sha256("samplerbench.bench.worker")

    def do(
        self, task: Task, advance: Callable[[int], None] = nobody, found: Callable[[int], None] = nobody
    ) -> Done | Failure:
        """Makes the shards of a task, or its film, and tells of them as `Maker.make` does. Raises UserError where this
        worker is not what the cell's key says, OtherSampler where only the sampler is not.
        """
        self._compare(task.cell)
        made = self.maker.make(task, advance, found)
        if isinstance(made, Failure):
            return made
        if isinstance(made, Filmed):
            return Done(0, [made.png])
        if made.kept:
            return Done(made.cached, None)
        assert isinstance(task, ShardTask)
        parts = [(part.index, part.first - task.first, part.count) for part in task.shards()]
        data = [as_bytes(task.cell.key, index, made.shard.part(at, at + count)) for index, at, count in parts]
        return Done(made.cached, data)

    def _compare(self, cell: Cell) -> None:
        found = self._extractor
        mine = dataclasses.replace(
            cell,
            model=self._model,
            asked=self._asked.sha256,
            guidance=self._guides.said(cell.guidance[0]) if cell.guidance else (),
            dtype=self.setup.dtype,
            compiled=self.setup.compiled,
            device=self.setup.device.partition(":")[0],
            extractor=(found.spec, found.layer, found.sha256, found.code),
            core=self._core,
            torch=torch.__version__,
        )
        for name, here in dataclasses.asdict(mine).items():
            if (there := getattr(cell, name)) != here:
                raise UserError(f"this worker is not what the run is: {NAMES[name]} is {here}, expected {there}")
        try:
            code = code_of(self.registry.sampler(cell.sampler), self.registry)
        except UserError as error:
            raise OtherSampler(f"this worker is not what the run is: {error}") from None
        if code != cell.code:
            raise OtherSampler(
                f"this worker is not what the run is: the hash of the sampler's code is {code}, expected {cell.code}"
            )


class _NoCache(ShardCache):
    """Nothing is read, and nothing written: who is sent the shards keeps them."""

    def load(self, key: str, index: int) -> Shard | None:
        return None

    def save(self, key: str, index: int, shard: Shard) -> bool:
        return False


NAMES = {
    "model": "the hash of the model",
    "asked": "the hash of what samples are asked for",
    "guidance": "the guidance, with its hashes,",
    "dtype": "the precision",
    "compiled": "--compile",
    "device": "the device",
    "extractor": "the extractor",
    "core": "the hash of samplerbench's code",
    "torch": "torch",
}
