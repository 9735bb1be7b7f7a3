"""Recipes: everything that decides what a training run gives, as one TOML file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..errors import UserError, one_line, unknown
from ..plugins import load_plugins

__all__ = ["DataConfig", "ExpertsConfig", "OptimiserConfig", "Recipe", "find_recipe", "recipe_names"]


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
    warmup: int = 200
    decay: float = 0.5
    clip: float = 1.0
    weight_decay: float = 0.0
    restarts: tuple[tuple[int, float], ...] = ()  # [steps, rate]: further cycles that start at that rate and fall to 0
    ema: float = 0.999
    precision: str = "float32"  # or bfloat16: autocast of the network
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "restarts", tuple((int(n), float(rate)) for n, rate in self.restarts))
        if self.optimiser not in ("adam", "muon"):
            raise unknown("optimiser", self.optimiser, ("adam", "muon"))
        if self.precision not in ("float32", "bfloat16"):
            raise unknown("precision", self.precision, ("float32", "bfloat16"))
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


def _checked(cls: type, table: dict[str, Any], where: str) -> dict[str, Any]:
    names = {f.name for f in fields(cls)}
    for key in table:
        if key not in names:
            raise unknown(f"key in {where}", key, names)
    return table


def recipe_names() -> list[str]:
    """The recipes inside the package."""
    folder = resources.files(__package__).joinpath("recipes")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def find_recipe(name: str) -> Recipe:
    """The recipe of that name in the package, or in the TOML file of that path."""
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
    _checked(Recipe, table, f"recipe '{name}'")
    try:
        table["data"] = DataConfig(**_checked(DataConfig, table.get("data", {}), f"[data] of recipe '{name}'"))
        table["optimiser"] = OptimiserConfig(
            **_checked(OptimiserConfig, table.get("optimiser", {}), f"[optimiser] of recipe '{name}'")
        )
        if "experts" in table:
            table["experts"] = ExpertsConfig(
                **_checked(ExpertsConfig, table["experts"], f"[experts] of recipe '{name}'")
            )
        return Recipe(**table)
    except TypeError as error:
        raise UserError(f"recipe '{name}': {error}") from None
