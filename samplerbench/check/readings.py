"""Readings of a network: the convention that its files declare, and the others that a mistake would have made of it.

A reading is data: a path, a `Preconditioning`, and what mistakes outside of these change. All readings are asked about
the same x_t, at the same λ, so that they solve the same task: a schedule is then what label a λ has, and data in [0, 1]
a shift of λ and of x.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..diffusion.flow import FlowSchedule
from ..diffusion.schedule import Array, NoiseSchedule
from ..diffusion.ve import EDMSchedule
from ..diffusion.vp import (
    CosineSchedule,
    SubVPSchedule,
    VPSchedule,
    cosine_schedule,
    linear_schedule,
    scaled_linear_schedule,
    sigmoid_schedule,
)
from ..models.preconditioning import MEANINGS, PREDICTIONS, Label, Preconditioning

__all__ = ["DECLARED", "Reading", "alternatives", "declared"]

DECLARED = "declared"
THOUSAND = 1000  # the labels of a continuous path are taken for so many


@dataclass(frozen=True, eq=False)
class Reading:
    """One way to read a network.

    Attributes:
        name: in a few words. mistake: what was wrong where this reading fits better than the declared one.
        path: where a λ has its time, and so its label. preconditioning: the network's convention there.
        data: (a, b): the network knows data a x_0 + b.
        seen: (a, b): it is given a x + b for x.
        sign: of its output.
        variant: which network: the declared one where it is empty.
        margin: of the logarithm of the ratio of errors, below which this reading is not held against the declared one.
    """

    name: str
    mistake: str
    path: NoiseSchedule
    preconditioning: Preconditioning
    data: tuple[float, float] = (1.0, 0.0)
    seen: tuple[float, float] = (1.0, 0.0)
    sign: float = 1.0
    variant: str = ""
    margin: float = 0.0

    @property
    def question(self) -> tuple[Any, ...]:
        """What the network is asked; readings that differ in the meaning of the answer alone have it in common."""
        asked = self.preconditioning
        return (id(self.path), asked.input, asked.sigma_data, asked.label, self.data, self.seen, self.variant)

    @property
    def meaning(self) -> tuple[str, float]:
        """What the output is taken for."""
        return self.preconditioning.prediction, self.sign

    def label(self, half_log_snr: Array, t: Array | None = None) -> Array:
        """What the network is told of x at λ; at the time t, where it is known."""
        time = self.time(half_log_snr) if t is None else t
        return self.preconditioning.label(self.path, time)

    def time(self, half_log_snr: Array) -> Array:
        """The time of λ on its path, or the nearest that the path has."""
        return np.clip(self.path.time(half_log_snr), self.path.t_min, self.path.t_max)


def declared(path: NoiseSchedule, preconditioning: Preconditioning) -> Reading:
    """The reading that the model's files declare."""
    return Reading(DECLARED, "", path, preconditioning)


def alternatives(right: Reading, latent: bool = False) -> list[Reading]:
    """Every other reading of the declared network that is worth a comparison. latent: whether its data are latents."""
    of_data = _scales(right) if latent else _ranges(right)
    return [*_outputs(right), *_labels(right), *_schedules(right), *_conventions(right), *of_data, *_inputs(right)]


def _outputs(right: Reading) -> Iterator[Reading]:
    own = right.preconditioning.prediction
    for name in PREDICTIONS:
        if name != own:
            said = replace(right.preconditioning, prediction=name)
            mistake = f"the output seems to be {MEANINGS[name]}"
            yield replace(right, name=f"output is {name}", mistake=mistake, preconditioning=said)
    if not own.startswith("velocity"):  # whose negative is the other velocity
        yield replace(right, name="output negated", mistake="the output seems to have the other sign", sign=-right.sign)


def _labels(right: Reading) -> Iterator[Reading]:
    label, path = right.preconditioning.label, right.path
    first, last = (float(v) for v in label(path, [path.t_min, path.t_max]))
    span = abs(last - first)

    def with_label(name: str, mistake: str, new: Label) -> Reading:
        return replace(right, name=name, mistake=mistake, preconditioning=replace(right.preconditioning, label=new))

    if label.kind in ("index", "time", "flow-time"):
        unit = label.factor if path.discrete else _round_unit(span)
        for steps, words in ((-1.0, "one"), (-0.5, "a half"), (0.5, "a half"), (1.0, "one")):
            yield with_label(
                f"label {'+' if steps > 0 else '-'} {'1' if abs(steps) == 1 else '½'}",
                f"the label seems to be off by {words}, too {'low' if steps > 0 else 'high'}",
                replace(label, offset=label.offset + steps * unit),
            )
        yield with_label(
            "labels reversed",
            "the label seems to run the other way",
            replace(label, factor=-label.factor, offset=first + last - label.offset),
        )
        count = path.t_max if path.discrete else float(THOUSAND)
        factors = {1 / count: f"÷ {count:g}"} if span > 10 else {count: f"× {count:g}"}
        if path.discrete and count != THOUSAND:
            factors |= {THOUSAND / count: f"× {THOUSAND:g}/{count:g}"}
        for factor, words in factors.items():
            yield with_label(
                f"label {words}",
                f"the label seems to want a factor, {words}",
                replace(label, factor=label.factor * factor, offset=label.offset * factor),
            )
        return
    kinds = {
        "label is σ": Label("sigma"),
        "label is ln σ": Label("log-sigma"),
        "label is ln(σ)/4": Label("log-sigma", factor=0.25),
        "label is ln(σ/2)": Label("log-sigma", offset=-float(np.log(2))),
    }
    for name, new in kinds.items():
        if new != label:
            yield with_label(name, f"the {name.replace('label is', 'label seems to be')}", new)


def _round_unit(span: float) -> float:
    """One of a thousand labels: 1 where they are counted, a thousandth of the range where they are a fraction."""
    return 1.0 if span > 10 else span / THOUSAND


def _schedules(right: Reading) -> Iterator[Reading]:
    """The same labels on other paths: which λ a label stands for."""
    path = right.path
    if path.discrete:
        steps = int(path.t_max)
        others: dict[str, Callable[[], NoiseSchedule]] = {
            "linear": lambda: linear_schedule(steps, 0.1 / steps, 20 / steps),
            "scaled-linear": lambda: scaled_linear_schedule(steps, 0.85 / steps, 12 / steps),
            "cosine": lambda: cosine_schedule(steps),
            "sigmoid": lambda: sigmoid_schedule(steps, 0.1 / steps, 20 / steps),
        }
        if steps < 100:
            others = {"cosine": others["cosine"]}
    elif path.t_max <= 1:
        others = {"vp": VPSchedule, "sub-vp": SubVPSchedule, "cosine-continuous": CosineSchedule, "flow": FlowSchedule}
    else:
        others = {}
    finite = path.first_time(pure_noise=False)
    lam = np.linspace(float(path.half_log_snr(finite)), float(path.half_log_snr(path.t_min)), 50)
    for name, make in others.items():
        other = replace(right, name=f"schedule {name}", mistake=f"the schedule seems to be {name}", path=make())
        if not np.allclose(other.label(lam), right.label(lam), rtol=1e-4, atol=1e-4 * abs(float(right.label(lam)[0]))):
            yield other


def _conventions(right: Reading) -> Iterator[Reading]:
    """Whole conventions of other families."""
    whole = {
        "ε of DDPM": (linear_schedule(), Preconditioning("epsilon")),
        "flow, time × 1000": (FlowSchedule(), Preconditioning("velocity", label=Label("flow-time", 1000.0))),
        "flow, time in [0, 1]": (FlowSchedule(), Preconditioning("velocity", label=Label("flow-time"))),
        "EDM": (EDMSchedule(), Preconditioning("edm", "edm", Label("log-sigma", 0.25))),
    }
    kinds = {"ε of DDPM": right.path.discrete, "EDM": right.path.name == "edm"}
    for name, (path, convention) in whole.items():
        if not kinds.get(name, right.path.name == path.name):
            yield replace(
                right, name=name, mistake=f"the network seems to be {name}", path=path, preconditioning=convention
            )


def _ranges(right: Reading) -> Iterator[Reading]:
    for name, data in (("data in [0, 1]", (0.5, 0.5)), ("data in [-½, ½]", (0.5, 0.0))):
        yield replace(right, name=name, mistake=f"the network seems to know {name}, not in [-1, 1]", data=data)
    for name, seen in (("input (x + 1)/2", (0.5, 0.5)), ("input 2x - 1", (2.0, -1.0))):
        mistake = f"the network seems to want {name.removeprefix('input ')} for x"
        yield replace(right, name=name, mistake=mistake, seen=seen)


def _scales(right: Reading) -> Iterator[Reading]:
    for name, words, factor in (("latents × 2", "twice", 2.0), ("latents ÷ 2", "half", 0.5)):
        mistake = f"the network seems to know latents {words} as large"
        yield replace(right, name=name, mistake=mistake, data=(factor, 0.0))


def _inputs(right: Reading) -> Iterator[Reading]:
    if not np.allclose(right.path.scale(np.linspace(right.path.t_min, right.path.t_max, 5)), 1):
        for given in ("native", "unit", "edm"):
            if given != right.preconditioning.input:
                said = replace(right.preconditioning, input=given)
                yield replace(
                    right, name=f"input {given}", mistake=f"the input seems to be {given}", preconditioning=said
                )
