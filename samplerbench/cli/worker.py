"""`samplerbench worker`."""

from __future__ import annotations

import re
from pathlib import Path

import click

from ..errors import UserError
from .help import Command

EXAMPLES = [
    "samplerbench run --samplers ddim,dpm --samples 50000 --out results/big --plan-only",
    "samplerbench worker results/big --slice $SLURM_ARRAY_TASK_ID/8     # on eight machines",
    "samplerbench run --config results/big/run.json --out results/big   # measures, and writes the table",
]


def _part(ctx: click.Context, parameter: click.Parameter, text: str) -> tuple[int, int]:
    first, _, parts = text.partition("/")
    known = all(re.fullmatch(r"[0-9]{1,9}", one) for one in (first, parts))
    if not (known and 1 <= int(first) <= int(parts)):
        raise UserError(f"--slice {text}: expected I/N with I from 1 to N, such as 1/8")
    return int(first), int(parts)


@click.command(cls=Command, examples=EXAMPLES, context_settings={"show_default": True})
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--slice", "part", default="1/1", metavar="I/N", callback=_part, help="The I-th of N parts of the work.")
@click.option("--device", metavar="cuda:N", help="Another device than the plan's, of its kind.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def worker(run: Path, part: tuple[int, int], device: str | None, quiet: bool) -> int:
    """Sample for a run that was planned, on this machine.

    RUN is its folder, which all workers see; nothing else is shared and nobody waits for anybody. Shards are written
    into RUN alone; `samplerbench run --out RUN` measures them. A worker that is started again goes on. Exits with 1
    where a sampler failed.
    """
    from ..bench.written import work

    failed = work(run, part, lambda text: None if quiet else click.echo(text, err=True), device)
    return 1 if failed else 0
