"""What `samplerbench list` prints. Nothing here imports torch."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import get_args, get_type_hints

import click
from rich.table import Table
from rich.text import Text

from ...describing import described
from ...diffusion.grid import FINALS
from ...diffusion.paths import PATHS
from ...diffusion.spacing import SPACINGS
from ...errors import PluginError, contained, one_line
from ...metrics.extractor import shape_text
from ...options import parse_spec
from ...plugins import load_plugins
from ...registry import OWN, Registry
from ...sampler import Sampler, options_of
from .console import plain_console

__all__ = [
    "print_extractors",
    "print_guiders",
    "print_metrics",
    "print_models",
    "print_paths",
    "print_recipes",
    "print_samplers",
    "print_spacings",
]


def print_samplers(plugins: Sequence[str], names: Sequence[str] = ()) -> int:
    """A block a sampler: paper, order, evaluations, options with defaults, distribution; of those in `names`, and what
    each option does, where there are any. Returns 1 where a plugin was skipped.
    """
    registry = load_plugins(plugins)
    console = plain_console()
    named = [registry.entry(parse_spec(name)[0]) for name in names]
    for registered in dict.fromkeys(named) if names else registry.current():
        cls = registered.cls
        try:
            with contained(cls.name):
                order = _claims(cls())
        except Exception as error:  # a plugin's, which costs it its line
            order = f"its claims cannot be read: {one_line(error)}"
            registry.problems.append(PluginError(f"{registered.distribution}: {cls.name}: {order}"))
        also = f"  (also {', '.join(cls.aliases)})" if cls.aliases else ""
        console.print(Text.assemble((cls.name, "bold"), also), soft_wrap=True)
        facts = [("paper", cls.paper or "none given"), ("order", order), ("from", registered.distribution)]
        about = described(cls) if names else {}
        for option, text in _options(cls).items():
            facts.append(("option", text))
            if option in about:
                facts.append(("", f"  {about[option]}"))
        for key, text in facts:
            console.print(f"  {key:<7}", Text(text), soft_wrap=True)
    return _tell_problems(registry)


def print_metrics(plugins: Sequence[str]) -> int:
    """A block a metric: what it measures, direction, paper, distribution. Returns 1 where a plugin was skipped."""
    registry = load_plugins(plugins)
    console = plain_console()
    for registered in registry.current_metrics():
        cls = registered.cls
        console.print(Text.assemble((cls.name, "bold"), f"  {cls.about}; {cls.direction} is better"), soft_wrap=True)
        for key, text in (("paper", cls.paper or "none given"), ("from", registered.distribution)):
            console.print(f"  {key:<7}", Text(text), soft_wrap=True)
    return _tell_problems(registry)


def _tell_problems(registry: Registry) -> int:
    for text in [*registry.notices(), *map(str, registry.problems)]:
        click.echo(text, err=True)
    return 1 if registry.problems else 0


def _options(cls: type[Sampler]) -> dict[str, str]:
    """A line an option: its default, and its values or its type."""
    hints = get_type_hints(cls)
    found = {}
    for option in options_of(cls):
        kind = hints[option.name]
        choices = {"spacing": cls.spacings(), "final": FINALS}.get(option.name) or get_args(kind)
        values = " | ".join(map(_word, choices or [kind]))
        default = "none" if option.default is None else option.default
        found[option.name] = f"{option.name}={default}  ({values})"
    return found


def _word(value: object) -> str:
    """A choice, or a type by its name."""
    if value is type(None):
        return "none"
    return value.__name__ if isinstance(value, type) else str(value)


def _claims(sampler: Sampler) -> str:
    noise = "stochastic" if sampler.stochastic else "deterministic"
    order = "none claimed" if sampler.global_order is None else f"{sampler.global_order:g}"
    return f"{order}, {_evaluations(sampler)} evaluations for n steps, {noise}"


def _evaluations(sampler: Sampler) -> str:
    """The claim as a formula a·n + b where it is one."""
    at = [sampler.evaluations(n) for n in (10, 11, 12)]
    slope, constant = at[1] - at[0], at[0] - 10 * (at[1] - at[0])
    if at[2] - at[1] != slope:
        return f"{at[0]} for 10"
    return ("n" if slope == 1 else f"{slope}n") + (
        f" + {constant}" if constant > 0 else f" - {-constant}" if constant else ""
    )


def print_models(plugins: Sequence[str]) -> int:
    """A block a shipped model, and then a line a format. Returns 1 where a plugin was skipped."""
    import json
    from importlib import resources

    registry = load_plugins(plugins)
    console = plain_console()
    folders = resources.files("samplerbench.models").joinpath("shipped").iterdir()
    for folder in sorted(folders, key=lambda entry: entry.name):
        config = json.loads(folder.joinpath("config.json").read_text(encoding="utf-8"))
        training, schedule, parts = config["training"], config["schedule"], config.get("parts", {})
        shape, latents = config["architecture"]["image_shape"], None
        if "vae" in parts:
            decoder = json.loads(folder.joinpath("vae", "config.json").read_text(encoding="utf-8"))
            shape, latents = decoder["architecture"]["image_shape"], shape
        seen = f"{training['recipe']['data']['dataset']}, {training['images_seen'] / 1e6:.1f} M images seen"
        console.print(Text(folder.name, "bold"), soft_wrap=True)
        for key, text in (
            ("images", "×".join(map(str, shape))),
            *([("latents", "×".join(map(str, latents)))] if latents else []),
            *([("asked", "a prompt a sample")] if "text" in parts else []),
            ("predicts", config["prediction"]),
            ("schedule", f"{schedule['kind']}, T = {schedule.get('steps', '-')}"),
            ("features", config["extractor"]),
            ("trained on", seen),
        ):
            console.print(f"  {key:<10}", Text(text), soft_wrap=True)
    console.print("\nformats of --model", style="bold")
    for registered in registry.all("models"):
        origin = "" if registered.level == OWN else f" (from {registered.distribution})"
        console.print(f"  {registered.cls.name:<16}", Text(f"{registered.cls.about}{origin}"), soft_wrap=True)
    return _tell_problems(registry)


def print_spacings(plugins: Sequence[str]) -> int:
    """A line a spacing, and where it comes from where it is not ours. Returns 1 where a plugin was skipped."""
    registry = load_plugins(plugins)
    origins = {r.cls.name: r.distribution for r in registry.all("spacings")}
    _print_named({name: (type(spacing), origins.get(name, "")) for name, spacing in SPACINGS.items()})
    return _tell_problems(registry)


def print_paths(plugins: Sequence[str]) -> int:
    """A line a kind of path, and where it comes from where it is not ours. Returns 1 where a plugin was skipped."""
    registry = load_plugins(plugins)
    origins = {r.cls.name: r.distribution for r in registry.all("paths")}
    _print_named({name: (kind, origins.get(name, "")) for name, kind in PATHS.items()})
    return _tell_problems(registry)


def print_guiders(plugins: Sequence[str]) -> int:
    """A block a guider: what it does, options with their defaults, paper, distribution. Returns 1 where a plugin was
    skipped.
    """
    registry = load_plugins(plugins)
    console = plain_console()
    for registered in registry.all("guiders"):
        cls = registered.cls
        console.print(Text.assemble((cls.name, "bold"), f"  {cls.about}"), soft_wrap=True)
        options = ", ".join(f"{f.name}={f.default}" for f in fields(cls))
        for key, text in (("options", options), ("paper", cls.paper), ("from", registered.distribution)):
            if text:
                console.print(f"  {key:<7}", Text(text), soft_wrap=True)
    return _tell_problems(registry)


def _print_named(found: Mapping[str, tuple[object, str]]) -> None:
    """A name, the first paragraph of its docstring, and its origin."""
    console = plain_console()
    for name, (what, origin) in found.items():
        about = " ".join((inspect.getdoc(what) or "").split("\n\n")[0].split()).rstrip(".")
        console.print(Text.assemble((name, "bold"), f"  {about}" if about else ""), soft_wrap=True)
        if origin:
            console.print(f"  {'from':<7}", Text(origin), soft_wrap=True)


def print_extractors(plugins: Sequence[str]) -> int:
    """A block a feature extractor: what it gives, images, layers, paper, distribution. Returns 1 where a plugin was
    skipped.
    """
    registry = load_plugins(plugins)
    console = plain_console()
    for registered in registry.all("extractors"):
        cls = registered.cls
        console.print(Text.assemble((cls.name, "bold"), f"  {cls.about}"), soft_wrap=True)
        facts = [
            ("images", shape_text(cls.takes)),
            ("layers", ", ".join(cls.layers) if len(cls.layers) > 1 else ""),
            ("paper", cls.paper),
            ("from", registered.distribution),
        ]
        for key, text in facts:
            if text:
                console.print(f"  {key:<7}", Text(text), soft_wrap=True)
    return _tell_problems(registry)


def print_recipes() -> None:
    """A row a recipe."""
    from ...training.recipe import find_recipe, recipe_names

    table = Table("recipe", "kind", "dataset", "steps", "batch size")
    for name in recipe_names():
        recipe = find_recipe(name)
        table.add_row(name, recipe.kind, recipe.data.dataset, str(recipe.total), str(recipe.optimiser.batch_size))
    plain_console().print(table)
