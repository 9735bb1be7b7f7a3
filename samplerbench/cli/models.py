"""`samplerbench models`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UserError
from .help import Command
from .options import check_place, data_root_option, device_option, misbehaving, plugin_option

if TYPE_CHECKING:
    from ..registry import Registry

OWN = "Formats, paths and spacings of your own; may be given several times."


@click.group()
def models() -> None:
    """Show what is understood of a model, or write it in samplerbench's own format.

    MODEL is what `run --model` takes: a shipped model, a folder, a file, hf:OWNER/NAME or package.module:factory.
    """


@models.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@plugin_option(OWN)
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
@plugin_option(OWN)
def export(model: str, folder: Path, plugins: tuple[str, ...]) -> None:
    """Write MODEL to FOLDER, new or empty, as config.json and model.safetensors, read it back and compare."""
    from ..models.export import export_model

    difference = export_model(_registry(plugins).model(model), folder)
    click.echo(f"{folder}: read back, its ε differs by {difference:.2g} at most from that of {model}")


@models.command(
    cls=Command, examples=["samplerbench models floors results/train-mine/model --samples 1024,4096 --data-root data"]
)
@click.argument("model")
@click.option("--samples", default="1024,4096", show_default=True, metavar="N,…", help="For cells of so many samples.")
@click.option("--sampler", default="dpm-solver", show_default=True, metavar="SAMPLER", help="How the ODE is solved.")
@click.option("--nfe", default=100, show_default=True, help="Evaluations; half as many show how near the end that is.")
@click.option("--guidance", default="1", show_default=True, metavar="G,…", help="Of its own samples.")
@data_root_option("Where the dataset's files are.")
@device_option
@click.option("--workers", default="serial", show_default=True, metavar="serial|N|gpus|ray[:ADDRESS]")
@click.option("--out", type=click.Path(path_type=Path), help="The file to write.  [default: MODEL/floors.json]")
@plugin_option(OWN)
def floors(model: str, samples: str, sampler: str, nfe: int, guidance: str, out: Path | None, **options: Any) -> None:
    """Write the floors of MODEL's FIDs, which reports draw: of real test images, and of its own samples.

    No sampler is expected below the first; of a latent model none below those images after its encoder and decoder.
    Those that solve the ODE do not get far below the last; a stochastic one may.
    """
    from ..bench.floors import floors, write_floors
    from ..bench.given import split_names, split_values
    from ..bench.plan import RunConfig
    from ..report.terminal.progress import RunProgress

    if out is None:
        if not Path(model).is_dir():
            raise UserError(f"'{model}' is no folder that floors.json could stand in; say where with --out FILE")
        out = Path(model) / "floors.json"
    check_place(out)
    config = RunConfig((sampler,), (nfe,), model=model, guidance=split_names(guidance), **options)
    with RunProgress(quiet=False) as progress:
        found = floors(config, split_values(samples, "samples"), progress)
    write_floors(out, found)
    for floor in found:
        error = "" if floor.se is None else f" ± {floor.se:.2g}"
        change = "" if floor.change is None else f"; {floor.against}: {-floor.change:+.2g}"
        click.echo(f"FID {floor.value:.4g}{error} of {floor.samples} samples: {floor.about}{change}")
    click.echo(f"{out}: {len(found)} floors")


@models.command(
    "held-out", cls=Command, examples=["samplerbench models held-out fashion-mnist-latent --guidance 2 --samples 512"]
)
@click.argument("model")
@click.option("--samples", default=256, show_default=True, help="Of each kind of prompt.")
@click.option("--sampler", default="dpm", show_default=True, metavar="SAMPLER", help="What draws.")
@click.option("--nfe", default=20, show_default=True, help="Evaluations a sample.")
@click.option("--guidance", default="2", show_default=True, metavar="G", help="As of `samplerbench sample`.")
@click.option("--seed", default=0, show_default=True, help="Of noise and prompts.")
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@plugin_option(OWN)
def held_out(
    model: str,
    samples: int,
    sampler: str,
    nfe: int,
    guidance: str,
    seed: int,
    device: str,
    as_json: bool,
    plugins: tuple[str, ...],
) -> None:
    """Score MODEL, asked in words of Fashion-MNIST, on prompts that its training never saw.

    The shares of samples that have the garment, the shade, and both: of seen prompts, and of phrasings, words and pairs
    of garment and shade that were held out. Beside them the share that the garment's word alone comes to.
    """
    import json
    from dataclasses import asdict

    from ..report.terminal.models import print_held_out
    from ..training.held_out import held_out_scores

    with misbehaving():
        found = held_out_scores(_registry(plugins), model, sampler, nfe, guidance, samples, seed, device)
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=2))
    else:
        print_held_out(found)


def _registry(plugins: tuple[str, ...]) -> Registry:
    """What is registered; what is wrong with installed plugins goes to standard error."""
    from ..plugins import load_plugins

    registry = load_plugins(plugins)
    for text in [*map(str, registry.problems), *registry.notices()]:
        click.echo(text, err=True)
    return registry
