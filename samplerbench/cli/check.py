"""`samplerbench check`."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import UserError
from .complete import samplers_of
from .help import Command
from .options import data_root_option, plugin_option


@click.command(
    cls=Command,
    groups={"Of samplers": ["paths"], "Of a model": ["model", "data", "data_root", "samples", "seed", "device"]},
    examples=[
        "samplerbench check --plugin mine.py",
        "samplerbench check ddim,dpm:order=3 --paths all",
        "samplerbench check --model fashion-mnist",
    ],
)
@click.argument("samplers", required=False, metavar="[NAME[:key=value]…,…]", shell_complete=samplers_of)
@plugin_option("Samplers, paths and model formats of your own.")
@click.option(
    "--paths",
    metavar="all|NAME,…",
    help="Run the checks that depend on the path on these kinds: all, or vp,ve,flow.",
)
@click.option("--model", metavar="NAME|PATH", help="Check a model: does its network do what its files say?")
@click.option(
    "--data",
    metavar="FOLDER|CSV|NPZ|DATASET",
    help="Real images for --model; without them it is checked on samples of its own, which tell less.",
)
@data_root_option()
@click.option("--samples", type=int, help="Images to compare readings on.  [default: 512, or 256 samples of its own]")
@click.option("--seed", type=int, help="Seed of images and noise.  [default: 0]")
@click.option("--device", metavar="auto|cpu|cuda", help="Where the network runs.  [default: auto]")
def check(
    samplers: str | None,
    plugins: tuple[str, ...],
    paths: str | None,
    model: str | None,
    data: str | None,
    data_root: Path | None,
    samples: int | None,
    seed: int | None,
    device: str | None,
) -> int:
    """Test samplers on data whose ε is known: evaluations, order, moments, manners, paths. Or test a model.

    Without names, every sampler of the --plugin files is checked; `all` is every registered one. Takes seconds, on the
    CPU. Exits with 1 on a failure.
    """
    if model is None:
        asked = {"--data": data, "--data-root": data_root, "--samples": samples, "--seed": seed, "--device": device}
        for name, value in asked.items():
            if value is not None:
                raise UserError(f"{name} goes with --model; samplers are checked on data whose ε is known")
        return _samplers(samplers, plugins, paths)
    if samplers or paths:
        raise UserError(f"check tests samplers or a --model, one at a time; leave out {samplers or '--paths'}")
    from ..data import images_of
    from ..devices import resolve_device
    from ..plugins import load_plugins
    from ..report.terminal.findings import print_proof

    found, place = load_plugins(plugins).model(model), resolve_device(device or "auto")
    images = None if data is None else images_of(data, data_root, found.image_shape[0])
    if images is None and data_root is not None:
        raise UserError("--data-root goes with --data")
    return print_proof(found, images, samples, seed or 0, place, data or "")


def _samplers(samplers: str | None, plugins: tuple[str, ...], paths: str | None) -> int:
    from ..options import split_specs
    from ..plugins import load_plugins
    from ..registry import NAMED

    registry = load_plugins(plugins)
    specs = split_specs(samplers) if samplers else [r.cls.name for r in registry.samplers if r.level == NAMED]
    if samplers == "all":
        specs = [r.cls.name for r in registry.current()]
    if not specs and plugins:
        verified = [
            f"{kind} '{r.cls.name}'"
            for kind, found in (("path", registry.paths), ("spacing", registry.spacings))
            for r in found
            if r.level == NAMED
        ]
        if verified:
            click.echo(
                f"{', '.join(plugins)}: {' and '.join(verified)} verified on loading; no sampler is in it to check"
            )
            return 0
        raise UserError(f"{', '.join(plugins)} registers no sampler, and check tests no metrics; run takes them")
    if not specs:
        raise UserError("name samplers to check, or a --plugin; try samplerbench check ddim,dpm-solver")
    chosen = [registry.sampler(spec) for spec in specs]

    from ..check.kinds import chosen_kinds
    from ..report.terminal.findings import print_findings

    return print_findings(chosen, None if paths is None else chosen_kinds(paths))
