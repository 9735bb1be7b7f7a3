"""`samplerbench compare`."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import UserError
from .help import Command
from .options import metric_option, plugin_option, results_argument, where_option

if TYPE_CHECKING:
    from ..report.compare import Family


@contextmanager
def _uncollected() -> Iterator[None]:
    """Looks for no garbage: of 10^5 rows come millions of small objects, and there are no cycles among them to find. It
    took a fifth to a third of the time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@click.command(
    cls=Command,
    groups={
        "What is compared": ["metric", "plugins", "baseline", "against", "where"],
        "How it is judged": ["family", "force", "fail_on_regression"],
        "How it is shown": ["markdown", "csv_path"],
    },
    examples=[
        "samplerbench compare RUN --baseline ddim",
        "samplerbench compare OLD NEW --fail-on-regression",
        "samplerbench compare RUN --against published",
    ],
)
@results_argument("A B …")
@metric_option("The column that is compared.")
@plugin_option("Metrics of your own.")
@click.option("--baseline", metavar="SAMPLER", help="Within one run: every sampler against this one.")
@click.option("--against", type=click.Choice(["published"]), help="Set one run's rows beside the literature's.")
@where_option
@click.option(
    "--family",
    type=click.Choice(["evaluations", "all"]),
    default="evaluations",
    show_default=True,
    help="Which intervals hold at once: those at one number of evaluations, or all.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Compare even where conditions make the differences meaningless, rows of several conditions and numbers of "
    "samples included.",
)
@click.option("--fail-on-regression", is_flag=True, help="Exit with 1 where a cell is significantly worse.")
@click.option("--markdown", is_flag=True, help="Print Markdown.")
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), help="Write the differences to this file as well.")
@_uncollected()
def compare(
    results: tuple[Path, ...],
    metric: str,
    plugins: tuple[str, ...],
    baseline: str | None,
    against: str | None,
    where: tuple[str, ...],
    family: Family,
    force: bool,
    fail_on_regression: bool,
    markdown: bool,
    csv_path: Path | None,
) -> int:
    """Which differences are real: ΔFID, or Δ of another metric, with 95 % intervals that hold at once.

    A, B … are results.csv files, run folders or bundles of `export-results`; each is compared with A.
    Differences are paired where both were made from the same noise, which needs far fewer samples, and unpaired
    otherwise.

    Of a cell that was measured more than once the newest row counts, of a file the cells with the most samples, and of
    a sampler the code of its newest row; a file with rows of several models, references or other conditions is refused
    with the choice to make.

    Exits with 1 where nothing could be compared.
    """
    from ..plugins import load_plugins
    from ..report.choice import Where, choose
    from ..report.compare import compare, compare_with_baseline
    from ..report.literature import published, published_folder, rankings
    from ..report.output import check_output
    from ..report.results import metric_named, read_results
    from ..report.sheets import comparison_frame, write_csv
    from ..report.terminal.beside import print_published, print_rankings
    from ..report.terminal.comparison import print_comparisons, print_left_out, print_notes

    if csv_path:
        check_output(csv_path, results)
    registry = load_plugins(plugins)
    chosen = metric_named(metric, registry, results)
    conditions = [Where.parse(text) for text in where]
    if baseline and against:
        raise UserError("--baseline and --against are two questions; ask one")
    if (baseline or against) and len(results) != 1:
        raise UserError(f"--{'baseline' if baseline else 'against'} takes one run, got {len(results)}")
    if not (baseline or against) and len(results) < 2:
        raise UserError("name two results or more, or one with --baseline SAMPLER or --against published")
    if against and metric != "fid":
        raise UserError(f"the published tables are of FID, not of {metric}")
    files = choose([read_results(path, metric) for path in results], registry, conditions, force)
    print_notes([note for one in files for note in one.notes])
    if empty := [one for one in files if not len(one.rows)]:
        click.echo("\n".join(one.nothing for one in empty))
        return 1
    if against:
        folder = published_folder()
        frame = published(files[0], folder, registry)
        if frame.empty:
            click.echo(f"nothing to compare: the tables in {folder} have no sampler of {results[0]} at its evaluations")
            return 1
        print_published(frame, markdown)
        print_rankings(rankings(files[0], folder, registry, chosen, family), family, markdown)
        print_left_out(files)
        if csv_path:
            write_csv(frame, csv_path)
        return 0
    if baseline:
        comparisons = [compare_with_baseline(files[0], baseline, registry, chosen, family)]
    else:
        comparisons = compare(files, chosen, family)
    for two in comparisons:
        if two.decisive and not force:
            why = "; ".join(two.decisive)
            raise UserError(f"{two.base} and {two.other} do not compare: {why}; --force compares them all the same")
    print_comparisons(comparisons, markdown)
    print_left_out(files)
    if csv_path:
        import pandas as pd

        write_csv(pd.concat([comparison_frame(two) for two in comparisons]), csv_path)
    worse = any(d.judged.verdict == "worse" for two in comparisons for d in two.differences)
    nothing = not any(two.differences for two in comparisons)
    return 1 if nothing or (fail_on_regression and worse) else 0
