"""Recipes: everything that decides what a training run gives, as one TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..errors import UserError, one_line, unknown
from ..plugins import load_plugins

__all__ = ["DataConfig", "ExpertsConfig", "FinishConfig", "OptimiserConfig", "Recipe", "find_recipe", "recipe_names"]


@dataclass(frozen=True)
class DataConfig:
    """`dataset` is the name of a class in torchvision.datasets, or `npz` (an array `images`, and `labels` for a
    classifier).
    """

    dataset: str
    flips: bool = False
    shift: int = 0  # largest random translation, in pixels; for classifiers


@dataclass(frozen=True)
class OptimiserConfig:
    """How the weights move. `steps` are batches; the learning rate warms up, stays, and falls linearly to 0 over the
    last `decay` of them.
    """

    steps: int
    batch_size: int = 128
    learning_rate: float = 1e-3
    optimiser: str = "adam"  # adam, or muon: Muon for the matrices and filters, Adam for the rest
    muon_learning_rate: float = 1e-2
    beta2: float = 0.99  # of Adam; its beta1 is 0.9
    warmup: int = 200
    decay: float = 0.5
    clip: float = 1.0
    weight_decay: float = 0.0
    restarts: tuple[tuple[int, float], ...] = ()  # [steps, rate]: further cycles that start at that rate and fall to 0
    ema: float = 0.999
    precision: str = "float32"  # or bfloat16: autocast of the network; auto: bfloat16 on a GPU that has it
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "restarts", tuple((int(n), float(rate)) for n, rate in self.restarts))
        if self.optimiser not in ("adam", "muon"):
            raise unknown("optimiser", self.optimiser, ("adam", "muon"))
        if self.precision not in ("float32", "bfloat16", "auto"):
            raise unknown("precision", self.precision, ("float32", "bfloat16", "auto"))
        if not 0 <= self.beta2 < 1:
            raise UserError(f"beta2 is at least 0 and below 1, got {self.beta2!r}")
        if self.steps < 1 or self.batch_size < 1 or not 0 <= self.decay <= 1 or not 0 <= self.ema < 1:
            raise UserError("a recipe needs steps >= 1, batch_size >= 1, 0 <= decay <= 1 and 0 <= ema < 1")

    @property
    def total(self) -> int:
        """Steps of the first cycle and of every restart."""
        return self.steps + sum(length for length, _ in self.restarts)

    def rate(self, step: int) -> float:
        """The factor of the learning rate at `step`, counted from 0."""
        if step < self.steps:
            falling = self.decay * self.steps
            return min(1.0, (step + 1) / max(self.warmup, 1), (self.steps - step) / falling if falling else 1.0)
        start = self.steps
        for length, peak in self.restarts:
            if step < start + length:
                return peak * (start + length - step) / length
            start += length
        return 0.0


@dataclass(frozen=True)
class ExpertsConfig:
    """Copies of the trained network that go on alone, each with one range of times (Balaji et al. 2022, eDiff-I, §4.1).

    last: the last time of each range but the last one; times are 1..T.
    steps: batches for each copy. The learning rate warms up to `rate` of the first training's and falls linearly to 0.
    """

    last: tuple[int, ...]
    steps: int
    rate: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "last", tuple(self.last))
        if not self.last or self.last[0] < 1 or any(a >= b for a, b in pairwise(self.last)):
            raise UserError(f"[experts] needs increasing times as 'last', got {list(self.last)}")
        if self.steps < 1:
            raise UserError("[experts] needs steps >= 1")

    def spans(self, total: int) -> list[tuple[int, int]]:
        """The ranges of the times 1..total: first < t <= second."""
        if self.last[-1] >= total:
            raise UserError(f"[experts] divides times below {total}, got {self.last[-1]} in 'last'")
        ends = [0, *self.last, total]
        return list(pairwise(ends))

    def optimiser(self, shared: OptimiserConfig, index: int) -> OptimiserConfig:
        """How the weights of copy `index` move, after those of all moved as `shared` says."""
        return replace(
            shared,
            steps=self.steps,
            learning_rate=shared.learning_rate * self.rate,
            muon_learning_rate=shared.muon_learning_rate * self.rate,
            decay=1.0,
            restarts=(),
            seed=shared.seed + 1 + index,
        )


@dataclass(frozen=True)
class FinishConfig:
    """What is made with the trained network, for an ε_θ.

    samples: images of samples.png, in 50 steps of ddim.
    mean_squares: training images of which E‖ε_θ‖² is estimated at 64 times, for `analytic-ddpm`; 0 leaves it out.
    reference: whether statistics of all training images in the recipe's extractor are put beside the model.
    """

    samples: int = 64
    mean_squares: int = 512
    reference: bool = True

    def __post_init__(self) -> None:
        if self.samples < 0 or self.mean_squares < 0:
            raise UserError("[finish] needs samples >= 0 and mean_squares >= 0")


@dataclass(frozen=True)
class Recipe:
    """A whole recipe. `kind` is `diffusion` (an ε_θ) or `classifier` (a feature extractor)."""

    name: str
    kind: str
    data: DataConfig
    optimiser: OptimiserConfig
    network: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=lambda: {"kind": "linear"})
    prediction: str = "epsilon"
    times: str = "uniform"  # or lognormal: see training/diffusion.py
    weighting: str = "epsilon"  # or v
    weights: str = "float32"  # or float16: how the trained weights are kept
    experts: ExpertsConfig | None = None
    extractor: str | None = None
    finish: FinishConfig = field(default_factory=FinishConfig)

    def __post_init__(self) -> None:
        for value, choices, kind in (
            (self.kind, ("diffusion", "classifier"), "kind of recipe"),
            (self.times, ("uniform", "lognormal"), "distribution of times"),
            (self.weighting, ("epsilon", "v"), "loss weighting"),
            (self.weights, ("float32", "float16"), "precision of weights"),
        ):
            if value not in choices:
                raise unknown(kind, value, choices)
        if self.extractor is not None:
            load_plugins().make("extractors", self.extractor)

    @property
    def total(self) -> int:
        """Batches in all."""
        return self.optimiser.total + (self.experts.steps * (len(self.experts.last) + 1) if self.experts else 0)


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
    try:
        for key, cls in PARTS.items():
            if key in table or key in ("data", "optimiser"):
                table[key] = cls(**_checked(cls, table.get(key, {}), f"[{key}] of recipe '{name}'"))
        return Recipe(**table)
    except TypeError as error:
        raise UserError(f"recipe '{name}': {error}") from None


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
