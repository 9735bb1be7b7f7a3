"""`samplerbench info`."""

from __future__ import annotations

import click


@click.command()
def info() -> None:
    """Print versions, hardware and plugins, for a bug report."""
    import json

    from ..bench.environment import environment
    from ..devices import resolve_device
    from ..folders import shard_cache
    from ..plugins import load_plugins

    registry = load_plugins()
    report = environment(resolve_device("auto")) | {
        "cache": str(shard_cache()),
        "samplers": {r.cls.name: r.distribution for r in registry.current()},
        "metrics": {r.cls.name: r.distribution for r in registry.current_metrics()},
        "extractors": {r.cls.name: r.distribution for r in registry.all("extractors")},
        "problems": [str(problem) for problem in registry.problems],
    }
    click.echo(json.dumps(report, indent=2))
