"""Who draws the samples of cells: a loaded model, an extractor and a device. A `Cell`, which is plain, tells it all
that it needs. What this module imports is what the key of a shard holds of our own code (see `Cell.core`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ..diffusion.denoiser import Epsilon
from ..diffusion.grid import TimeGrid
from ..diffusion.noise import NoiseSource
from ..drawing import draw
from ..errors import UserError
from ..images import quantise
from ..metrics.extractors import LoadedExtractor
from ..models.compiled import check_compiled, compiled, is_kernel
from ..models.condition import Asked
from ..models.guided import Guide, guided_epsilon
from ..models.model import Model
from ..models.networks.experts import networks_of
from ..modules import ADVICE, loose_modules
from ..sampler import Sampler
from ..settings import GENERATORS, changed, states
from .cell import Cell, plain_options
from .clock import Clock, Spans, forget_peak, peak_megabytes
from .memory import fitting, unless_full
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
        batch_size: None for 128 on a CPU, and for what fits into the memory of a GPU. It is halved for the rest of a
            cell where memory runs out, as is the number of images that the extractor is given at once.
        hardware: what the device is, by name. notice: told a line that the user should know.
        how_compiled: the network, one of `COMPILED`.
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
        batch_size: int | None,
        hardware: str,
        notice: Callable[[str], None],
        how_compiled: str = "no",
        guide: Callable[[str], Guide] | None = None,
        asked: Asked | None = None,
    ) -> None:
        check_compiled(how_compiled, device)
        self.compiled, self._warm = how_compiled, how_compiled == "no"
        self._reload, self.extractor, self.make, self.notice = reload, extractor, make, notice
        self._guide, self.asked = guide, asked or Asked()
        self.device, self.dtype, self.hardware = device, dtype, hardware
        self._images = IMAGES
        self.state_dtype = torch.float64 if dtype == "float64" else torch.float32
        self.clock = Clock(device)
        self._whole = batch_size or 0
        self._ready(model)
        self.batch_size = self._whole

    def _ready(self, model: Model) -> None:
        self.model, self._guides, passes = model, dict[str, Guide](), 0

        def begin(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            nonlocal passes
            passes += len(arguments[0])
            self.clock.start("network")

        def end(*_: object) -> None:
            self.clock.stop("network")

        self._hooks, self.passes = (begin, end), lambda: passes
        self._place(model)
        self._seal = Seal.of(self.model)

    def _place(self, model: Model) -> None:
        """Moves a model's networks to the device, and counts the rows that its ε_θ is run on."""
        for module in model.networks().values():
            module.to(memory_format=torch.channels_last).to(self.device, self.state_dtype)
        # autocast casts weights once, and not at every call, where they take gradients; none is ever computed
        model.predictor.requires_grad_(self.dtype in ("bfloat16", "float16"))
        self._whole = self._whole or self._fitting()
        if self.compiled != "no":
            predictor = model.predictor.requires_grad_(False)
            predictor.network = compiled(predictor.network, self.compiled, model.epsilon(self.dtype).lowered)
        if model.checkpoint.classifier is not None:
            self._count(model.checkpoint.classifier.network)
        for network in networks_of(model.predictor.network):
            self._count(network)

    def _count(self, network: nn.Module) -> None:
        begin, end = self._hooks
        network.register_forward_pre_hook(begin)
        network.register_forward_hook(end)

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
            if guide.classifier is not None:
                self._count(guide.classifier.network.to(self.device, self.state_dtype))
            self._seal = self._seal.with_guide(spec, guide)
        return self._guides[spec]

    def _fitting(self) -> int:
        """Samples at once on this device. Guidance takes twice the rows: batches of too many are halved."""
        if self.device == "cpu":
            return 128
        path, shape = self.model.schedule, self.model.sample_shape
        time = (path.t_min + path.t_max) / 2

        @torch.no_grad()
        def call(samples: int) -> None:
            epsilon = self.model.epsilon(self.dtype, self.asked.of(range(samples)) if self.asked.lines else ())
            epsilon(torch.zeros(samples, *shape, dtype=self.state_dtype, device=self.device), time)

        return fitting(call, self.device)

    def heal(self) -> str:
        """What a plugin has changed of model and settings, in words, and puts it right; empty where nothing is."""
        broken = self._seal.broken(self.model, self._guides)
        if broken:
            self._ready(self._reload())
        return broken

    def start(self) -> None:
        """A new cell: who took the memory of the one before need not be there, so batches are whole again."""
        self.batch_size, self._images = self._whole, IMAGES

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
        if not self._warm:
            self._warmed(min(self.batch_size, len(indices)))
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
        loaded = (name for name in loose_modules() - before if not accounted(name))
        later = sorted(name for name in loaded if self.compiled == "no" or not is_kernel(name))
        if later:
            raise Tampered(
                f"{cell.sampler} loaded the module {later[0]} while it sampled, which the key of its results does not "
                f"hold; {ADVICE}"
            )
        return shard

    def _warmed(self, batch: int) -> None:
        """Compiles the network before anything is timed."""
        self.notice("compiling the network, once a worker: this takes half a minute or so")
        shape = batch, *self.model.sample_shape
        x = torch.zeros(shape, dtype=self.state_dtype, device=self.device)
        asked = self.model.rows(self.asked.of(range(batch))) if self.asked.lines else {}
        with torch.no_grad(), self.model.epsilon(self.dtype).precision(x):
            for network in networks_of(self.model.predictor.network):
                network(x, torch.ones(batch, device=self.device), **asked)
        self._warm = True

    def _draw(self, cell: Cell, indices: range, advance: Callable[[int], None]) -> Shard:
        batches: list[_Batch] = []
        done = 0
        while done < len(indices):
            some = indices[done : done + self.batch_size]
            batch = unless_full(partial(self._batch, cell, some), smallest=len(some) == 1)
            if batch is None:
                self.batch_size = max(len(some) // 2, 1)
                self.notice(f"out of memory: going on with batches of {self.batch_size}")
                continue
            batches.append(batch)
            done += len(some)
            advance(len(some))
        return self._shard(batches)

    def _shard(self, batches: list[_Batch]) -> Shard:
        """Batches one behind the other, once the device is done with them."""
        self.clock.done()
        features = torch.cat([batch.features for batch in batches])
        if not torch.isfinite(features).all():
            raise ValueError("the features of some samples are not finite")
        evaluations = torch.cat([batch.evaluations for batch in batches])
        return Shard(
            features,
            torch.cat([batch.logits for batch in batches]),
            torch.cat([batch.x0 for batch in batches]),
            evaluations,
            torch.cat([batch.passes for batch in batches]),
            tuple(self._told(batch) for batch in batches),
        )

    def _told(self, batch: _Batch) -> Batch:
        """How a batch was drawn."""
        took = self.clock.seconds(batch.spans)
        sampler = max(took["sampling"] - took["network"], 0.0)
        return Batch(
            samples=len(batch.features),
            hardware=self.hardware,
            network=took["network"],
            sampler=sampler,
            decoding=took["decoding"],
            features=took["features"],
            waiting=0.0,
            memory=batch.memory,
            at_once=len(batch.features),
        )

    def _batch(self, cell: Cell, indices: range) -> _Batch:
        assert cell.times is not None
        # sampler and schedule are new ones each time: nothing that is kept on them goes into the next batch
        sampler = self.make(cell.sampler)
        grid = TimeGrid(copy.deepcopy(self.model.schedule), cell.times)
        if plain_options(sampler) != cell.options:
            raise RuntimeError(f"'{cell.sampler}' is made into a sampler of other options: {plain_options(sampler)}")
        self.clock.take()
        forget_peak(self.device)
        epsilon = self.epsilon(cell, indices)
        with self.clock.part("sampling"):
            noise = NoiseSource(cell.seed, indices, self.model.sample_shape, self.device, self.state_dtype)
            try:
                drawing = draw(sampler, epsilon, grid, noise.x_T(), noise, cell.budget, self.passes)
            except UserError as error:
                raise Unsuitable(str(error)) from None
        with self.clock.part("decoding"):
            images = self.model.decode(drawing.x0)
        with self.clock.part("features"):
            features, logits = self._extracted(quantise(images))
            logits = self.extractor.kept(features, logits)
        kept = drawing.x0[: max(KEPT - indices[0], 0)]
        return _Batch(
            _to_host(features.float()),
            _to_host(logits.float()),
            _to_host(kept.float()),
            torch.from_numpy(drawing.evaluations),
            torch.from_numpy(drawing.passes),
            self.clock.take(),
            peak_megabytes(self.device),
        )

    def _extracted(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits of images, some at a time. Where memory runs out, nothing that is there is done again."""
        parts: list[tuple[Tensor, Tensor]] = []
        done = 0
        while done < len(images):
            some = images[done : done + self._images]
            part = unless_full(partial(self.extractor.with_logits, some), smallest=len(some) == 1)
            if part is None:
                self._images = max(len(some) // 2, 1)
                self.notice(f"out of memory in the feature extractor: going on with {self._images} images at once")
                continue
            parts.append(part)
            done += len(some)
        features, logits = (torch.cat(each) if len(parts) > 1 else each[0] for each in zip(*parts, strict=True))
        return features, logits


IMAGES = 256  # that an extractor is given at once


@dataclass(frozen=True)
class _Batch:
    """What was drawn at once, on the host, where it may not have arrived yet. spans: of the clock. memory: the peak."""

    features: Tensor
    logits: Tensor
    x0: Tensor
    evaluations: Tensor
    passes: Tensor
    spans: Spans
    memory: int


def _to_host(tensor: Tensor) -> Tensor:
    """The tensor on the host; from a GPU on its way there, for which nothing waits."""
    if tensor.device.type == "cpu":
        return tensor
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
