"""A network's convention: what it is given for x and for a time, and what its output means.

x_t is in variance-preserving coordinates everywhere else. Here it becomes what the network was trained on, and what the
network says becomes ε or x_0. α and σ are those of the variance-preserving coordinates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..diffusion.schedule import Array, NoiseSchedule
from ..errors import UserError, unknown

__all__ = ["INPUTS", "LABELS", "MEANINGS", "PREDICTIONS", "Label", "Level", "Preconditioning"]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


class Level(NamedTuple):
    """Where on the path x is: α, σ, and the path's native scale, numbers or tensors [B, 1, 1, 1]."""

    alpha: Any
    sigma: Any
    scale: Any = 1.0

    @property
    def ratio(self) -> Any:
        """σ/α, which is σ on a variance-exploding path."""
        return self.sigma / self.alpha


LABELS: dict[str, Callable[[NoiseSchedule, Array], Array]] = {
    "index": lambda schedule, t: np.maximum(t - 1.0, 0.0),
    "time": lambda schedule, t: t,
    "sigma": lambda schedule, t: np.exp(-schedule.half_log_snr(t)),
    "log-sigma": lambda schedule, t: -schedule.half_log_snr(t),
    "flow-time": lambda schedule, t: schedule.sigma(t) * schedule.scale(t),
}
"""What a network is told of time t: t - 1 (the index of a discrete label), t, σ/α, its logarithm, or the native σ,
which is the flow's own time where times are shifted.
"""


@dataclass(frozen=True)
class Label:
    """factor · label + offset.

    kind: one of `LABELS`. EDM's ln(σ)/4 is log-sigma with factor 0.25; improved-diffusion's rescaled labels are index
    with factor 1000/T; SD3's are flow-time with factor 1000.
    between: what a network is told between two whole labels: `interpolate`, the number between, or `round`, the nearest
        of them: the index is rounded on a discrete path, the label itself on another.
    """

    kind: str = "index"
    factor: float = 1.0
    offset: float = 0.0
    between: str = "interpolate"

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or self.kind not in LABELS:
            raise unknown("label", self.kind, LABELS)
        for name in ("factor", "offset"):
            value = getattr(self, name)
            if not _is_number(value):
                raise UserError(f"{name} of a label is a finite number, got {value!r}")
        if self.factor == 0:
            raise UserError("factor of a label is not 0")
        if self.between not in ("interpolate", "round"):
            raise unknown("between of a label", self.between, ["interpolate", "round"])

    def __call__(self, schedule: NoiseSchedule, t: ArrayLike) -> Array:
        """What the network is given for time t: float64, of t's shape."""
        value = LABELS[self.kind](schedule, np.asarray(t, dtype=np.float64))
        if self.between == "round" and schedule.discrete:
            value = np.round(value)
        label = self.factor * value + self.offset
        return np.round(label) if self.between == "round" and not schedule.discrete else label


# each: (output, x, level, σ_data) -> ε, and -> x_0
PREDICTIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "epsilon": (
        lambda out, x, at, d: out,
        lambda out, x, at, d: (x - at.sigma * out) / at.alpha,
    ),
    "v": (  # α ε - σ x_0
        lambda out, x, at, d: at.alpha * out + at.sigma * x,
        lambda out, x, at, d: at.alpha * x - at.sigma * out,
    ),
    "x0": (
        lambda out, x, at, d: (x - at.alpha * out) / at.sigma,
        lambda out, x, at, d: out,
    ),
    "score": (  # ∇ log q of the native x_t: -ε/σ
        lambda out, x, at, d: -at.sigma * at.scale * out,
        lambda out, x, at, d: (x + at.sigma**2 * at.scale * out) / at.alpha,
    ),
    "velocity": (  # ε - x_0, of a flow: x_t = (1 - t) x_0 + t ε natively
        lambda out, x, at, d: at.scale * (x + at.alpha * out),
        lambda out, x, at, d: at.scale * (x - at.sigma * out),
    ),
    "velocity-to-data": (  # x_0 - ε
        lambda out, x, at, d: at.scale * (x - at.alpha * out),
        lambda out, x, at, d: at.scale * (x + at.sigma * out),
    ),
    "edm": (  # F of D = c_skip x + c_out F, with x = x_0 + s ε, s = σ/α
        lambda out, x, at, d: (at.ratio / at.alpha * x - d * (at.ratio**2 + d**2) ** 0.5 * out) / (at.ratio**2 + d**2),
        lambda out, x, at, d: (
            (d**2 / at.alpha * x + at.ratio * d * (at.ratio**2 + d**2) ** 0.5 * out) / (at.ratio**2 + d**2)
        ),
    ),
}
"""What an output can mean: `epsilon` (Ho et al. 2020), `v` (Salimans & Ho 2022, §4), `x0`, `score` (Song et al. 2021),
`velocity` (Liu et al. 2023) and its negative, and `edm`, the F of Karras et al. 2022, table 1.
"""

MEANINGS = {
    "epsilon": "ε, the noise",
    "v": "v = α ε - σ x_0",
    "x0": "x_0, the image",
    "score": "the score, -ε/σ of the native x_t",
    "velocity": "the flow's velocity, ε - x_0",
    "velocity-to-data": "the flow's velocity backwards, x_0 - ε",
    "edm": "EDM's F",
}
"""The same in words."""

INPUTS: dict[str, Callable[[Level, float], Any]] = {
    "native": lambda at, d: at.scale,
    "unit": lambda at, d: 1.0,
    "edm": lambda at, d: 1 / (at.alpha * (at.ratio**2 + d**2) ** 0.5),
}
"""What a network sees: x_t as it is on its path, in variance-preserving coordinates, or x_0 + σ ε over √(σ² +
σ_data²).
"""


@dataclass(frozen=True)
class Preconditioning:
    """prediction: one of `PREDICTIONS`. input: one of `INPUTS`. label: what the network is given for a time.
    sigma_data: of `edm`.
    """

    prediction: str = "epsilon"
    input: str = "native"
    label: Label = field(default_factory=Label)
    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        if not isinstance(self.prediction, str) or self.prediction not in PREDICTIONS:
            raise unknown("prediction", self.prediction, PREDICTIONS)
        if not isinstance(self.input, str) or self.input not in INPUTS:
            raise unknown("input", self.input, INPUTS)
        if not isinstance(self.label, Label):
            raise UserError(f"label of a Preconditioning is a Label, got {self.label!r}")
        if not (_is_number(self.sigma_data) and self.sigma_data > 0):
            raise UserError(f"sigma_data is a finite number above 0, got {self.sigma_data!r}")

    def given(self, x: Any, at: Level) -> Any:
        """x_t as the network sees it."""
        factor = INPUTS[self.input](at, self.sigma_data)
        return x if isinstance(factor, float) and factor == 1.0 else factor * x

    def epsilon(self, output: Any, x: Any, at: Level) -> Any:
        """The noise in x that the network's output means."""
        return PREDICTIONS[self.prediction][0](output, x, at, self.sigma_data)

    def x0(self, output: Any, x: Any, at: Level) -> Any:
        """The data in x that the network's output means. An ε or a score says nothing of it at α = 0."""
        return PREDICTIONS[self.prediction][1](output, x, at, self.sigma_data)

    def problem(self, schedule: NoiseSchedule) -> str:
        """Why no network on this path can have this convention; empty where it can."""
        if schedule.reaches_pure_noise and self.prediction in ("epsilon", "score", "edm"):
            return (
                f"a network of prediction '{self.prediction}' says nothing of x_0 at the start of this path, where "
                "α = 0; zero terminal SNR goes with v, x0 or velocity"
            )
        times = np.linspace(schedule.t_min, schedule.t_max, 9)
        flows = np.allclose((schedule.alpha(times) + schedule.sigma(times)) * schedule.scale(times), 1)
        if self.prediction.startswith("velocity") and not flows:
            return "a velocity ε - x_0 belongs to a flow, x_t = (1 - t) x_0 + t ε; this path is none"
        if self.label.kind == "index" and not schedule.discrete:
            return "label 'index' belongs to a discrete schedule; expected time, sigma, log-sigma or flow-time"
        if self.label.between == "round":
            if self.label.kind in ("sigma", "log-sigma"):
                return f"label '{self.label.kind}' is no count, so nothing is to be rounded; between is interpolate"
            ends = self.label(schedule, [schedule.t_min, schedule.t_max])
            if not schedule.discrete and abs(ends[1] - ends[0]) < 2:
                return "rounded labels are whole numbers; this label needs a factor, such as 1000"
        return ""

    def config(self) -> dict[str, Any]:
        """Plain values from which `from_config` makes the same."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Preconditioning:
        """Raises UserError, in one line, for what no convention can be."""
        values = dict(config)
        for key in values:
            if key not in [f.name for f in fields(cls)]:
                raise unknown("key of a network's convention", key, [f.name for f in fields(cls)])
        label = values.pop("label", None)
        if label is not None:
            if not isinstance(label, dict):
                raise UserError(f"label is a JSON object, got {label!r}")
            for key in label:
                if key not in [f.name for f in fields(Label)]:
                    raise unknown("key of a label", key, [f.name for f in fields(Label)])
            values["label"] = Label(**label)
        return cls(**values)
