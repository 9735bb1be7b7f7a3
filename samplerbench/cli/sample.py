"""`samplerbench sample`."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path

import click

from ..errors import Shortened, UserError
from .complete import samplers_of
from .help import Command
from .options import check_place, misbehaving, plugin_option

EXAMPLES = [
    "samplerbench sample --sampler dpm --nfe 10 --out clothes.png",
    'samplerbench sample --model results/mine/model --prompt "a pair of ankle boots" --guidance 2 --out boots.png',
]
MOST = 4096  # samples, which are drawn at once


@click.command(cls=Command, examples=EXAMPLES, context_settings={"show_default": True})
@click.option("--model", default="fashion-mnist", metavar="NAME|PATH", help="As of `samplerbench run`.")
@click.option("--sampler", default="dpm", metavar="NAME[:key=value]…", shell_complete=samplers_of, help="What draws.")
@click.option("--nfe", type=int, help="Network evaluations a sample.  [default: 20]")
@click.option("--steps", type=int, help="Steps of the grid instead.")
@click.option(
    "--prompt", "prompts", multiple=True, metavar="TEXT", help="What is asked for; may be given several times, in turn."
)
@click.option("--prompts", "file", type=click.Path(path_type=Path), metavar="FILE", help="A prompt or a class a line.")
@click.option("--guidance", metavar="SCALE|NAME[:key=value]…", help="As of `samplerbench run`, one of them.")
@click.option("--count", type=int, help="Samples.  [default: one a prompt, or 16]")
@click.option("--seed", default=0, help="Seed of x_T and of every later draw.")
@click.option("--trajectory", is_flag=True, help="Show how each came to be: x_T, the predicted x_0 of each step, x_0.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("samples.png"), help="The picture, a PNG.")
@click.option("--device", default="auto", metavar="auto|cpu|cuda", help="Where the network runs.")
@plugin_option("Samplers, models and guiders of your own; may be given several times.")
def sample(
    model: str,
    sampler: str,
    nfe: int | None,
    steps: int | None,
    prompts: tuple[str, ...],
    file: Path | None,
    guidance: str | None,
    count: int | None,
    seed: int,
    trajectory: bool,
    out: Path,
    device: str,
    plugins: tuple[str, ...],
) -> None:
    """Draw samples of a model, and write them into one picture.

    Sample i is the i-th of a run with this seed: the same noise, and the same condition where the prompts are the same.
    """
    if nfe is not None and steps is not None:
        raise UserError("give --nfe or --steps, not both")
    if prompts and file:
        raise UserError("give --prompt or --prompts, not both")
    if out.suffix.lower() != ".png":
        raise UserError(f"--out {out} is a picture in PNG, expected a name that ends in .png")
    check_place(out)
    from ..bench.given import check_length, prompts_in
    from ..devices import resolve_device
    from ..files import write_whole
    from ..plugins import load_plugins
    from ..sampled import picture

    registry = load_plugins(plugins)
    asked = prompts if file is None else prompts_in(file)
    check_length(asked, "--prompt")
    count = count if count is not None else len(asked) or 16
    if not 1 <= count <= MOST:
        raise UserError(f"--count is from 1 to {MOST}, got {count}")
    trained = registry.model(model)
    if trained.conditioner and (line := trained.conditioner.told(asked)):
        click.echo(f"Note: {line}", err=True)
    with misbehaving(), warnings.catch_warnings():
        warnings.simplefilter("ignore", Shortened)
        image, about, drawn = picture(
            registry,
            trained,
            sampler,
            {"steps": steps} if steps is not None else {"nfe": 20 if nfe is None else nfe},
            count,
            seed,
            asked,
            guidance,
            resolve_device(device),
            trajectory,
        )
    buffer = BytesIO()
    image.save(buffer, "png", pnginfo=about)
    try:
        write_whole(out, buffer.getvalue())
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error.strerror or error}") from None
    passes = f", {drawn.passes:g} passes through the network" if drawn.passes != drawn.nfe else ""
    click.echo(f"{out}: {count} samples in {drawn.nfe:g} evaluations{passes} each")
