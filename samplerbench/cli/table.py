"""`samplerbench table`."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import UserError


@click.command()
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="A B …")
@click.option("--metric", default="fid", show_default=True, metavar="NAME", help="The column that is shown.")
@click.option("--plugin", "plugins", multiple=True, metavar="FILE.py|FOLDER|MODULE", help="Metrics of your own.")
@click.option("--force", is_flag=True, help="One table even where conditions make the figures incomparable.")
@click.option("--markdown", is_flag=True, help="Print Markdown.")
def table(results: tuple[Path, ...], metric: str, plugins: tuple[str, ...], force: bool, markdown: bool) -> int:
    """The table of finished runs: samplers × evaluations, as `run` prints it.

    A, B … are results.csv files or run folders; the rows of all go into one table, so that a sampler of yours stands
    beside those that were run before.
    """
    import pandas as pd

    from ..plugins import load_plugins
    from ..report.results import conditions, read_results
    from ..report.table import print_table

    chosen = load_plugins(plugins).metric(metric)
    read = [read_results(path, metric) for path in results]
    for other in read[1:]:
        _, decisive = conditions(read[0], other)
        if decisive and not force:
            why = "; ".join(decisive)
            raise UserError(f"{read[0].name} and {other.name} do not compare: {why}; --force shows them all the same")
    print_table(pd.concat([one.every for one in read], ignore_index=True), chosen, markdown)
    return 0
