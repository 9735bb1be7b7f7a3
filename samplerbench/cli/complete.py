"""What the shell offers at the tab key, by click's own mechanism: names of samplers and their options, of models,
metrics and so on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr
from typing import Any

import click

__all__ = ["complete_from", "samplers_of"]

Completer = Callable[[click.Context, click.Parameter, str], list[str]]


def samplers_of(ctx: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """Of 'ddim,dp' the samplers that start so, of 'dpm:or' its options, of 'dpm:mode=' their values."""
    before, comma, last = typed.rpartition(",")
    registry = _registry(ctx)
    name, colon, options = last.partition(":")
    if not colon:
        names = sorted({n for r in registry.samplers for n in (r.cls.name, *r.cls.aliases)})
        return [f"{before}{comma}{n}" for n in names if n.startswith(last)]
    from ..describing import choices_of
    from ..errors import UserError
    from ..sampler import options_of

    try:
        cls = registry.entry(name).cls
    except UserError:
        return []
    given, inner, part = options.rpartition(":")
    key, equals, value = part.partition("=")
    start = f"{before}{comma}{name}:{given}{inner}"
    if not equals:
        return [f"{start}{option.name}=" for option in options_of(cls) if option.name.startswith(key)]
    return [f"{start}{key}={choice}" for choice in choices_of(cls).get(key, []) if choice.startswith(value)]


def complete_from(names: Callable[[Any], Iterable[str]]) -> Completer:
    """Of 'fid,k' the names that start with what stands after the last comma; `names` gives them of a registry."""

    def complete(ctx: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
        before, comma, last = typed.rpartition(",")
        return [f"{before}{comma}{name}" for name in sorted(names(_registry(ctx))) if name.startswith(last)]

    return complete


def _registry(ctx: click.Context) -> Any:
    """What is registered, the plugins before the cursor included; a broken one is nothing to complete from."""
    from ..plugins import load_plugins

    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        try:
            return load_plugins(ctx.params.get("plugins") or ())
        except Exception:
            return load_plugins()
