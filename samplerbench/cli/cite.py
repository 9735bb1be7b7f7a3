"""`samplerbench cite`."""

from __future__ import annotations

import click

from .complete import samplers_of
from .help import Command
from .options import plugin_option


@click.command(
    cls=Command, examples=["samplerbench cite ddim deis", "samplerbench cite results/2025-01-31-120000 >> paper.bib"]
)
@click.argument("named", nargs=-1, required=True, metavar="SAMPLER|RUN …", shell_complete=samplers_of)
@plugin_option("Samplers and metrics of your own.")
def cite(named: tuple[str, ...], plugins: tuple[str, ...]) -> int:
    """Print BibTeX for samplers, or for all that a run rests on.

    A RUN is a run's folder, or a bundle of `export-results`. Its entries are of samplers, metrics, feature extractor,
    data set and software.
    """
    from ..plugins import load_plugins
    from ..report.cite import bibtex

    text, silent = bibtex(named, load_plugins(plugins))
    if text:
        click.echo(text)
    for line in silent:
        click.echo(line, err=True)
    return 0 if text else 1
