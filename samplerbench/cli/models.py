"""`samplerbench models`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..registry import Registry

own = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="FILE.py|FOLDER|MODULE",
    help="Formats, paths and spacings of your own; may be given several times.",
)


@click.group()
def models() -> None:
    """Show what is understood of a model, or write it in samplerbench's own format.

    MODEL is what `run --model` takes: a shipped model, a folder, a file, hf:OWNER/NAME or package.module:factory.
    """


@models.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@own
def show(model: str, as_json: bool, plugins: tuple[str, ...]) -> None:
    """Print what is understood of MODEL: path, prediction, labels, shapes, weights, cost, its authors' sampler."""
    import json

    from ..models.understood import understood
    from ..report.terminal.models import print_understood

    registry = _registry(plugins)
    found = registry.model(model)
    facts = understood(found, (found.extractor and registry.refusal(found.extractor, found.image_shape)) or "")
    if as_json:
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        print_understood(facts)


@models.command()
@click.argument("model")
@click.argument("folder", type=click.Path(path_type=Path))
@own
def export(model: str, folder: Path, plugins: tuple[str, ...]) -> None:
    """Write MODEL to FOLDER, new or empty, as config.json and model.safetensors, read it back and compare."""
    from ..models.export import export_model

    difference = export_model(_registry(plugins).model(model), folder)
    click.echo(f"{folder}: read back, its ε differs by {difference:.2g} at most from that of {model}")


def _registry(plugins: tuple[str, ...]) -> Registry:
    """What is registered; what is wrong with installed plugins goes to standard error."""
    from ..plugins import load_plugins

    registry = load_plugins(plugins)
    for text in [*map(str, registry.problems), *registry.notices()]:
        click.echo(text, err=True)
    return registry
