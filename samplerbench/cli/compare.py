"""`samplerbench compare`."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import UserError


@click.command()
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="A B …")
@click.option("--metric", default="fid", show_default=True, metavar="NAME", help="The column that is compared.")
@click.option("--plugin", "plugins", multiple=True, metavar="FILE.py|FOLDER|MODULE", help="Metrics of your own.")
@click.option("--baseline", metavar="SAMPLER", help="Within one run: every sampler against this one.")
@click.option("--against", type=click.Choice(["published"]), help="Set one run's rows beside the literature's.")
@click.option("--force", is_flag=True, help="Compare even where conditions make the differences meaningless.")
@click.option("--fail-on-regression", is_flag=True, help="Exit with 1 where a cell is significantly worse.")
@click.option("--markdown", is_flag=True, help="Print Markdown.")
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), help="Write the differences to this file as well.")
def compare(
    results: tuple[Path, ...],
    metric: str,
    plugins: tuple[str, ...],
    baseline: str | None,
    against: str | None,
    force: bool,
    fail_on_regression: bool,
    markdown: bool,
    csv_path: Path | None,
) -> int:
    """Which differences are real: ΔFID, or Δ of another metric, with its 95 % interval and Holm-adjusted p-values.

    A, B … are results.csv files or run folders; each is compared with A. Differences are paired where both were made
    from the same noise, which needs far fewer samples, and unpaired otherwise.
    """
    from ..plugins import load_plugins
    from ..report import comparison as tables
    from ..report.compare import compare, compare_with_baseline
    from ..report.literature import published, rankings
    from ..report.results import read_results

    registry = load_plugins(plugins)
    direction = registry.metric(metric).direction
    read = [read_results(path, metric) for path in results]
    if (baseline or against) and len(read) != 1:
        raise UserError(f"--{'baseline' if baseline else 'against'} takes one run, got {len(read)}")
    if against:
        if metric != "fid":
            raise UserError(f"the published tables are of FID, not of {metric}")
        folder = Path("results") / "published"
        frame = published(read[0], folder, registry)
        tables.print_published(frame)
        tables.print_rankings(rankings(read[0], folder, registry))
        if csv_path:
            tables.write_csv(frame, csv_path)
        return 0
    if not baseline and len(read) < 2:
        raise UserError("name two results or more, or one with --baseline SAMPLER or --against published")
    if baseline:
        comparisons = [compare_with_baseline(read[0], baseline, direction)]
    else:
        comparisons = [compare(read[0], other, direction) for other in read[1:]]
    for one in comparisons:
        if one.decisive and not force:
            why = "; ".join(one.decisive)
            raise UserError(f"{one.base} and {one.other} do not compare: {why}; --force compares them all the same")
        tables.print_comparison(one, markdown)
    if csv_path:
        import pandas as pd

        tables.write_csv(pd.concat([tables.comparison_frame(one) for one in comparisons]), csv_path)
    worse = any(d.verdict == "worse" for one in comparisons for d in one.differences)
    return 1 if fail_on_regression and worse else 0
