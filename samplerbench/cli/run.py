"""`samplerbench run`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import UserError


@click.command(context_settings={"show_default": True})
@click.option(
    "--samplers", required=True, metavar="NAME[:key=value]…,…", help="Samplers to run, with options: ddim:eta=0.5,dpm"
)
@click.option("--nfe", metavar="N,N,…", help="Budgets of network evaluations.  [default: 5,10,20,50]")
@click.option(
    "--steps", metavar="N,N,…", help="Grid steps instead, as papers count; the evaluations they took are in the table."
)
@click.option(
    "--model",
    default="fashion-mnist",
    metavar="NAME|PATH",
    help="A shipped model, or a folder, file, hf:OWNER/NAME or package.module:factory; see `samplerbench list models`.",
)
@click.option("--metrics", default="fid", metavar="NAME,…", help="What to measure; see `samplerbench list metrics`.")
@click.option("--samples", default=1024, help="Samples a cell.")
@click.option("--seed", default=0, help="Seed of x_T and of every later draw.")
@click.option("--batch-size", type=int, help="Samples at once.  [default: 128 on a CPU, 512 on a GPU]")
@click.option("--device", default="auto", metavar="auto|cpu|cuda", help="Where the network runs.")
@click.option(
    "--dtype", default="float32", metavar="float32|float64|bfloat16|float16", help="Precision of the network."
)
@click.option(
    "--extractor",
    metavar="NAME[:key=value]…",
    help="Feature extractor of the FID; see `samplerbench list extractors`.  [default: the model's own]",
)
@click.option(
    "--extractor-weights",
    type=click.Path(path_type=Path),
    help="Weights of the extractor, where they are not to be downloaded.",
)
@click.option(
    "--reference",
    metavar="FILE|DATASET",
    help="Real images: a file of statistics or of images, or a dataset's name.  [default: the model's own]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for results.csv, run.json and samples.  [default: results/DATE-TIME]",
)
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="FILE.py|FOLDER|MODULE",
    help="Samplers, metrics and extractors of your own; may be given several times.",
)
@click.option(
    "--data-root",
    type=click.Path(path_type=Path, exists=True),
    help="Where a dataset's files are, for a reference and for metrics of real images.",
)
@click.option("--fresh", is_flag=True, help="Compute everything anew, whatever --out and the cache hold.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Folder of finished work.  [default: $SAMPLERBENCH_CACHE, or the one that `samplerbench info` names]",
)
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON instead of a table.")
def run(
    samplers: str,
    nfe: str | None,
    steps: str | None,
    metrics: str,
    out: Path | None,
    plugins: tuple[str, ...],
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Put samplers against a model: FID, or other metrics, for each number of network evaluations.

    Writes results.csv (a row as each cell ends), run.json and a picture of samples a cell. A run that was
    stopped goes on when its --out is named again. Exits with 1 where a cell or a metric failed, or none could be run.
    """
    from ..bench.plan import RunConfig
    from ..bench.run import BenchmarkRun, axis_of, default_out, records_frame, split_names
    from ..options import split_specs
    from ..report.terminal.progress import RunProgress
    from ..report.terminal.table import print_run

    names = tuple(split_specs(samplers))
    config = RunConfig(names, **axis_of(nfe, steps), metrics=split_names(metrics), plugins=plugins, **options)
    with RunProgress(quiet) as progress:
        benchmark = BenchmarkRun(config, out or default_out(), progress)
        progress.titles = {metric.name: metric.title for metric in benchmark.metrics}
        stopped: BaseException | None = None
        try:
            benchmark.execute()
        except (KeyboardInterrupt, UserError) as error:  # what was finished is shown first
            stopped = error
    try:
        if as_json:
            click.echo(records_frame(benchmark.records, config.metrics).to_json(orient="records", indent=2))
        elif not quiet:
            print_run(benchmark)
    except OSError:  # a full disk behind `>`, or a reader that is gone
        click.echo(f"what was finished is in {benchmark.store.out}", err=True)
        raise
    if stopped:
        raise stopped
    return 1 if benchmark.broken or all(record.status != "done" for record in benchmark.records) else 0
