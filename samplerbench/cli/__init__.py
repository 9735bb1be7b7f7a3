"""The command line: one command a file. Each parses, calls, prints."""

from __future__ import annotations

import sys

import click

from .. import __version__
from ..errors import UserError
from .check import check
from .compare import compare
from .info import info
from .list import list_
from .reference import reference
from .run import run
from .table import table
from .train import train

__all__ = ["cli", "main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="samplerbench")
def cli() -> None:
    """Benchmarks diffusion samplers: network evaluations against FID."""


for command in (run, table, compare, check, list_, train, reference, info):
    cli.add_command(command)


def main() -> None:
    """Entry point. Exits with 2 on bad input, 1 where cells failed, 130 on Ctrl-C."""
    try:
        status = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except UserError as error:
        details = getattr(error, "details", "")
        if details:
            click.echo(details, err=True)
        click.echo(f"Error: {error}", err=True)
        status = 2
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted.", err=True)
        status = 130
    except BrokenPipeError:
        sys.stderr.close()
        status = 141
    sys.exit(status)
