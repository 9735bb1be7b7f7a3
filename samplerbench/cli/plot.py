"""`samplerbench plot`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import UserError
from .help import Command
from .options import metric_option, plugin_option, results_argument, where_option

if TYPE_CHECKING:
    from ..report.figure import Width
    from ..report.view import Cost


@click.command(
    cls=Command,
    examples=["samplerbench plot RUN -o fid.pdf", "samplerbench plot RUN -o front.svg --front --against seconds"],
)
@results_argument("RUN …")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="The file: .pdf, .svg or .png.")
@metric_option("What is drawn.")
@click.option(
    "--against",
    type=click.Choice(["evaluations", "seconds"]),
    default="evaluations",
    show_default=True,
    help="The cost.",
)
@click.option("--front", is_flag=True, help="The figures that no cheaper one beats, over the faded rest.")
@click.option(
    "--columns",
    type=click.Choice(["one", "two"]),
    default="one",
    show_default=True,
    help="How wide, of a paper's page.",
)
@plugin_option("Metrics of your own.")
@where_option
@click.option("--force", is_flag=True, help="One figure even where conditions make the values incomparable.")
def plot(
    results: tuple[Path, ...],
    out: Path,
    metric: str,
    against: Cost,
    front: bool,
    columns: Width,
    plugins: tuple[str, ...],
    where: tuple[str, ...],
    force: bool,
) -> int:
    """A figure of finished runs for a paper: a metric against evaluations or seconds, with 95 % intervals.

    It is read in grey as well: samplers differ by marker and dash. Needs the extra `plot`.
    """
    from ..plugins import load_plugins
    from ..report.choice import Where
    from ..report.figure import drawn, format_of
    from ..report.output import write_output
    from ..report.overview import charted

    ending = format_of(out)
    registry = load_plugins(plugins)
    charts = charted(results, metric, registry, where=[Where.parse(text) for text in where], force=force)
    kind = "front" if front else "curves"
    chart = next((one for one in charts if one.kind == kind and one.cost == against), None)
    if chart is None:
        raise UserError("these rows do not say their seconds of sampling, as those of an older version do not")
    data = drawn(chart, ending, columns)
    write_output(out, data, results)
    click.echo(f"{out}: {chart.title}")
    return 0
