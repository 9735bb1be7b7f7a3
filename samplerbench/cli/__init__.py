"""The command line: one command a file. Each parses, calls, prints."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click

from .. import __version__
from ..errors import UserError
from .cache import cache
from .check import check
from .cite import cite
from .compare import compare
from .export_results import export_results
from .help import WIDTH, write_commands
from .info import info
from .list import list_
from .models import models
from .new import new
from .plot import plot
from .reference import reference
from .report import report
from .run import run
from .table import table
from .train import train
from .worker import worker

__all__ = ["cli", "ended", "main", "within"]


class Inner(Exception):
    """Something raised inside a command that click would take for the end of its input, or that would end the program
    without a word; the cause says what.
    """


@contextmanager
def within() -> Iterator[None]:
    """Around what a command does."""
    try:
        yield
    except (EOFError, OSError, SystemExit) as error:
        raise Inner from error


class Commands(click.Group):
    """The commands. An argument that is empty is an error in all of them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = [] if ctx.resilient_parsing else args
        for before, arg in zip(["", *given], given, strict=False):
            name, equals, value = arg.partition("=") if arg.startswith("--") else (before, "=", arg)
            if equals and not value.strip():
                raise UserError(
                    f"{name if name.startswith('-') else 'an argument'} is empty; leave it out, or name one"
                )
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_commands(self, ctx, formatter)

    def invoke(self, ctx: click.Context) -> Any:
        with within():
            return super().invoke(ctx)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDTH})
@click.version_option(__version__, prog_name="samplerbench")
def cli() -> None:
    """Benchmarks diffusion samplers: network evaluations against FID.

    Start with `samplerbench run --samplers ddim,dpm`, or with `samplerbench new my-method` for a sampler of your own.

    \b
    The tab key completes samplers and their options after this line in ~/.bashrc (zsh_source, fish_source):
      eval "$(_SAMPLERBENCH_COMPLETE=bash_source samplerbench)"; COMP_WORDBREAKS=${COMP_WORDBREAKS//[:=]}
    """


COMMANDS = (
    *(run, worker, table, compare, report, plot, export_results, cite),
    *(new, check, list_, models, train, reference, cache, info),
)
for command in COMMANDS:
    cli.add_command(command)


def main() -> None:
    """Entry point. Exits with 2 on bad input, 1 where cells failed or something else went wrong, 130 on Ctrl-C, 141
    where nobody reads the output any more.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever called, `>&-`
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # a stream in memory
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # where é cannot be written, ? is
    try:
        status = _status()
        sys.stdout.flush()
    except OSError as error:
        status = _of_os(error)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # what is left in the buffer cannot be written at the end either
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(status)


def _status() -> int:
    """Runs the command and says how it ended."""
    return ended(lambda: int(cli.main(standalone_mode=False) or 0))


def ended(call: Callable[[], int]) -> int:
    """The exit status of what a command does; what stops it is said on standard error."""
    try:
        return call()
    except click.ClickException as error:
        with suppress(OSError):
            error.show()
        return error.exit_code
    except UserError as error:
        _say(getattr(error, "details", ""), f"Error: {error}")
        return 2
    except (KeyboardInterrupt, click.Abort):
        _say("Interrupted.")
        return 130
    except Inner as inner:
        return _of_inner(inner.__cause__)


def _of_inner(cause: BaseException | None) -> int:
    if isinstance(cause, SystemExit) and isinstance(cause.__context__, BrokenPipeError):  # rich's way to say so
        cause = cause.__context__
    if isinstance(cause, OSError):
        return _of_os(cause)
    _say("".join(traceback.format_exception(cause)))
    return 1


def _of_os(error: OSError) -> int:
    """A file that cannot be read or written, or an output that takes no more."""
    if isinstance(error, BrokenPipeError):
        return 141
    if error.strerror is None:  # raised by hand, for a reason that only its place tells
        _say("".join(traceback.format_exception(error)))
        return 1
    if error.filename is None:
        _say(f"Error: the output cannot be written: {error.strerror}")
        return 1
    _say(f"Error: {error.filename}: {error.strerror}")
    return 2


def _say(*lines: str) -> None:
    with suppress(OSError):
        for line in filter(None, lines):
            click.echo(line, err=True)
