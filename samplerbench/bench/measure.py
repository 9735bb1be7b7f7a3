"""A cell's metrics, from what was drawn of it."""

from __future__ import annotations

import copy
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..code import code_sha256
from ..data import Images, load_images
from ..diffusion.denoiser import Epsilon
from ..diffusion.grid import TimeGrid
from ..errors import UserError, contained, one_line
from ..images import quantise
from ..metrics.measured import Measured, Unmeasurable
from ..metrics.metric import Drawn, Metric
from ..metrics.reference import Reference
from ..models.model import Model
from ..sampler import Sampler
from .cell import Cell
from .keep import Keeper
from .seal import Tampered
from .shards import Shard
from .worker import Worker

__all__ = ["Measurements", "Measurer", "real_images"]

KNOWN = (
    "model",
    "dtype",
    "compiled",
    "seed",
    "asked",
    "guidance",
    "device",
    "core",
    "torch",
)  # of a cell, what ε and noise are
GRID = 64  # samples of a cell's picture


@dataclass
class Measurements:
    """What was measured of a cell: each metric that could be had, the first samples for a picture, uint8 [N, C, H, W];
    for those that could not be had the reasons, and a traceback where a metric failed. seconds: all that it took.
    """

    images: Tensor
    found: dict[str, Measured] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    details: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Measurer:
    """Measures cells.

    metrics: with the hash of each one's code, and of the images that it needs. keeper: for what is costly and belongs
    to the model. data_root: where the files of the model's dataset are. progress: told how far a long computation has
    come. confirm: raises where a file that the metric of that name depends on is no longer what was hashed.
    """

    metrics: Sequence[tuple[Metric, str]]
    reference: Reference
    worker: Worker
    keeper: Keeper
    data_root: Path | None
    notice: Callable[[str], None]
    progress: Callable[[str], None]
    confirm: Callable[[str], None]

    @property
    def beside(self) -> bool:
        """Whether all may be measured in a thread: by our own metrics, which touch nothing but what they are given."""
        return all(_ours(metric) and metric.on_features and not metric.needs_classes for metric, _ in self.metrics)

    def measure(self, cell: Cell, sampler: Sampler, whole: Shard, beside: bool = False) -> Measurements:
        """Every metric of a cell, from its samples 0..n-1. One that fails costs its own column. beside: whether others
        use model and settings meanwhile, so that nothing can be said of who changed them.
        """
        started = time.perf_counter()
        first = whole.x0[:GRID].to(self.worker.device, self.worker.state_dtype)
        result = Measurements(quantise(self.worker.model.decode(first)).cpu())
        for metric, code in self.metrics:
            measured: Measured | None = None
            error: Exception | None = None
            try:
                drawn = self._drawn(metric, code, cell, sampler, whole)
                with contained(metric.name):
                    measured = _checked(metric, metric.measure(drawn))
                self.confirm(metric.name)
            except Unmeasurable as reason:
                result.reasons.append(str(reason))
            except Exception as raised:
                error = raised
            if not beside and (broken := self.worker.heal()):
                error = Tampered(f"{metric.name} changed {broken}")
            if error:
                result.reasons.append(f"{metric.name} failed: {one_line(error)}")
                result.details += "".join(traceback.format_exception(error))
            elif measured:
                result.found[metric.name] = measured
                if measured.note:
                    result.reasons.append(f"{metric.name}: {measured.note}")
        result.seconds = time.perf_counter() - started
        return result

    def _drawn(self, metric: Metric, code: str, cell: Cell, sampler: Sampler, whole: Shard) -> Drawn:
        """What a metric is given is its own: whatever it does to it, the next one has it as it was. Our own metrics
        change nothing, and are given no copy of what is large.
        """
        worker, own = self.worker, _ours(metric)
        assert cell.times is not None
        logits: Tensor | None = whole.logits
        if not whole.logits.shape[1]:
            wanted = metric.needs_classes or not own
            logits = worker.extractor.logits_of(whole.features, worker.device) if wanted else None
        return Drawn(
            features=whole.features if own else whole.features.clone(),
            logits=logits if own or logits is None else logits.clone(),
            x0=whole.x0.clone(),
            labels=self._labels(len(whole.features)),
            prompts=self._prompts(len(whole.features)),
            text=self._text,
            reference=copy.deepcopy(self.reference),
            sampler=copy.copy(sampler),
            grid=TimeGrid(copy.deepcopy(worker.model.schedule), cell.times),
            epsilon=worker.epsilon(cell, range(len(whole.x0))),
            guided=bool(cell.guidance),
            unasked=self._unasked(),
            coder=worker.model.checkpoint.decoder,
            seed=cell.seed,
            device=worker.device,
            dtype=worker.state_dtype,
            keep=partial(self._keep, cell, code),
            real_images=partial(self._real_images, metric),
            notice=self.notice,
            progress=self.progress,
        )

    def _unasked(self) -> Callable[[int], Epsilon] | None:
        """The model's ε for so many samples that are asked for nothing, where it knows that."""
        model, dtype = self.worker.model, self.worker.dtype
        if model.conditioner is None:
            return lambda count: model.epsilon(dtype)
        nothing = model.conditioner.nothing
        return None if nothing is None else lambda count: model.epsilon(dtype, [nothing] * count)

    def _labels(self, count: int) -> Tensor | None:
        """The classes that samples were asked for."""
        asked, conditioner = self.worker.asked, self.worker.model.conditioner
        if conditioner is None:
            return None
        known = {line: conditioner.label(line) for line in dict.fromkeys(asked.lines)}
        return torch.tensor([-1 if known[line] is None else known[line] for line in asked.of(range(count))])

    def _prompts(self, count: int) -> list[str] | None:
        conditioner = self.worker.model.conditioner
        if conditioner is None or conditioner.kind != "prompt":
            return None
        return self.worker.asked.of(range(count))

    def _text(self, lines: Sequence[str]) -> Tensor:
        """Embeddings of prompts, each computed once."""
        different = list(dict.fromkeys(lines))
        found, cut = self.worker.extractor.text(different)
        if cut:
            name = self.worker.extractor.spec
            self.notice(f"{cut} of {len(different)} prompts are longer than extractor '{name}' takes, and were cut")
        place = {line: i for i, line in enumerate(different)}
        return found[[place[line] for line in lines]]

    def _keep(
        self,
        cell: Cell,
        code: str,
        name: str,
        identity: dict[str, Any],
        compute: Callable[[], dict[str, Tensor]],
        made_by: str = "",
    ) -> dict[str, Tensor]:
        known = {field: getattr(cell, field) for field in KNOWN}
        code = code_sha256(made_by) if made_by else code
        return self.keeper(name, known | {"code": code, "identity": identity}, compute)

    def _real_images(self, metric: Metric) -> Tensor:
        if not metric.needs_images:
            raise TypeError(f"{metric.name} asks for real images; it has to say so: needs_images = True")
        return real_images(self.worker.model, self.data_root).images


def _ours(metric: Metric) -> bool:
    return type(metric).__module__.startswith(f"{__name__.partition('.')[0]}.")


def real_images(model: Model, data_root: Path | None) -> Images:
    """The test images of a model's dataset. Raises Unmeasurable where they cannot be had."""
    recipe = model.checkpoint.training.get("recipe", {})
    name = recipe.get("data", {}).get("dataset")
    if not name:
        raise Unmeasurable(f"model '{model.name}' does not say which dataset it was trained on")
    try:
        return load_images(name, data_root, train=False)
    except UserError as error:
        raise Unmeasurable(str(error)) from None


def _checked(metric: Metric, measured: object) -> Measured:
    """What a metric returned. Raises TypeError or ValueError where it cannot stand in a row."""
    if not isinstance(measured, Measured):
        raise TypeError(f"{metric.name}.measure returned {type(measured).__name__}, expected a Measured")
    return measured
