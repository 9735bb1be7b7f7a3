"""`samplerbench.run`: what `samplerbench run` does, for a notebook or a script."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from typing import Any, Never

from .bench.execute import Listener
from .bench.given import axis_of, default_out, split_names
from .bench.plan import RunConfig
from .bench.run import BenchmarkRun
from .bench.telling import JsonLines, Several
from .errors import FailedCells, UserError, unknown, whole
from .models.model import Model
from .options import split_specs
from .report.frame import RunFrame, run_frame
from .sampler import Sampler, check_given, check_remade

__all__ = ["run"]

TOLD = 3  # failed cells that a warning names


def run(
    samplers: str | Sampler | Sequence[str | Sampler],
    *,
    nfe: int | str | Sequence[int] | None = None,
    steps: int | str | Sequence[int] | None = None,
    passes: int | str | Sequence[int] | None = None,
    model: str | PathLike[str] | Model = "fashion-mnist",
    prompts: str | PathLike[str] | None = None,
    guidance: str | float | Sequence[str | float] = (),
    metrics: str | Sequence[str] = "fid",
    samples: int = 1024,
    seed: int = 0,
    batch_size: int | None = None,
    device: str = "auto",
    dtype: str = "float32",
    compile: str = "no",
    fast: bool = False,
    extractor: str | None = None,
    extractor_weights: str | PathLike[str] | None = None,
    reference: str | PathLike[str] | None = None,
    data_root: str | PathLike[str] | None = None,
    plugins: str | PathLike[str] | Sequence[str | PathLike[str]] = (),
    out: str | PathLike[str] | None = None,
    cache: str | PathLike[str] | None = None,
    fresh: bool = False,
    workers: str | int = "serial",
    cell_timeout: float | None = None,
    progress: bool = False,
    log_json: str | PathLike[str] | None = None,
    listener: Listener | None = None,
    **others: Never,
) -> RunFrame:
    """Runs samplers against a model and returns the table of results; what `samplerbench run` does.

    Args:
        samplers: 'ddim,dpm:order=1', a `Sampler`, or a list of such. 'dpm:order=2@5/6' is run on the budgets 5 and 6
            alone, whatever `nfe` is. A `Sampler` need not be registered. That of a class without a file, made in a
            notebook, is drawn anew each time.
        nfe: Budgets of network evaluations, '5,10', [5, 10] or 5; the default is 5, 10, 20, 50.
        steps: Grid steps, as papers count, in place of `nfe`.
        passes: Budgets of passes through networks, of which a guided evaluation takes two; in place of `nfe`.
        model: What `samplerbench run --model` takes, or a `Model` as `load_model` gives it.
        prompts: A file of what samples are asked for, a line each in turn; None for the model's own.
        guidance: Scales, such as [1, 2, 4], or specs of guiders; 1 is none.
        metrics: 'fid,kid' or a list of names; see `samplerbench list metrics`.
        samples: How many samples a cell draws.
        seed: Of x_T and of every later draw.
        batch_size: Samples at once; None picks 128 on a CPU, and on a GPU what half of its memory holds.
        device: auto, cpu, cuda or cuda:N.
        dtype: Precision of the network: float32, tf32, float64, bfloat16 or float16.
        compile: How torch compiles the network: no, inductor or graphs.
        fast: bfloat16 and compiled.
        extractor: The feature extractor; None for the model's own.
        extractor_weights: The extractor's file or folder.
        reference: Real images, a file of statistics or images or a dataset's name; None for the model's own.
        data_root: Where the files of a dataset are.
        plugins: FILE.py, FOLDER or module names with samplers, metrics, models, … of your own.
        out: Folder for results.csv, run.json and samples; by default a new one under results/. A run that was stopped
            goes on when its folder is named again.
        cache: Folder of finished work.
        fresh: Compute everything anew, whatever the folders hold.
        workers: Who samples: 'serial', this process; a number of others; 'gpus' or 'ray[:ADDRESS]'.
        cell_timeout: Seconds that sampling a cell may take.
        progress: Show how far it is, in a notebook or on standard error.
        log_json: A file to which events are added as lines of JSON.
        listener: Told of progress.

    Returns:
        The rows as a pandas DataFrame, which a notebook shows as the table of samplers and evaluations. A row is a
            cell, skipped and failed ones too. It has the columns of `samplerbench.bench.record.COLUMNS`, and four a
            metric, which are its name and that with `_se`, `_n` and `_sha256`.

    Warns FailedCells where cells failed. Raises UserError for bad input; then nothing was run.
    """
    for name in others:
        raise unknown("option of run", name, [name for name in run.__annotations__ if name not in ("others", "return")])
    if isinstance(samplers, str):
        samplers = split_specs(samplers)
    given = list(samplers) if isinstance(samplers, Sequence) else [samplers]
    objects = [one for one in given if not isinstance(one, str)]
    for one in objects:
        check_given(one)
        check_remade(one)
    named: dict[str, Any] = {"device": device, "dtype": dtype, "compile": compile, "extractor": extractor}
    for name, text in named.items():
        if not isinstance(text, str) and not (name == "extractor" and text is None):
            raise UserError(f"{name} is text, got {text!r}")
    for name, flag in {"fast": fast, "fresh": fresh, "progress": progress}.items():
        if not isinstance(flag, bool):
            raise UserError(f"{name} is True or False, got {flag!r}")
    if isinstance(cell_timeout, bool) or not (cell_timeout is None or isinstance(cell_timeout, int | float)):
        raise UserError(f"cell_timeout is a number of seconds, got {cell_timeout!r}")
    if listener is not None and not isinstance(listener, Listener):
        raise UserError(f"listener is a samplerbench.bench.execute.Listener, got {listener!r}")
    config = RunConfig(
        samplers=tuple(one if isinstance(one, str) else Sampler.spec(one) for one in given),
        model=model.name if isinstance(model, Model) else str(model),
        metrics=split_names(metrics),
        **axis_of(nfe, steps, passes),
        samples=whole("samples", samples),
        seed=whole("seed", seed),
        batch_size=None if batch_size is None else whole("batch_size", batch_size),
        device=device,
        dtype=dtype,
        prompts=_path("prompts", prompts),
        guidance=split_names(guidance if isinstance(guidance, str) else _texts(guidance)),
        compile=compile,
        fast=fast,
        extractor=extractor,
        extractor_weights=_path("extractor_weights", extractor_weights),
        reference=None if reference is None else str(reference),
        data_root=_path("data_root", data_root),
        plugins=_named(plugins),
        cache=_path("cache", cache),
        fresh=fresh,
        workers=str(workers),
        cell_timeout=cell_timeout,
    )
    with ExitStack() as stack:
        told = [listener] if listener else []
        if log_json is not None:
            told.append(lines := JsonLines(_path("log_json", log_json) or Path()))
            stack.callback(lines.close)
        if progress:
            from .report.notebook import progress_here

            told.append(stack.enter_context(progress_here()))
        place = (_path("out", out) if out else None) or default_out()
        loaded = model if isinstance(model, Model) else None
        benchmark = BenchmarkRun(config, place, Several(told), objects, loaded)
        benchmark.execute()
    _warn(benchmark)
    return run_frame(benchmark)


def _texts(guidance: float | Sequence[str | float]) -> list[str]:
    return list(map(str, guidance if isinstance(guidance, Sequence) else [guidance]))


def _path(name: str, given: object) -> Path | None:
    if given is not None and not isinstance(given, str | PathLike):
        raise UserError(f"{name} is a path, got {given!r}")
    return None if given is None else Path(given)


def _named(plugins: object) -> tuple[str, ...]:
    """What `plugins` names, as text."""
    given = [plugins] if isinstance(plugins, str | PathLike) else plugins
    if not isinstance(given, Sequence) or not all(isinstance(one, str | PathLike) for one in given):
        raise UserError(f"plugins are paths or names of modules, like ['mine.py'], got {plugins!r}")
    return tuple(map(str, given))


def _warn(benchmark: BenchmarkRun) -> None:
    pairs = zip(benchmark.cells, benchmark.records, strict=True)
    failed = [f"{cell.label}: {record.reason}" for cell, record in pairs if record.status == "failed"]
    if failed:
        more = f"; and {len(failed) - TOLD} more" if len(failed) > TOLD else ""
        text = f"{len(failed)} of {len(benchmark.cells)} cells failed: {'; '.join(failed[:TOLD])}{more}"
        warnings.warn(FailedCells(f"{text}; tracebacks: {benchmark.store.out / 'errors'}"), stacklevel=3)
