"""`samplerbench list`."""

from __future__ import annotations

import click

from ..errors import UserError, unknown
from .complete import samplers_of
from .help import Command
from .options import plugin_option

KINDS = ("samplers", "metrics", "models", "extractors", "paths", "spacings", "recipes")


def _kinds(ctx: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    return [kind for kind in KINDS if kind.startswith(typed)]


def _names(ctx: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    return samplers_of(ctx, parameter, typed) if ctx.params.get("kind") == "samplers" else []


@click.command(
    "list",
    cls=Command,
    examples=["samplerbench list samplers", "samplerbench list samplers dpm", "samplerbench list metrics"],
)
@click.argument("kind", metavar="|".join(KINDS), shell_complete=_kinds)
@click.argument("names", nargs=-1, metavar="[NAME …]", shell_complete=_names)
@plugin_option("What is your own, listed with the rest.")
def list_(kind: str, names: tuple[str, ...], plugins: tuple[str, ...]) -> int:
    """Tell what is there, and where it comes from; of samplers by NAME what each option does."""
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    from ..report.terminal import listing

    if kind == "samplers":
        return listing.print_samplers(plugins, names)
    if names:
        raise UserError(f"only samplers are listed by name; leave out {' '.join(names)}")
    registered = {
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
