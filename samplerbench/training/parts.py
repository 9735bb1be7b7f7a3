"""The tables of a recipe, checked when they are read: training takes hours, and no bad value may end it late."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

from ..errors import UserError, unknown

__all__ = ["DataConfig", "ExpertsConfig", "FinishConfig", "OptimiserConfig", "TextConfig"]


class Bounds(NamedTuple):
    """What a number may be. above, below: the end itself is out. whole: no fractions."""

    least: float
    most: float
    whole: bool = False
    above: bool = False
    below: bool = False

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        low = self.least < value if self.above else self.least <= value
        return low and (value < self.most if self.below else value <= self.most)  # NaN is in none

    def __str__(self) -> str:
        low = f"{'above' if self.above else 'from'} {self.least:.15g}"
        return f"a {'whole ' * self.whole}number {low} {'to below' if self.below else 'to'} {self.most:.15g}"


MANY = 10**9
COUNT, RATE = Bounds(1, MANY, whole=True), Bounds(0, MANY, above=True)
PART, BELOW_ONE = Bounds(0, 1), Bounds(0, 1, below=True)
OPTIMISER = {
    "steps": COUNT,
    "batch_size": COUNT,
    "learning_rate": RATE,
    "muon_learning_rate": RATE,
    "beta2": BELOW_ONE,
    "warmup": Bounds(0, MANY, whole=True),
    "decay": PART,
    "clip": RATE,
    "weight_decay": Bounds(0, MANY),
    "ema": BELOW_ONE,
    "seed": Bounds(0, 10**12, whole=True),  # a generator's seed, 1,000,003 times it, is below 2^63
}
EXPERTS = {"steps": COUNT, "rate": RATE}
FINISH = {name: Bounds(0, MANY, whole=True) for name in ("samples", "mean_squares")}
TEXT = {name: Bounds(1, 2**16, whole=True) for name in ("length", "width", "depth", "heads")} | {"dropout": PART}
SHIFT = {"shift": Bounds(0, 1000, whole=True)}


def _check(part: object, table: str, bounds: dict[str, Bounds]) -> None:
    """Raises UserError for the first value of `part` that is out of its bounds."""
    for name, allowed in bounds.items():
        if (value := getattr(part, name)) not in allowed:
            raise UserError(f"{name} in [{table}] is {allowed}, got {value!r}")


def _restarts(value: Any) -> tuple[tuple[int, float], ...]:
    """Pairs [steps, rate]. Raises UserError for anything else."""
    if not isinstance(value, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 and pair[0] in COUNT and pair[1] in RATE for pair in value
    ):
        raise UserError(f"restarts in [optimiser] is a list of pairs [steps, rate] like [[1000, 0.4]], got {value!r}")
    return tuple((steps, float(rate)) for steps, rate in value)


@dataclass(frozen=True)
class DataConfig:
    """`dataset` is the name of a class in torchvision.datasets, or `npz` (an array `images`, and `labels` for a
    classifier).
    """

    dataset: str
    flips: bool = False
    shift: int = 0  # largest random translation, in pixels; for classifiers

    def __post_init__(self) -> None:
        _check(self, "data", SHIFT)


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
        _check(self, "optimiser", OPTIMISER)
        object.__setattr__(self, "restarts", _restarts(self.restarts))
        if self.optimiser not in ("adam", "muon"):
            raise unknown("optimiser", self.optimiser, ("adam", "muon"))
        if self.precision not in ("float32", "bfloat16", "auto"):
            raise unknown("precision", self.precision, ("float32", "bfloat16", "auto"))

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
        last = self.last
        whole = isinstance(last, list | tuple) and all(type(t) is int and t > 0 for t in last)
        if not whole or not last or any(a >= b for a, b in pairwise(last)):
            raise UserError(f"last in [experts] is a list of increasing whole times like [200, 500], got {last!r}")
        object.__setattr__(self, "last", tuple(last))
        _check(self, "experts", EXPERTS)

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

    samples: images of samples.png, in 50 steps of ddim, or in as many as a shorter schedule has.
    mean_squares: training images of which E‖ε_θ‖² is estimated at 64 times, for `analytic-ddpm`; 0 leaves it out.
    reference: whether statistics of all training images in the recipe's extractor are put beside the model.
    reference_of: a shipped model of the same images and extractor; then the model names its statistics instead.
    """

    samples: int = 64
    mean_squares: int = 512
    reference: bool = True
    reference_of: str = ""

    def __post_init__(self) -> None:
        from ..models.formats.own import shipped_models

        _check(self, "finish", FINISH)
        if self.reference_of and self.reference_of not in (known := shipped_models()):
            raise unknown("model that is shipped", self.reference_of, known)


@dataclass(frozen=True)
class TextConfig:
    """The text encoder that is trained with an ε_θ, and what it reads.

    captions: `garments`, what is measured of an image of Fashion-MNIST, see training/garments.py.
    dropout: how often the caption is left out, so that the network learns what there is without one, for guidance.
    length, width, depth, heads: see `TextEncoderConfig`.
    """

    captions: str = "garments"
    dropout: float = 0.1
    length: int = 16
    width: int = 96
    depth: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        _check(self, "text", TEXT)
        if self.captions != "garments":
            raise unknown("captions in [text]", self.captions, ("garments",))
        if self.width % self.heads:
            raise UserError(f"width {self.width} in [text] is not divisible by heads {self.heads}")
