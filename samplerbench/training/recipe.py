"""Recipes: everything that decides what a training run gives, as one TOML file."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from dataclasses import Field, asdict, dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any

from ..diffusion.paths import schedule_from_config
from ..diffusion.vp import DiscreteSchedule
from ..errors import UserError, check_arguments, one_line, unknown
from ..models.preconditioning import Preconditioning
from ..plugins import load_plugins
from .parts import Bounds, DataConfig, ExpertsConfig, FinishConfig, OptimiserConfig, TextConfig

__all__ = [
    "DataConfig",
    "ExpertsConfig",
    "FinishConfig",
    "OptimiserConfig",
    "Recipe",
    "TextConfig",
    "find_recipe",
    "identity",
    "recipe_names",
]


@dataclass(frozen=True)
class Recipe:
    """A whole recipe. `kind` is `diffusion` (an ε_θ), `vae`, or `classifier` (a feature extractor)."""

    name: str
    kind: str
    data: DataConfig
    optimiser: OptimiserConfig
    network: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=lambda: {"kind": "linear"})
    prediction: str = "epsilon"
    times: str = "uniform"  # or lognormal: see training/diffusion.py
    lognormal: tuple[float, float] = (-0.9, 1.3)  # mean and deviation of log(σ/α), for those times
    weighting: str = "epsilon"  # or v
    beta: float = 1.0  # weight of a VAE's KL: see training/vae.py
    vae: str = ""  # the folder of the VAE in whose latents an ε_θ works
    text: TextConfig | None = None  # of an ε_θ that is asked in words
    weights: str = "float32"  # or float16: how the trained weights are kept
    experts: ExpertsConfig | None = None
    extractor: str | None = None
    finish: FinishConfig = field(default_factory=FinishConfig)

    def __post_init__(self) -> None:
        for value, choices, kind in (
            (self.kind, KINDS, "kind of recipe"),
            (self.times, ("uniform", "lognormal"), "distribution of times"),
            (self.weighting, ("epsilon", "v"), "loss weighting"),
            (self.weights, ("float32", "float16"), "precision of weights"),
        ):
            if value not in choices:
                raise unknown(kind, value, choices)
        if self.extractor is not None:
            load_plugins().make("extractors", self.extractor)
        for f in fields(self):
            kinds = OF_KINDS.get(f.name, KINDS)
            if self.kind not in kinds and getattr(self, f.name) != _default(f):
                belongs = " or ".join(kinds)
                raise UserError(f"recipe '{self.name}': {f.name} belongs to kind {belongs}; a {self.kind} has none")
        if self.beta not in BETA:
            raise UserError(f"recipe '{self.name}': beta is {BETA}, got {self.beta!r}")
        if self.kind != "classifier" and self.data.shift:
            raise UserError(f"recipe '{self.name}': data.shift belongs to kind classifier; a {self.kind} has none")
        if self.kind == "diffusion":
            object.__setattr__(self, "lognormal", _lognormal(self.lognormal))
            path = self.path()
            if problem := Preconditioning(self.prediction).problem(path):
                raise UserError(f"recipe '{self.name}': {problem}")
            if self.experts and self.text:
                raise UserError(f"recipe '{self.name}': experts are copies of a network without [text]")
            if self.vae and self.data.flips:
                raise UserError(f"recipe '{self.name}': data.flips belongs to training in pixels, and this has a vae")
            if self.experts:
                for i, _ in enumerate(self.experts.spans(len(path.betas))):
                    self.experts.optimiser(self.optimiser, i)

    def path(self) -> DiscreteSchedule:
        """The path that a network is trained on. Raises UserError where [schedule] is none, or has no labels."""
        schedule = schedule_from_config(self.schedule)
        if not isinstance(schedule, DiscreteSchedule):
            raise UserError(
                f"training needs a discrete schedule (linear, scaled-linear, cosine, sigmoid or betas), got "
                f"'{self.schedule['kind']}'"
            )
        return schedule

    def said(self) -> dict[str, Any]:
        """What recipes of its kind have, in plain values: a training's key, and what is kept of how it came about."""
        return {name: value for name, value in asdict(self).items() if self.kind in OF_KINDS.get(name, KINDS)}

    @property
    def total(self) -> int:
        """Batches in all."""
        return self.optimiser.total + (self.experts.steps * (len(self.experts.last) + 1) if self.experts else 0)


def identity(recipe: Recipe, data_sha256: str, experts: bool = False, vae: str = "") -> dict[str, Any]:
    """All that decides which weights training gives, as plain values by their keys: what a checkpoint belongs to. What
    is done after it is left out, so that it may be changed. experts: of a copy that goes on alone, with how it does.
    vae: the hash of the VAE, wherever it lies.
    """
    found: dict[str, Any] = {}
    for name, value in json.loads(json.dumps(recipe.said())).items():
        if name in AFTERWARDS or (name == "experts" and not experts):
            continue
        found |= {f"{name}.{key}": one for key, one in value.items()} if isinstance(value, dict) else {name: value}
    return found | {"sha256 of the images": data_sha256} | ({"sha256 of the VAE": vae} if vae else {})


AFTERWARDS = ("name", "weights", "extractor", "finish", "vae")
KINDS = ("diffusion", "vae", "classifier")
BETA, MEAN, DEVIATION = Bounds(0, 1000), Bounds(-100, 100), Bounds(0, 100, above=True)
OF_KINDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("schedule", "prediction", "times", "lognormal", "weighting", "vae", "text", "experts", "finish"),
        ("diffusion",),
    ),
    **dict.fromkeys(("weights", "extractor"), ("diffusion", "vae")),
    "beta": ("vae",),
}
"""What not every kind of recipe has."""


def _lognormal(value: Any) -> tuple[float, float]:
    """Raises UserError for what is no mean and deviation."""
    if not isinstance(value, list | tuple) or len(value) != 2 or value[0] not in MEAN or value[1] not in DEVIATION:
        raise UserError(f"lognormal is [mean, deviation] of log(σ/α), the deviation above 0, got {value!r}")
    return float(value[0]), float(value[1])


def _default(f: Field[Any]) -> Any:
    return f.default_factory() if callable(f.default_factory) else f.default


TYPES: dict[str, tuple[str, tuple[type, ...]]] = {
    "int": ("a whole number", (int,)),
    "float": ("a number", (int, float)),
    "str": ("a text", (str,)),
    "str | None": ("a text", (str,)),
    "bool": ("true or false", (bool,)),
    "dict[str, Any]": ("a table", (dict,)),
}
PARTS: dict[str, type] = {
    "data": DataConfig,
    "optimiser": OptimiserConfig,
    "experts": ExpertsConfig,
    "text": TextConfig,
    "finish": FinishConfig,
}


def _checked(cls: type, table: Any, where: str) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise UserError(f"{where} is a table of keys and values, got {table!r}")
    types = {f.name: str(f.type) for f in fields(cls)}
    for key, value in table.items():
        if key not in types:
            raise unknown(f"key in {where}", key, types)
        what, plain = TYPES.get(types[key], ("", ()))
        if what and (not isinstance(value, plain) or (isinstance(value, bool) and what != TYPES["bool"][0])):
            raise UserError(f"{key} in {where} is {what}, got {value!r}")
    return dict(table)


def recipe_names() -> list[str]:
    """The recipes inside the package."""
    folder = resources.files(__package__).joinpath("recipes")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def find_recipe(name: str, changes: Sequence[str] = ()) -> Recipe:
    """The recipe of that name in the package, or in the TOML file of that path.

    changes: what is other than in the file, as `key=value` or `table.key=value`; values are TOML, and what is not is
    text.
    """
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise UserError(f"no recipe file '{name}'")
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"recipe '{name}' cannot be read: {one_line(error)}") from None
    elif name in recipe_names():
        text = resources.files(__package__).joinpath("recipes").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    else:
        raise unknown("recipe", name, recipe_names())
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"recipe '{name}' is not valid TOML: {error}") from None
    for change in changes:
        _change(table, change)
    _checked(Recipe, table, f"recipe '{name}'")
    for key, cls in PARTS.items():
        if key in table or key in ("data", "optimiser"):
            where = f"[{key}] of recipe '{name}'"
            values = _checked(cls, table.get(key, {}), where)
            check_arguments(where, cls, values)
            table[key] = cls(**values)
    check_arguments(f"recipe '{name}'", Recipe, table)
    return Recipe(**table)


def _change(table: dict[str, Any], change: str) -> None:
    """Sets one key of a recipe's table. Raises UserError where `change` is no assignment."""
    name, equals, text = change.partition("=")
    *parts, key = name.strip().split(".")
    if not equals or not key or len(parts) > 1:
        raise UserError(f"--set is KEY=VALUE or TABLE.KEY=VALUE, like optimiser.steps=1000, got '{change}'")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    for part in parts:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise UserError(f"--set {change}: '{part}' of a recipe is no table")
    table[key] = value
