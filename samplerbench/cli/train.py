"""`samplerbench train`."""

from __future__ import annotations

from pathlib import Path

import click

from .help import Command
from .options import data_root_option, device_option


@click.command(cls=Command, examples=["samplerbench train fashion-mnist --set optimiser.steps=1000 --out results/mine"])
@click.argument("recipe")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of checkpoints and of the finished model.  [default: results/train-RECIPE]",
)
@data_root_option("Where the images are: a folder, or an npz file; without it they are downloaded.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change the recipe: optimiser.steps=1000, data.dataset=npz; may be given several times.",
)
@device_option
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def train(
    recipe: str, out: Path | None, data_root: Path | None, changes: tuple[str, ...], device: str, quiet: bool
) -> None:
    """Train by RECIPE, a shipped one (see `samplerbench list recipes`) or a TOML file.

    A run that was killed goes on from its checkpoint in --out when called again.
    """
    from ..report.terminal.progress import train_with_progress
    from ..training.recipe import find_recipe

    found = find_recipe(recipe, changes)
    train_with_progress(found, out or Path("results") / f"train-{found.name}", data_root, device, quiet)
