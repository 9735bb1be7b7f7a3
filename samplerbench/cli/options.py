"""Arguments and options that several commands have, said once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from ..errors import BudgetExceeded, UserError

__all__ = [
    "check_place", "data_root_option", "device_option", "metric_option", "misbehaving", "plugin_option",
    "results_argument", "where_option",
]  # fmt: skip

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

device_option = click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda")

where_option = click.option(
    "--where",
    multiple=True,
    metavar="COLUMN=VALUE",
    help="Only rows that have this value; a hash may be shortened, an empty value is an empty field. Several values of "
    "a column: either; several columns: all.",
)


def check_place(out: Path) -> None:
    """Raises UserError where a file cannot be written, before what goes into it is computed."""
    there = next(folder for folder in out.absolute().parents if folder.exists())
    if out.is_dir() or not there.is_dir() or not os.access(there, os.W_OK):
        why = f"{there} cannot be written to" if there.is_dir() else f"{there} is a file"
        raise UserError(f"--out {out} cannot be written: {'it is a folder' if out.is_dir() else why}")


@contextmanager
def misbehaving() -> Iterator[None]:
    """Around drawing: a line for a sampler, or a model, that does not what it must."""
    from ..diffusion.denoiser import BadNoise
    from ..drawing import BadSample

    try:
        yield
    except (BadNoise, BadSample, BudgetExceeded) as error:
        raise UserError(str(error)) from None


def plugin_option(about: str) -> Callable[[Decorated], Decorated]:
    """`--plugin`, which may be given several times."""
    return click.option("--plugin", "plugins", multiple=True, metavar="FILE.py|FOLDER|MODULE", help=about)


def metric_option(about: str) -> Callable[[Decorated], Decorated]:
    """`--metric`, one column of results."""
    return click.option("--metric", default="fid", show_default=True, metavar="NAME", help=about)


def results_argument(metavar: str) -> Callable[[Decorated], Decorated]:
    """Results: CSVs, folders of runs, bundles."""
    return click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path), metavar=metavar)


def data_root_option(about: str = "Where a dataset's files are.") -> Callable[[Decorated], Decorated]:
    """`--data-root`, which exists."""
    return click.option("--data-root", type=click.Path(path_type=Path, exists=True), help=about)
