"""`samplerbench models`."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def models() -> None:
    """Show what is understood of a model, or write it in samplerbench's own format.

    MODEL is what `run --model` takes: a shipped model, a folder, a file, hf:OWNER/NAME or package.module:factory.
    """


@models.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def show(model: str, as_json: bool) -> None:
    """Print what is understood of MODEL: path, prediction, labels, shapes, weights, cost, its authors' sampler."""
    import json

    from ..models.model import load_model
    from ..models.understood import understood
    from ..report.models import print_understood

    facts = understood(load_model(model))
    if as_json:
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        print_understood(facts)


@models.command()
@click.argument("model")
@click.argument("folder", type=click.Path(path_type=Path))
def export(model: str, folder: Path) -> None:
    """Write MODEL to FOLDER, new or empty, as config.json and model.safetensors, read it back and compare."""
    from ..models.export import export_model
    from ..models.model import load_model

    difference = export_model(load_model(model), folder)
    click.echo(f"{folder}: read back, its ε differs by {difference:.2g} at most from that of {model}")
