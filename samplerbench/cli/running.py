"""One run as `samplerbench run` was asked for it: in this process, or, with --watch, in another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

import click

from ..bench.config import differing
from ..bench.given import axis_of, default_out, split_names
from ..bench.manifest import manifest
from ..bench.plan import RunConfig
from ..bench.record import records_frame
from ..bench.run import BenchmarkRun
from ..bench.telling import JsonLines, Several
from ..bench.written import WrittenPlan
from ..errors import UserError
from ..options import split_specs
from ..registry import Registry
from ..report.choice import cells
from ..report.compare import compare_with_baseline
from ..report.results import Results
from ..report.terminal.comparison import print_comparisons, print_verdict
from ..report.terminal.progress import RunProgress
from ..report.terminal.table import print_run

__all__ = ["Asked", "once"]


@dataclass(frozen=True)
class Asked:
    """What the command line said. earlier: the run.json that is to be repeated."""

    config: RunConfig
    out: Path
    baseline: str | None = None
    quiet: bool = False
    as_json: bool = False
    log_json: Path | None = None
    plan_only: bool = False
    earlier: Mapping[str, Any] | None = None

    @classmethod
    def of(
        cls,
        samplers: str,
        axes: Mapping[str, str | None],
        metrics: str,
        options: Mapping[str, Any],
        out: Path | None,
        **rest: Any,
    ) -> Asked:
        """The same of options as they are typed; axes: `nfe`, `steps` and `passes`. Raises UserError."""
        names = tuple(split_specs(samplers))
        config = RunConfig(names, **axis_of(**axes), metrics=split_names(metrics), **options)
        return cls(config, out or default_out(), **rest)


def once(asked: Asked, loaded: Callable[[Registry], object] = lambda registry: None) -> int:
    """Runs it, prints the table and the comparison; returns the exit status. loaded: told when plugins are."""
    config = asked.config
    with ExitStack() as stack:
        progress = stack.enter_context(RunProgress(asked.quiet))
        told = [progress]
        if asked.log_json is not None:
            lines = JsonLines(asked.log_json)
            stack.callback(lines.close)
            told.append(lines)  # type: ignore[arg-type]
        benchmark = BenchmarkRun(config, asked.out, Several(told), plan_only=asked.plan_only)
        loaded(benchmark.registry)
        baseline = None if asked.baseline is None else _named(asked.baseline, benchmark)
        if asked.earlier is not None:
            for line in differing(asked.earlier, manifest(benchmark, "")):
                progress.notice(line)
        progress.titles = {metric.name: metric.title for metric in benchmark.metrics}
        stopped: BaseException | None = None
        try:
            benchmark.execute()
        except (KeyboardInterrupt, UserError) as error:  # what was finished is shown first
            stopped = error
    if asked.plan_only and not stopped:
        if not asked.quiet:
            click.echo(_planned(asked.out))
        return 0
    if isinstance(stopped, UserError) and not benchmark.records:
        raise stopped
    try:
        if asked.as_json:
            click.echo(records_frame(benchmark.records, config.metrics).to_json(orient="records", indent=2))
        elif not asked.quiet:
            print_run(benchmark)
            if baseline is not None:
                _compare(benchmark, baseline)
    except OSError:  # a full disk behind `>`, or a reader that is gone
        click.echo(f"what was finished is in {benchmark.store.out}", err=True)
        raise
    if stopped:
        raise stopped
    ends = {record.status for record in benchmark.records}
    return 1 if benchmark.broken or "failed" in ends or "done" not in ends else 0


def _planned(out: Path) -> str:
    """What a plan is of, and the two commands that come next."""
    plan = WrittenPlan.read(out)
    device = plan.setup.device.partition(":")[0]
    return (
        f"{out} holds the plan: {cells(len(plan.cells))} of {plan.samples} samples, for workers on {device}\n"
        "next:\n"
        f"  samplerbench worker {quote(str(out))} --slice I/N      # on machine I of N\n"
        f"  samplerbench run --config {quote(str(out / 'run.json'))} --out {quote(str(out))}"
    )


def _named(baseline: str, benchmark: BenchmarkRun) -> str:
    """The baseline as its rows call it. Raises UserError where it is none of the run's samplers."""
    spec = benchmark.registry.sampler(baseline).spec()
    known = list(dict.fromkeys(cell.cell.sampler for cell in benchmark.cells))
    if spec not in known:
        raise UserError(f"--baseline {baseline} is none of the samplers of this run: {', '.join(known)}")
    if len(known) == 1:
        raise UserError(f"--baseline {baseline} is the only sampler of this run; name others to compare with it")
    return spec


def _compare(benchmark: BenchmarkRun, baseline: str) -> None:
    """Prints every sampler against the baseline, in each metric of which both have a value. What the table of results
    has said of missing errors is not said again.
    """
    if not any(one.value is not None for record in benchmark.records for one in record.metrics.values()):
        click.echo(f"Nothing was measured, so there is nothing to compare with {baseline}.")
        return
    rows, out = records_frame(benchmark.records, benchmark.config.metrics), benchmark.store.out
    told = [record.reason for record in benchmark.records if record.reason]
    for metric in benchmark.metrics:
        results = Results(str(out), rows, out, metric.name)
        ours = results.rows["sampler"] == baseline
        if not ours.any() or ours.all():
            click.echo(f"{metric.title}: nothing to compare with {baseline}; only {'it' if ours.any() else 'others'} "
                       "could be measured")  # fmt: skip
            continue
        comparison = compare_with_baseline(results, baseline, benchmark.registry, metric)
        warnings = [line for line in comparison.warnings if not any(line.endswith(reason) for reason in told)]
        print_comparisons([replace(comparison, warnings=warnings)], as_markdown=False)
        if len(comparison.differences) > 1:  # of one the table is short enough
            print_verdict(comparison)
