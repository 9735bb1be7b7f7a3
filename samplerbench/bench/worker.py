"""Who draws the samples of cells: a loaded model, an extractor and a device. A `Cell`, which is plain, tells it all
that it needs. What this module imports is what the key of a shard holds of our own code (see `Cell.core`).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..diffusion.denoiser import Epsilon
from ..diffusion.grid import TimeGrid
from ..diffusion.noise import NoiseSource
from ..drawing import draw
from ..errors import UserError
from ..images import quantise
from ..metrics.extractors import LoadedExtractor
from ..models.condition import Asked
from ..models.guided import Guide, guided_epsilon
from ..models.model import Model
from ..models.networks.experts import networks_of
from ..modules import ADVICE, loose_modules
from ..sampler import Sampler
from ..settings import GENERATORS, changed, states
from .cell import Cell, plain_options
from .seal import Seal, Tampered
from .shards import KEPT, Batch, Shard

__all__ = ["Unsuitable", "Worker"]


class Unsuitable(Exception):
    """A sampler needs something that this model does not have."""


class Worker:
    """Draws ranges of cells' samples on one device.

    Args:
        model: its network is moved to the device. reload: gives it anew, where a plugin has damaged it.
        extractor: on `device` already.
        make: the sampler of a spec.
        device: cpu, cuda or cuda:N. dtype: precision of the network.
        batch_size: halved for the rest of a cell where memory runs out. hardware: what the device is, by name.
        notice: told a line that the user should know.
        guide: the guidance of a spec. asked: what samples are asked for; nothing without it.

    Attributes:
        model: on `device`. batch_size: that of the cell.
    """

    def __init__(
        self,
        model: Model,
        reload: Callable[[], Model],
        extractor: LoadedExtractor,
        make: Callable[[str], Sampler],
        device: str,
        dtype: str,
        batch_size: int,
        hardware: str,
        notice: Callable[[str], None],
        guide: Callable[[str], Guide] | None = None,
        asked: Asked | None = None,
    ) -> None:
        self._reload, self.extractor, self.make, self.notice = reload, extractor, make, notice
        self._guide, self.asked = guide, asked or Asked()
        self.device, self.dtype, self.hardware = device, dtype, hardware
        self.batch_size = self._whole = batch_size
        self.state_dtype = torch.float64 if dtype == "float64" else torch.float32
        self._ready(model)

    def _ready(self, model: Model) -> None:
        self.model, self._guides, passes = model, dict[str, Guide](), 0

        def count(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            nonlocal passes
            passes += len(arguments[0])

        self._count, self.passes = count, lambda: passes
        self._place(model)
        self._seal = Seal.of(self.model)

    def _place(self, model: Model) -> None:
        """Moves a model's networks to the device, and counts the rows that its ε_θ is run on."""
        for module in model.networks().values():
            module.to(memory_format=torch.channels_last).to(self.device, self.state_dtype)
        # autocast casts weights once, and not at every call, where they take gradients; none is ever computed
        model.predictor.requires_grad_(self.dtype in ("bfloat16", "float16"))
        for network in networks_of(model.predictor.network):
            network.register_forward_pre_hook(self._count)

    def epsilon(self, cell: Cell, indices: Sequence[int]) -> Epsilon:
        """The ε of a cell for samples of it: of what they are asked for, guided."""
        if cell.asked != self.asked.sha256:
            raise RuntimeError(f"the lines that samples are asked for have hash {self.asked.sha256}, not {cell.asked}")
        guide = self._guide_of(cell.guidance[0]) if cell.guidance else None
        return guided_epsilon(self.model, self.dtype, self.asked.of(indices) if cell.asked else (), guide)

    def _guide_of(self, spec: str) -> Guide:
        if spec not in self._guides:
            assert self._guide is not None
            self._guides[spec] = guide = self._guide(spec)
            if guide.second is not None:
                self._place(guide.second)
        return self._guides[spec]

    def heal(self) -> str:
        """What a plugin has changed of model and settings, in words, and puts it right; empty where nothing is."""
        broken = self._seal.broken(self.model)
        if broken:
            self._ready(self._reload())
        return broken

    def start(self) -> None:
        """A new cell: who took the memory of the one before need not be there, so batches are whole again."""
        self.batch_size = self._whole

    def draw(
        self,
        cell: Cell,
        indices: range,
        accounted: Callable[[str], bool] = lambda module: False,
        advance: Callable[[int], None] = lambda samples: None,
    ) -> Shard:
        """The samples `indices` of a cell, in batches that are halved where memory runs out.

        accounted: whether the cell's key knows a module that was loaded on the way. advance: told of samples done.

        Raises Unsuitable, Tampered, and whatever the sampler raises.
        """
        before, generators = loose_modules(), states(GENERATORS)
        try:
            shard = self._draw(cell, indices, advance)
        except BaseException:
            self.heal()
            changed(GENERATORS, generators)
            raise
        broken, drawn_from = self.heal(), changed(GENERATORS, generators)
        if broken:
            raise Tampered(f"{cell.sampler} changed {broken}")
        if drawn_from:
            raise Tampered(
                f"{cell.sampler} drew from the global generator of {drawn_from[0]}; noise(i) is what it is given"
            )
        later = sorted(name for name in loose_modules() - before if not accounted(name))
        if later:
            raise Tampered(
                f"{cell.sampler} loaded the module {later[0]} while it sampled, which the key of its results does not "
                f"hold; {ADVICE}"
            )
        return shard

    def _draw(self, cell: Cell, indices: range, advance: Callable[[int], None]) -> Shard:
        shards: list[Shard] = []
        done = 0
        while done < len(indices):
            batch = indices[done : done + self.batch_size]
            shard = self._batch_or_none(cell, batch)
            if shard is None:
                self.batch_size = max(len(batch) // 2, 1)
                self.notice(f"out of memory: going on with batches of {self.batch_size}")
                if self.device.startswith("cuda"):
                    torch.cuda.empty_cache()
                continue
            shards.append(shard)
            done += len(batch)
            advance(len(batch))
        return Shard.joined(shards)

    def _batch_or_none(self, cell: Cell, indices: range) -> Shard | None:
        """One batch; None where there is no memory for it, and its tensors are gone then."""
        try:
            return self._batch(cell, indices)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _out_of_memory(error) or len(indices) == 1:
                raise
            return None

    def _batch(self, cell: Cell, indices: range) -> Shard:
        assert cell.times is not None
        # sampler and schedule are new ones each time: nothing that is kept on them goes into the next batch
        sampler = self.make(cell.sampler)
        grid = TimeGrid(copy.deepcopy(self.model.schedule), cell.times)
        if plain_options(sampler) != cell.options:
            raise RuntimeError(f"'{cell.sampler}' is made into a sampler of other options: {plain_options(sampler)}")
        noise = NoiseSource(cell.seed, indices, self.model.sample_shape, self.device, self.state_dtype)
        x_T, epsilon = noise.x_T(), self.epsilon(cell, indices)
        started = self._now()
        try:
            drawing = draw(sampler, epsilon, grid, x_T, noise, cell.budget, self.passes)
        except UserError as error:
            raise Unsuitable(str(error)) from None
        sampled = self._now()
        images = self.model.decode(drawing.x0)
        decoded = self._now()
        features, logits = self.extractor.with_logits(quantise(images))
        if not torch.isfinite(features).all():
            raise ValueError("the features of some samples are not finite")
        kept = drawing.x0[: max(KEPT - indices[0], 0)]
        evaluations = torch.from_numpy(drawing.evaluations)
        return Shard(
            features.float().cpu(),
            logits.float().cpu(),
            kept.float().cpu(),
            evaluations,
            torch.from_numpy(drawing.passes),
            (Batch(len(indices), self.hardware, sampled - started, decoded - sampled, self._now() - decoded),),
        )

    def _now(self) -> float:
        """Seconds, with the device's work done."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
