"""From what was asked for to the list of cells."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import inf
from pathlib import Path

import numpy as np
import torch

from ..code import code_sha256
from ..diffusion.grid import MOST_STEPS, TimeGrid
from ..diffusion.grid_file import FILE
from ..diffusion.schedule import NoiseSchedule
from ..diffusion.spacing import explicit_times
from ..drawing import why_unsuitable
from ..errors import UserError, contained, one_line, unknown
from ..files import content_key, sha256
from ..metrics.extractors import LoadedExtractor
from ..models.compiled import COMPILED
from ..models.guided import asked_of
from ..models.model import Model
from ..options import split_budgets
from ..registry import Registry
from ..sampler import Sampler
from ..sampling import plan_grid
from .cell import Axis, Cell, plain_options
from .given import prompts_in
from .guides import guidance_of
from .pools.names import check_workers

__all__ = [
    "DTYPES", "Planned", "RunConfig", "chosen_samplers", "code_of", "plan_cells",
    "told_of_spacings",
]  # fmt: skip

DTYPES = ("float32", "tf32", "float64", "bfloat16", "float16")
MOST_SAMPLES = 10**7  # their features alone are tens of gigabytes
OF_TIME = ("uniform", "linspace", "trailing", "quadratic", "time-quadratic")  # spacings even in t, or in its root


@dataclass(frozen=True)
class RunConfig:
    """What a run was asked to do; checked when made.

    Attributes:
        samplers: specs such as 'ddim:eta=0.5'; 'dpm:order=2@5/6' is wanted at the values 5 and 6 alone, whatever
            `values` are.
        axis: whether `values` are budgets of evaluations (`nfe`) or grid steps (`steps`). values: those of the samplers
            that name none.
        in_passes: whether `values` are budgets of passes through networks, of which a guided evaluation takes two.
        samples: how many samples a cell draws, with indices 0..samples-1.
        batch_size: None picks 128 on a CPU, and on a GPU what half of its free memory holds, 4,096 at most.
        compile: how torch compiles the network: no, inductor, or graphs on a GPU.
        fast: bfloat16 and compiled.
        metrics: names of what is measured; the first is what the table shows first.
        reference: a file of statistics or images, or the name of a dataset; None for the model's own.
        data_root: where the files of a dataset are, for such a reference and for metrics that need real images.
        cache: folder of finished shards; None is $SAMPLERBENCH_CACHE or a folder under the user's cache.
        fresh: compute everything anew, whatever is in the cache and the output folder.
        workers: who samples: serial, a number of processes, gpus, or ray[:ADDRESS].
        guidance: specs such as '2' or 'cfg:scale=2:high=5'; each sampler is run with each; a scale of 1 is none.
        prompts: a file of the lines that samples are asked for in turn; None for the model's own.
        cell_timeout: seconds that sampling a cell may take; None for any number.
    """

    samplers: tuple[str, ...]
    values: tuple[int, ...] = (5, 10, 20, 50)
    axis: Axis = "nfe"
    in_passes: bool = False
    model: str = "fashion-mnist"
    samples: int = 1024
    seed: int = 0
    batch_size: int | None = None
    device: str = "auto"
    dtype: str = "float32"
    compile: str = "no"
    fast: bool = False
    extractor: str | None = None
    extractor_weights: Path | None = None
    reference: str | None = None
    plugins: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ("fid",)
    data_root: Path | None = None
    cache: Path | None = None
    fresh: bool = False
    workers: str = "serial"
    cell_timeout: float | None = None
    guidance: tuple[str, ...] = ()
    prompts: Path | None = None

    def __post_init__(self) -> None:
        if not self.samplers:
            raise UserError("no sampler was named; try --samplers ddim,dpm")
        if not self.values:
            raise UserError(f"no {self.axis} was given")
        for value in (*self.values, *(value for text in self.samplers for value in split_budgets(text)[1] or ())):
            if not 1 <= value <= MOST_STEPS:
                raise UserError(f"{self.axis} is from 1 to {MOST_STEPS}, got {value}")
        if self.samples < 2:
            raise UserError(f"samples is at least 2 (a covariance needs two), got {self.samples}")
        if self.samples > MOST_SAMPLES:
            raise UserError(f"samples is at most {MOST_SAMPLES}, got {self.samples}")
        if not 0 <= self.seed < 2**64:
            raise UserError(f"seed is at least 0 and below 2^64, got {self.seed}")
        if self.batch_size is not None and self.batch_size < 1:
            raise UserError(f"batch-size is at least 1, got {self.batch_size}")
        if self.batch_size is not None and self.batch_size > MOST_SAMPLES:
            raise UserError(f"batch-size is at most {MOST_SAMPLES}, got {self.batch_size}")
        if not self.metrics:
            raise UserError("no metric was named; try --metrics fid")
        if self.data_root is not None and not self.data_root.exists():
            raise UserError(f"--data-root {self.data_root}: no such file or folder")
        check_workers(self.workers)
        if self.cell_timeout is not None and not 0 < self.cell_timeout < inf:
            raise UserError(f"cell-timeout is a number of seconds above 0, got {self.cell_timeout:g}")
        if self.dtype not in DTYPES:
            raise unknown("dtype", self.dtype, DTYPES)
        if self.fast:
            if self.dtype not in ("float32", "bfloat16"):
                raise UserError(f"--fast is --dtype bfloat16 --compile; leave out --dtype {self.dtype}")
            object.__setattr__(self, "dtype", "bfloat16")
            object.__setattr__(self, "compile", "inductor" if self.compile == "no" else self.compile)
        if self.compile not in COMPILED:
            raise unknown("compile", self.compile, COMPILED)

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """Those of `prompts`; none without it. It is read once: it may be a pipe, or change. Raises UserError."""
        return () if self.prompts is None else prompts_in(self.prompts)


@dataclass(frozen=True)
class Planned:
    """A cell of the plan. claimed: the evaluations that a sample is expected to take, 0 where the cell cannot be run,
    for `reason`; details: a plugin's traceback.
    """

    cell: Cell
    sampler: Sampler
    claimed: int
    reason: str = ""
    details: str = ""

    @property
    def label(self) -> str:
        return self.cell.label


def chosen_samplers(config: RunConfig, registry: Registry) -> dict[str, tuple[Sampler, tuple[int, ...]]]:
    """The samplers asked for, by their specs, each with the budgets, or steps, that it is wanted at: those behind its
    @, or else the run's. Raises UserError for one that there is not.
    """
    found: dict[str, tuple[Sampler, tuple[int, ...]]] = {}
    for text in config.samplers:
        spec, only = split_budgets(text)
        sampler = registry.sampler(spec)
        name = Sampler.spec(sampler)
        before = found[name][1] if name in found else ()
        found[name] = sampler, tuple(sorted({*before, *(config.values if only is None else only)}))
    return found


def told_of_spacings(samplers: Iterable[Sampler], schedule: NoiseSchedule) -> list[str]:
    """A line where default spacings are ones of time on a path whose time is σ: they were made for other paths, where
    even times give small noise its share of the steps. On EDM's path ten even times leave one step for all σ below 8.
    """
    middle, end = np.exp(-schedule.half_log_snr([(schedule.t_min + schedule.t_max) / 2, schedule.t_max]))
    if not np.isclose(middle / end, 0.5, atol=0.05):
        return []
    meant = [one for one in samplers if one.spacing in OF_TIME and one.spacing == type(one)().spacing]
    if not meant:
        return []
    named = ", ".join(dict.fromkeys(f"{one.name} ({one.spacing})" for one in meant))
    return [
        f"time is σ on this path ({schedule.name}), and spacings of time leave few steps for small σ: {named} by "
        "default; try :spacing=karras or :spacing=logsnr"
    ]


def plan_cells(
    config: RunConfig,
    samplers: Mapping[str, tuple[Sampler, tuple[int, ...]]],
    registry: Registry,
    model: Model,
    extractor: LoadedExtractor,
    device: str,
) -> list[Planned]:
    """Every sampler on every budget that it is wanted at, in the order asked for. Raises UserError for listed times
    that no budget makes a grid.
    """
    for spec, (sampler, _) in samplers.items():
        listed = explicit_times(sampler.spacing)
        if listed is not None:
            try:
                TimeGrid(model.schedule, listed)
            except UserError as error:
                raise UserError(f"{spec}: {error}") from None
    core, asked = code_sha256("samplerbench.bench.worker"), asked_of(model, config.lines)
    guidances = [guidance_of(registry, spec, model, asked.lines) for spec in config.guidance] or [()]
    wanted = dict.fromkeys(
        (guidance, spec, value // (2 if guidance and config.in_passes else 1))
        for guidance in guidances
        for spec, (_, values) in samplers.items()
        for value in values
    )
    if unpaid := [guidance for guidance, _, value in wanted if not value]:
        raise UserError(f"--passes 1 pays for no guided evaluation, which takes two (guidance {unpaid[0][0]})")
    grids = {
        (spec, value): _grid(samplers[spec][0], value, config.axis, model)
        for spec, value in dict.fromkeys((spec, value) for _, spec, value in wanted)
    }
    plan = []
    # only now is code hashed: all of it has planned, and loaded what it may
    codes = {spec: code_of(sampler, registry) for spec, (sampler, _) in samplers.items()}
    for guidance, spec, value in wanted:
        sampler, (times, claimed, reason, details) = samplers[spec][0], grids[spec, value]
        cell = Cell(
            model=model.sha256,
            sampler=spec,
            options=plain_options(sampler),
            code=codes[spec],
            axis=config.axis,
            value=value,
            times=times,
            seed=config.seed,
            asked=asked.sha256,
            guidance=guidance,
            dtype=config.dtype,
            compiled=config.compile,
            device=device.partition(":")[0],
            extractor=(extractor.spec, extractor.layer, extractor.sha256, extractor.code),
            core=core,
            torch=torch.__version__,
        )
        plan.append(Planned(cell, sampler, claimed, reason, details))
    return plan


def code_of(sampler: Sampler, registry: Registry) -> str:
    """The hash of a sampler's code, with that of its spacing where it is a plugin's, or of its file of grids."""
    code = registry.entry(sampler.name).code_sha256
    if sampler.spacing.startswith(FILE):
        return content_key([code, sha256(Path(sampler.spacing.removeprefix(FILE)))])
    if sampler.spacing in {r.cls.name for r in registry.spacings}:
        return content_key([code, registry.find("spacings", sampler.spacing).code_sha256])
    return code


def _grid(sampler: Sampler, value: int, axis: Axis, model: Model) -> tuple[tuple[float, ...] | None, int, str, str]:
    """Times, claimed evaluations, and why there are none: a reason, and a traceback where the plugin failed."""
    try:
        with contained(sampler.name):
            if why := why_unsuitable(sampler, model.schedule, model.epsilon()):
                raise UserError(f"{sampler.name} is unsuitable: {why}")
            grid = plan_grid(sampler, model.schedule, **{axis: value})
            return grid.times, int(sampler.evaluations(grid.steps)), "", ""
    except UserError as error:
        return None, 0, str(error), ""
    except Exception as error:
        return None, 0, one_line(error), traceback.format_exc()
