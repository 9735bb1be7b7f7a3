"""`samplerbench export-results`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("export-results")
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="RUN")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="The file to write, like run.zip.")
def export_results(run: Path, out: Path) -> int:
    """A run as one file to send: rows, conditions, what pairs them with other runs, the first samples of each cell.

    `table`, `compare`, `report` and `plot` take the file as they take RUN. It has checksums: one that was cut or edited
    on the way is refused. The command and the paths of the run are in it.
    """
    from ..report.export import write_bundle

    for note in write_bundle(run, out):
        click.echo(note, err=True)
    click.echo(f"{out}: {out.stat().st_size / 1e6:.2f} MB")
    return 0
