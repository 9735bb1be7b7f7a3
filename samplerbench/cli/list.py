"""`samplerbench list`."""

from __future__ import annotations

import click

from ..errors import unknown

KINDS = ("samplers", "metrics", "models", "extractors", "paths", "spacings", "recipes")


@click.command("list")
@click.argument("kind", metavar="|".join(KINDS))
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="FILE.py|FOLDER|MODULE",
    help="What is your own, listed with the rest.",
)
def list_(kind: str, plugins: tuple[str, ...]) -> int:
    """Tell what is there, and where it comes from."""
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    from ..report import listing

    registered = {
        "samplers": listing.print_samplers,
        "metrics": listing.print_metrics,
        "models": listing.print_models,
        "extractors": listing.print_extractors,
        "paths": listing.print_paths,
        "spacings": listing.print_spacings,
    }
    if kind in registered:
        return registered[kind](plugins)
    listing.print_recipes()
    return 0
