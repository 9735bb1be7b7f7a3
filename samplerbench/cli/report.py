"""`samplerbench report`."""

from __future__ import annotations

from pathlib import Path

import click

from .help import Command
from .options import metric_option, plugin_option, results_argument, where_option


@click.command(
    cls=Command,
    examples=["samplerbench report RUN -o report.html", "samplerbench report RUN bundle.zip --baseline ddim"],
)
@results_argument("RUN …")
@click.option(
    "-o", "--out", default="report.html", show_default=True, type=click.Path(path_type=Path), help="The file to write."
)
@metric_option("What tables and pairs are of.")
@click.option(
    "--baseline", metavar="SAMPLER", help="What all others are compared with.  [default: the first that there is]"
)
@plugin_option("Metrics of your own.")
@where_option
@click.option("--force", is_flag=True, help="One report even where conditions make the figures incomparable.")
def report(
    results: tuple[Path, ...],
    out: Path,
    metric: str,
    baseline: str | None,
    plugins: tuple[str, ...],
    where: tuple[str, ...],
    force: bool,
) -> int:
    """A page about finished runs, in one file that opens anywhere: curves, fronts, paired differences, samples.

    RUN … are run folders, results.csv files or bundles of `export-results`; the rows of all go into one report, chosen
    as `table` chooses them. The file loads nothing from anywhere, and is read without scripts and in print.
    """
    from ..plugins import load_plugins
    from ..report.choice import Where
    from ..report.html.page import page
    from ..report.output import check_output, write_output
    from ..report.overview import overview

    check_output(out, results)
    registry = load_plugins(plugins)
    conditions = [Where.parse(text) for text in where]
    found = overview(results, metric, registry, baseline=baseline, where=conditions, force=force)
    text = page(found).encode()
    write_output(out, text, results)
    click.echo(f"{out}: {len(text) / 1000:.0f} kB")
    return 0
