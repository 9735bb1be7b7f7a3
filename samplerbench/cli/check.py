"""`samplerbench check`."""

from __future__ import annotations

import click

from ..errors import UserError


@click.command()
@click.argument("samplers", required=False, metavar="[NAME[:key=value]…,…]")
@click.option("--plugin", "plugins", multiple=True, metavar="FILE.py|FOLDER|MODULE", help="Samplers of your own.")
def check(samplers: str | None, plugins: tuple[str, ...]) -> int:
    """Put samplers to the proof on data whose ε is known: evaluations, order, moments, manners.

    Without names, every sampler of the --plugin files is checked. Takes seconds, on the CPU. Exits with 1 on a failure.
    """
    from ..options import split_specs
    from ..plugins import load_plugins
    from ..registry import NAMED

    registry = load_plugins(plugins)
    specs = split_specs(samplers) if samplers else [r.cls.name for r in registry.samplers if r.level == NAMED]
    if not specs and plugins:
        raise UserError(f"{', '.join(plugins)} registers no sampler, and check tests no metrics; run takes them")
    if not specs:
        raise UserError("name samplers to check, or a --plugin; try samplerbench check ddim,dpm-solver")
    chosen = [registry.sampler(spec) for spec in specs]

    from ..report.terminal.findings import print_findings

    return print_findings(chosen)
