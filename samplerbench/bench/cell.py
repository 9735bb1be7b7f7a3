"""A cell: one sampler on one budget, and all else that its samples and their features depend on, as plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Literal

from ..files import content_key
from ..sampler import Sampler

__all__ = ["Axis", "Cell", "plain_options"]

Axis = Literal["nfe", "steps"]


@dataclass(frozen=True)
class Cell:
    """All that the samples of a cell, and their features, depend on; so who draws them is given a cell and no more.

    Every field is in the key. How many samples are drawn is no field: sample i is the same whatever their number. Nor
    is the batch size: it changes nothing but rounding.

    Attributes:
        model: hash of the model's config and weights.
        sampler: its spec, from which it is made.
        options: every option of the sampler with its value.
        code: hash of the plugin's code.
        axis, value: the budget of evaluations, or the number of steps, that was asked for.
        times: those of the grid; None where no grid could be planned.
        seed: of x_T and every later draw.
        dtype: precision of the network. compiled: whether torch compiles it, and how. device: cpu or cuda.
        extractor: its spec, its layer, the hash of its weights, the hash of its code.
        core: hash of samplerbench's own code that a sample and its features go through, and the versions of the
            distributions below it.
        torch: its version, the build included.
    """

    model: str
    sampler: str
    options: tuple[tuple[str, str], ...]
    code: str
    axis: Axis
    value: int
    times: tuple[float, ...] | None
    seed: int
    dtype: str
    compiled: str
    device: str
    extractor: tuple[str, str, str, str]
    core: str
    torch: str

    @cached_property
    def key(self) -> str:
        """The content key of the cell's samples and features: the hash of every field."""
        return content_key(asdict(self))

    @property
    def budget(self) -> int | None:
        return self.value if self.axis == "nfe" else None

    @property
    def label(self) -> str:
        return f"{self.sampler} {self.axis}={self.value}"

    def option(self, name: str) -> Any:
        """The value of one of the sampler's options, as text."""
        return dict(self.options)[name]


def plain_options(sampler: Sampler) -> tuple[tuple[str, str], ...]:
    """Every option of a sampler with its value, unmistakably: 1, 1.0, True and '1' are four values."""
    return tuple((f.name, repr(getattr(sampler, f.name))) for f in fields(sampler))
