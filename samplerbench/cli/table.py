"""`samplerbench table`."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import UserError
from .help import Command
from .options import metric_option, plugin_option, results_argument, where_option


@click.command(
    cls=Command,
    examples=["samplerbench table results/fashion-mnist", "samplerbench table A B --where samples=1024 --latex"],
)
@results_argument("A B …")
@metric_option("The column that is shown.")
@plugin_option("Metrics of your own.")
@where_option
@click.option("--honest", is_flag=True, help="Estimate the best of each column on samples that did not choose it.")
@click.option(
    "--force",
    is_flag=True,
    help="One table even where conditions make the figures incomparable; of a cell the newest row is shown, whatever "
    "its conditions and number of samples.",
)
@click.option("--markdown", is_flag=True, help="Print Markdown.")
@click.option(
    "--latex",
    is_flag=True,
    help="Print LaTeX, for \\usepackage{booktabs}: bold is what may be the best of its column.",
)
def table(
    results: tuple[Path, ...],
    metric: str,
    plugins: tuple[str, ...],
    where: tuple[str, ...],
    honest: bool,
    force: bool,
    markdown: bool,
    latex: bool,
) -> int:
    """The table of finished runs: samplers × evaluations, as `run` prints it.

    A, B … are results.csv files, run folders or bundles of `export-results`; the rows of all go into
    one table, so that a sampler of yours stands beside those that were run before.

    Of a cell that was measured more than once the newest row counts, of a file the cells with the most samples, and of
    a sampler the code of its newest row; rows of several models, references or other conditions are refused with the
    choice to make. Exits with 1 where there is nothing to show.
    """
    from ..plugins import load_plugins
    from ..report.choice import Where, check_one_table, choose
    from ..report.latex import latex_table
    from ..report.results import metric_named, read_results
    from ..report.tables import table as table_of_files
    from ..report.terminal.table import print_table

    if markdown and latex:
        raise UserError("--markdown and --latex are two ways to print it; choose one")
    registry = load_plugins(plugins)
    chosen = metric_named(metric, registry, results)
    read = [read_results(path, metric) for path in results]
    files = choose(read, registry, [Where.parse(text) for text in where], force)
    if not any(len(one.every) for one in files):
        for text in (text for one in files for text in (one.nothing, *one.notes)):
            click.echo(text)
        return 1
    if not force:
        check_one_table(files)
    found = table_of_files(files, chosen, honest, force)
    if latex:
        click.echo(latex_table(found))
    else:
        print_table(found, markdown)
    return 0
