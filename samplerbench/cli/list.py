"""`samplerbench list`."""

from __future__ import annotations

import click

from ..errors import unknown

KINDS = ("samplers", "metrics", "models", "extractors", "recipes")


@click.command("list")
@click.argument("kind", metavar="|".join(KINDS))
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="FILE.py|FOLDER|MODULE",
    help="Samplers, metrics and extractors of your own, listed with the rest.",
)
def list_(kind: str, plugins: tuple[str, ...]) -> int:
    """Tell what is there, and where it comes from."""
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    from ..report import listing

    if kind == "samplers":
        return listing.print_samplers(plugins)
    if kind == "metrics":
        return listing.print_metrics(plugins)
    if kind == "extractors":
        return listing.print_extractors(plugins)
    {"models": listing.print_models, "recipes": listing.print_recipes}[kind]()
    return 0
