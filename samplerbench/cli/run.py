"""`samplerbench run`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ..errors import UserError
from .complete import complete_from, samplers_of
from .help import Command
from .options import data_root_option, plugin_option

GROUPS = {
    "What is run": ["samplers", "nfe", "steps", "passes", "model", "prompts", "guidance", "plugins", "config"],
    "How samples are drawn": [
        "samples",
        "seed",
        "batch_size",
        "device",
        "dtype",
        "compile",
        "fast",
        "workers",
        "cell_timeout",
    ],
    "What is measured": ["metrics", "baseline", "extractor", "extractor_weights", "reference", "data_root"],
    "Where it goes": ["out", "fresh", "cache", "plan_only", "watch", "quiet", "as_json", "log_json"],
}
EXAMPLES = [
    "samplerbench run --samplers ddim,dpm",
    "samplerbench run --samplers ddim,dpm:order=3,unipc --nfe 5,10 --metrics fid,kid --baseline ddim",
    "samplerbench run --plugin mine.py --samplers mine,ddim --baseline ddim --nfe 5,10 --samples 512 --watch",
    "samplerbench run --config results/earlier/run.json --seed 1",
]


def _configured(ctx: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    """Makes what the file says the defaults of the other options."""
    if path is None or ctx.resilient_parsing:
        return path
    from ..bench.config import read_config

    aside = ("config", "watch")
    params = [one for one in ctx.command.params if isinstance(one, click.Option) and one.name not in aside]
    names = {max(one.opts, key=len).removeprefix("--"): one for one in params}
    said, ctx.meta["earlier"] = read_config(path, names, [name for name, one in names.items() if one.is_flag])
    ctx.default_map = {str(names[name].name): value for name, value in said.items()}
    return path


@click.command(cls=Command, groups=GROUPS, examples=EXAMPLES, context_settings={"show_default": True})
@click.option(
    "--samplers",
    required=True,
    metavar="NAME[:key=value]…,…",
    shell_complete=samplers_of,
    help="Samplers to run, with options: ddim:eta=0.5,dpm. One with @5/6 behind it is run at these budgets alone, "
    "whatever --nfe says.",
)
@click.option("--nfe", metavar="N,N,…", help="Budgets of network evaluations.  [default: 5,10,20,50]")
@click.option(
    "--steps", metavar="N,N,…", help="Grid steps instead, as papers count; the evaluations they took are in the table."
)
@click.option(
    "--passes", metavar="N,N,…", help="Budgets of passes through networks instead: a guided evaluation takes two."
)
@click.option(
    "--model",
    default="fashion-mnist",
    metavar="NAME|PATH",
    help="A shipped model, or a folder, file, hf:OWNER/NAME or package.module:factory; see `samplerbench list models`.",
)
@click.option(
    "--prompts",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What samples are asked for, a prompt or a class a line; sample i gets line i modulo their number.  [default: "
    "the model's own]",
)
@click.option(
    "--guidance",
    metavar="SCALE|NAME[:key=value]…,…",
    help="Guidance, 1 for none: 1,2,4, or cfg:scale=2:high=5; see `samplerbench list guiders`.",
)
@plugin_option("Samplers, metrics and extractors of your own; may be given several times.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE.toml|run.json",
    is_eager=True,
    callback=_configured,
    help="Options from a file, by their names; those given here come first. run.json of an earlier run repeats it, "
    "into a new folder unless --out is given.",
)
@click.option("--samples", default=1024, help="Samples a cell.")
@click.option("--seed", default=0, help="Seed of x_T and of every later draw.")
@click.option(
    "--batch-size",
    type=int,
    help="Samples at once.  [default: 128 on a CPU; on a GPU what half its memory holds]",
)
@click.option("--device", default="auto", metavar="auto|cpu|cuda", help="Where the network runs.")
@click.option(
    "--dtype", default="float32", metavar="float32|tf32|float64|bfloat16|float16", help="Precision of the network."
)
@click.option(
    "--compile",
    is_flag=False,
    flag_value="inductor",
    default="no",
    metavar="[no|inductor|graphs]",
    help="Compile the network by torch's inductor, half a minute a worker; graphs, on a GPU, records its work as well.",
)
@click.option("--fast", is_flag=True, help="--dtype bfloat16 --compile: other rounding, often several times the speed.")
@click.option(
    "--metrics",
    default="fid",
    metavar="NAME,…",
    shell_complete=complete_from(lambda registry: {r.cls.name for r in registry.metrics}),
    help="What to measure; see `samplerbench list metrics`.",
)
@click.option(
    "--baseline",
    metavar="SAMPLER",
    shell_complete=samplers_of,
    help="One of the samplers: the others are compared with it, paired, after the table.",
)
@click.option(
    "--extractor",
    metavar="NAME[:key=value]…",
    shell_complete=complete_from(lambda registry: {r.cls.name for r in registry.extractors}),
    help="Feature extractor of the FID; see `samplerbench list extractors`.  [default: the model's own]",
)
@click.option(
    "--extractor-weights",
    type=click.Path(path_type=Path),
    help="Weights of the extractor, where they are not to be downloaded.",
)
@click.option(
    "--reference",
    metavar="FILE|DATASET",
    help="Real images: a file of statistics or of images, or a dataset's name.  [default: the model's own]",
)
@data_root_option("Where a dataset's files are, for a reference and for metrics of real images.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for results.csv, run.json and samples.  [default: results/DATE-TIME]",
)
@click.option(
    "--workers",
    default="serial",
    metavar="serial|N|gpus|ray[:ADDRESS]",
    help="Who samples: this process, N others, one a GPU, or a Ray cluster's. The samples are the same.",
)
@click.option(
    "--cell-timeout",
    type=float,
    metavar="SECONDS",
    help="End a cell whose sampling takes longer, all workers together.",
)
@click.option("--fresh", is_flag=True, help="Compute everything anew, whatever --out and the cache hold.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Folder of finished work.  [default: $SAMPLERBENCH_CACHE, or the one that `samplerbench info` names]",
)
@click.option("--plan-only", is_flag=True, help="Write the plan for `samplerbench worker` into --out, and run nothing.")
@click.option("--watch", is_flag=True, help="Run again whenever a plugin, or a module that it imports, is saved.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON instead of a table.")
@click.option("--log-json", type=click.Path(path_type=Path), help="Add a line of JSON an event to this file.")
@click.pass_context
def run(
    ctx: click.Context,
    /,
    samplers: str,
    nfe: str | None,
    steps: str | None,
    passes: str | None,
    metrics: str,
    guidance: str | None,
    plugins: tuple[str, ...],
    config: Path | None,
    watch: bool,
    plan_only: bool,
    baseline: str | None,
    out: Path | None,
    quiet: bool,
    as_json: bool,
    log_json: Path | None,
    **options: Any,
) -> int:
    """Put samplers against a model: FID, or other metrics, for each number of network evaluations.

    Writes results.csv (a row as each cell ends), run.json and a picture of samples a cell. A run that was
    stopped goes on when its --out is named again. Exits with 1 where a cell or a metric failed, or none could be run.
    """
    if as_json and baseline:
        raise UserError("--baseline prints a table of differences; leave out --json")
    if plan_only and (watch or baseline or as_json):
        raise UserError("--plan-only runs nothing; leave out --watch, --baseline and --json")
    typed = ctx.get_parameter_source("dtype") is ParameterSource.COMMANDLINE
    if options["fast"] and typed and options["dtype"] == "float32":
        raise UserError("--fast is --dtype bfloat16 --compile; leave out --dtype float32")
    from ..bench.given import split_names
    from .running import Asked, once

    axes = {"nfe": nfe, "steps": steps, "passes": passes}
    given = [name for name in axes if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given:  # of these what is typed is meant, not what a file says
        axes = {name: value if name in given else None for name, value in axes.items()}
    asked = Asked.of(
        samplers,
        axes,
        metrics,
        options | {"plugins": plugins, "guidance": () if guidance is None else split_names(guidance)},
        out=out,
        baseline=baseline,
        quiet=quiet,
        as_json=as_json,
        log_json=log_json,
        plan_only=plan_only,
        earlier=ctx.meta.get("earlier"),
    )
    if watch:
        from .watch import watch as run_again

        return run_again(asked)
    return once(asked)
