"""What is shown of results, as plain data: tables, curves, fronts, pairs, strips of pictures, conditions.

A view holds numbers and words, no files and no statistics still to be done. Renderers (`terminal/`, `html/`, `figure`,
`markdown`, `latex`, `sheets`) take views and nothing else, so that all of them show the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..stats.honest import Honest

if TYPE_CHECKING:
    from .compare import Comparison
    from .said import Claims

__all__ = [
    "Axis",
    "Cell",
    "Chart",
    "Floor",
    "HonestBest",
    "Matrix",
    "Pair",
    "Point",
    "Published",
    "Reason",
    "Records",
    "Report",
    "Row",
    "RunFacts",
    "Series",
    "Slope",
    "Strip",
    "Table",
]

Direction = Literal["lower", "higher"]
Cost = Literal["evaluations", "seconds"]


@dataclass(frozen=True)
class Cell:
    """What a table says of a cell.

    Attributes:
        value, se: of the metric; None where it was not measured, or has no error.
        ratio: to the best value of the column.
        nfe: the counted evaluations where they are not the column's number.
        best: whether it is marked: it may be the best of its column. In a table of one row nothing is.
        status: done, skipped, failed, none (the cell is done and the metric is missing); '' where there is no cell.
    """

    value: float | None = None
    se: float | None = None
    ratio: float | None = None
    nfe: float | None = None
    best: bool = False
    status: str = ""


@dataclass(frozen=True)
class Row:
    """A sampler, with its spacing, and its cells: one a column of the table."""

    label: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class HonestBest:
    """The best of a column, chosen and estimated on different samples; None where the files lack what that takes."""

    column: float
    sampler: str
    found: Honest | None


@dataclass(frozen=True)
class Reason:
    """Why cells were skipped or failed, or why a metric or its error is missing.

    state: done (something is missing), skipped or failed. cells: as a run calls them.
    """

    state: str
    text: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A row a sampler, a column a number of evaluations or steps.

    Attributes:
        metric: its column in results.csv. title: what people call it.
        extrapolates: whether it depends on the number of samples.
        axis: what the columns are: budget, steps or nfe. columns: their numbers.
        how: how the errors of differences were had that the best are found by: paired, unpaired, mixed, or '' where
            there are none. extrapolated: whether the best are those of infinitely many samples.
        samples: how many samples each cell has; None where they differ, or are not said.
        conditions: what the cells have in common, in a line.
        notes: what is to be told of the files.
    """

    metric: str
    title: str
    direction: Direction
    extrapolates: bool
    axis: str
    columns: tuple[float, ...]
    rows: tuple[Row, ...]
    how: str
    extrapolated: bool
    honest: tuple[HonestBest, ...]
    samples: int | None
    conditions: str
    reasons: tuple[Reason, ...]
    notes: tuple[str, ...]

    @property
    def cells(self) -> list[Cell]:
        """All of them."""
        return [cell for row in self.rows for cell in row.cells]


@dataclass(frozen=True)
class Point:
    """A cell in a chart.

    Attributes:
        x, y: where it is. low, high: the 95 % interval of y; None where its error is not known.
        asked: the column of the table that it is of.
        front: whether no other point is better and cheaper. best: whether it may be the best of its column.
        behind: whether errors say that it is neither.
    """

    x: float
    y: float
    low: float | None
    high: float | None
    asked: float
    front: bool = False
    best: bool = False

    @property
    def behind(self) -> bool:
        return not (self.front or self.best or self.low is None)


@dataclass(frozen=True)
class Slope:
    """A straight line through a curve on two log axes, y = factor · x^exponent, with the exponent's standard error."""

    exponent: float
    factor: float
    se: float | None

    def at(self, x: float) -> float:
        """The line's y."""
        return self.factor * x**self.exponent


@dataclass(frozen=True)
class Series:
    """One configuration of a sampler; its points are joined.

    family: what is drawn in one colour: the samplers of one plugin. claims: None where they are not known.
    points: from the cheapest to the dearest. slope: where one is fitted.
    """

    label: str
    family: str
    claims: Claims | None
    points: tuple[Point, ...]
    slope: Slope | None = None


@dataclass(frozen=True)
class Axis:
    """title: with the unit, and which direction is better. ticks: increasing. low, high: where it begins and ends."""

    title: str
    log: bool
    low: float
    high: float
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        """Where a value is along the axis: 0 at its low end, 1 at its high one."""
        if self.log:
            if value <= 0:
                return -math.inf
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Floor:
    """A value that no sampler need go below: that of real images, or of the model's own converged samples."""

    value: float
    se: float | None
    label: str


@dataclass(frozen=True)
class Published:
    """A figure of the literature. series: the label of ours that it stands beside. about: source and conditions."""

    x: float
    y: float
    series: str
    about: str


@dataclass(frozen=True)
class Chart:
    """A metric against what a sample costs.

    name: what it is called by in a page. kind: `curves` shows all series, `front` the best over the faded rest. cost:
        what x is.
    """

    name: str
    kind: Literal["curves", "front"]
    cost: Cost
    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    floors: tuple[Floor, ...] = ()
    published: tuple[Published, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pair:
    """The metric of a row less that of a column.

    half_width: of the interval, which holds for all pairs of the matrix at once; None where there is no error.
    verdict: of the row: better, worse, undecided, same, unknown. needed: how many samples would decide it if the
        difference is what it seems.
    """

    delta: float
    half_width: float | None
    verdict: str
    needed: int | None = None


@dataclass(frozen=True)
class Matrix:
    """All pairs of samplers at one number of evaluations, below the diagonal: rows[i] has the pairs of sampler i with
    the samplers 0..i-1.

    infinite: how many of the differences are those of infinitely many samples: all, some or none. Where all are, the
        samplers are in their order; else in that of the metric of the samples that there are.
    left_out: samplers that there is no room for.
    """

    column: float
    labels: tuple[str, ...]
    rows: tuple[tuple[Pair, ...], ...]
    size: int
    infinite: Literal["all", "some", "none"]
    left_out: int = 0


@dataclass(frozen=True)
class Strip:
    """Pictures of the first samples of a cell, side by side; the i-th of every strip is from the same x_T. Or how they
    came to be, a row a sample: x_T, what the network predicted x_0 to be at each evaluation, x_0.

    image: the file's bytes. media: its type, such as image/png. count: how many samples. width, height: in pixels.
    evaluations: which are between x_T and x_0; none where the samples alone are shown.
    """

    label: str
    column: float
    image: bytes
    media: str
    count: int
    width: int
    height: int
    evaluations: tuple[int, ...] = ()


@dataclass(frozen=True)
class RunFacts:
    """What is known of one run. command: as it would be typed; '' where the run does not say it. facts: name and value,
    for people.
    """

    name: str
    command: str
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Records:
    """The rows of results.csv that are shown: plain values, None where a field is empty."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Report:
    """A page about runs.

    Attributes:
        charts: of the metric that the report is about; others: of the other metrics.
        baseline: every sampler against one; None where there is nothing to compare.
        strips, films: in the order of the table.
        version: of samplerbench, that made it.
    """

    title: str
    table: Table
    charts: tuple[Chart, ...]
    others: tuple[Chart, ...]
    baseline: Comparison | None
    matrices: tuple[Matrix, ...]
    strips: tuple[Strip, ...]
    films: tuple[Strip, ...]
    runs: tuple[RunFacts, ...]
    records: Records
    notes: tuple[str, ...]
    version: str
