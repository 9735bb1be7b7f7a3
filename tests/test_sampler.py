"""Options of samplers, from text and from values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from samplerbench import Sampler, UserError
from samplerbench.plugins import load_plugins
from samplerbench.sampler import make_sampler, parse_spec, split_specs

REGISTRY = load_plugins()


@dataclass(frozen=True, kw_only=True)
class Toy(Sampler):
    name = "toy"

    count: int = 3
    rate: float = 0.5
    flag: bool = False
    kind: Literal["a", "b"] = "a"
    limit: float | None = None

    def evaluations(self, steps: int) -> int:
        return 2 * steps + 1

    def sample(self, eps, grid, x, noise):
        return x


def test_text_becomes_the_fields_type():
    toy = make_sampler(Toy, {"count": "7", "rate": "1e-2", "flag": "true", "kind": "b", "limit": "4"})
    assert toy == Toy(count=7, rate=0.01, flag=True, kind="b", limit=4.0)
    assert make_sampler(Toy, {"limit": "none"}).limit is None


def test_spec_names_changed_options_and_makes_the_same_sampler_again():
    assert REGISTRY.sampler("dpm:order=1").spec() == "dpm-solver:order=1"
    assert REGISTRY.sampler("ddim:eta=0").spec() == "ddim"
    spec = "ddim:eta=0.25:spacing=uniform"
    assert REGISTRY.sampler(spec).spec() == spec


def test_steps_inverts_evaluations():
    assert [Toy().steps(nfe) for nfe in (3, 4, 5, 21)] == [1, 1, 2, 10]
    with pytest.raises(UserError, match="toy needs at least 3 evaluations, got 2"):
        Toy().steps(2)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("dimm", "unknown sampler 'dimm'; did you mean 'ddim'"),
        ("ddim:ets=1", "unknown option of ddim 'ets'; did you mean 'eta'"),
        ("ddim:eta=lots", "ddim:eta is a number, got 'lots'"),
        ("ddim:eta=2", "ddim:eta is a number from 0 to 1, got 2"),
        ("ddim:eta", "expected name:key=value:key=value, got 'eta'"),
        ("ddim:eta=", "expected name:key=value"),
        ("ddim:eta=1:eta=0", "'eta' is given twice"),
        ("ddim:spacing=quadartic", "unknown spacing 'quadartic'; did you mean 'quadratic'"),
        ("ddim:final=nul", "unknown final"),
        ("ipndm:order=two", "ipndm:order is a whole number, got 'two'"),
        ("ipndm:order=1.5", "ipndm:order is a whole number, got '1.5'"),
        ("dpm:order=7", "unknown value of dpm-solver:order '7'"),
        ("dpm:lower_order_final=maybe", "is true or false, got 'maybe'"),
        ("ddpm:clip=xo", "unknown value of ddpm:clip 'xo'; did you mean 'x0'"),
    ],
)
def test_bad_specs(spec, message):
    with pytest.raises(UserError, match=message):
        REGISTRY.sampler(spec)


def test_lists_of_specs():
    assert split_specs("ddim, dpm:order=1") == ["ddim", "dpm:order=1"]
    for text in ("", "ddim,", ",ddim"):
        with pytest.raises(UserError, match="expected sampler names separated by commas"):
            split_specs(text)
    assert parse_spec("a:b=c") == ("a", {"b": "c"})
