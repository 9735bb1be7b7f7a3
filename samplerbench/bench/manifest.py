"""What run.json says of a run: what was asked for, and what it was made with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import content_key
from .asked import asked_for
from .environment import environment
from .record import COLUMNS, SCHEMA

if TYPE_CHECKING:
    from .run import BenchmarkRun

__all__ = ["manifest"]


def manifest(run: BenchmarkRun, status: str) -> dict[str, Any]:
    """Plain values, and paths, for run.json."""
    registry, config = run.registry, run.config
    used = {cell.sampler.name: registry.entry(cell.sampler.name) for cell in run.cells}
    metrics = {metric.name: (metric, registry.metric_entry(metric.name)) for metric in run.metrics}
    guidances = dict.fromkeys(cell.cell.guidance for cell in run.cells if cell.cell.guidance)
    extractor = registry.find("extractors", run.extractor.extractor.name)
    return {
        "status": status,
        "command": sys.argv,
        "config": {name: getattr(config, name) for name in config.__dataclass_fields__},
        "cells": len(run.cells),
        "asked": asked_for(run.cells),
        "folder": str(Path.cwd()),
        "model": run.model.conditions(),
        "prompts": {"sha256": next((cell.cell.asked for cell in run.cells), "")},
        "guidance": {spec: {"sha256": content_key(held)} for spec, *held in guidances},
        "samplers": {
            name: {"distribution": r.distribution, "sha256": r.code_sha256, "code": r.code} for name, r in used.items()
        },
        "extractor": {
            "name": run.extractor.spec,
            "layer": run.extractor.layer,
            "sha256": run.extractor.sha256,
            "distribution": extractor.distribution,
            "code": extractor.code,
        },
        "reference": {
            "sha256": run.reference.sha256,
            "count": run.reference.statistics.count,
            **vars(run.reference.provenance),
        },
        "environment": environment(run.device),
        "metrics": {
            name: {"direction": m.direction, "about": m.about, "sha256": run.metric_sha256[name], "code": r.code}
            for name, (m, r) in metrics.items()
        },
        "schema": SCHEMA,
        "columns": COLUMNS,
    }
