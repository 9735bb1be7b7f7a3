"""Options of samplers, from text and from values."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal, get_args, get_type_hints

import numpy as np
import pytest

from samplerbench import Sampler, UserError
from samplerbench.options import parse_spec, split_specs
from samplerbench.plugins import load_plugins
from samplerbench.sampler import check_options, make_sampler

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
    assert [str(make_sampler(Toy, {"rate": zero}).rate) for zero in ("-0.0", -0.0, "0")] == ["0.0"] * 3


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


VALUES = {
    int: [0, 1, 2, 3, 4, 1000, -1],
    float: [0.0, 1.0, 0.1, 1 / 3, 1e-17, 1e300, -2.5],
    bool: [True, False],
    str: ["801/401/1/0", "801/401/1", "karras", "denoise", "none", "zero"],
}


def possible(cls):
    """Each option of a sampler with each value that its type suggests, as far as the sampler takes it."""
    for option, kind in get_type_hints(cls).items():
        if option not in {f.name for f in fields(cls)}:
            continue
        nullable = type(None) in get_args(kind)
        inner = next(k for k in get_args(kind) if k is not type(None)) if nullable else kind
        for value in [*(VALUES.get(inner) or get_args(inner)), *([None] if nullable else [])]:
            companions = {"spacing": "karras"} if option == "rho" else {}
            try:
                yield cls(**companions, **{option: value})
            except UserError:
                continue


@pytest.mark.parametrize("entry", REGISTRY.samplers, ids=lambda entry: entry.cls.name)
def test_every_shipped_sampler_is_read_back_from_its_spec(entry):
    made = list(possible(entry.cls))
    assert len({sampler.spec() for sampler in made}) >= 10
    for sampler in made:
        again = REGISTRY.sampler(sampler.spec())
        assert again == sampler
        assert again.spec() == sampler.spec()


def test_none_is_written_as_it_is_read():
    assert REGISTRY.sampler("analytic-ddpm:clip_pixel=none").spec() == "analytic-ddpm:clip_pixel=none"


def test_options_of_every_plain_type_are_read_back():
    for sampler in [Toy(rate=0.1 + 0.2), Toy(rate=-1e-300), Toy(count=-7), Toy(flag=True), Toy(kind="b"), Toy(limit=4)]:
        assert make_sampler(Toy, parse_spec(sampler.spec())[1]) == sampler
    assert Toy(rate=np.float64(0.25), count=np.int64(2)).spec() == "toy:count=2:rate=0.25"
    assert Toy(limit=1).spec() == Toy(limit=1.0).spec() == "toy:limit=1.0"


@dataclass(frozen=True, kw_only=True)
class Worded(Toy):
    word: str = ""
    maybe: str | None = "x"
    unlimited: float = math.inf


@pytest.mark.parametrize("word", ["a:b", "a,b", "a ", "a\nb", "\x1b[31m"])
def test_text_that_could_not_be_read_back_is_refused(word):
    with pytest.raises(UserError, match="toy:word is text on one line without ':' or ','"):
        Worded(word=word)


def test_text_that_can_be_read_back_is_an_option():
    for sampler in [Worded(word="a=b"), Worded(word=" a"), Worded(word="[/x] é"), Worded(maybe=None), Worded()]:
        assert make_sampler(Worded, parse_spec(sampler.spec())[1]) == sampler


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": math.nan}, "toy:rate is a number, got 'nan'"),
        ({"rate": "nan"}, "toy:rate is a number, got 'nan'"),
        ({"rate": math.inf}, "toy:rate is a finite number, got inf"),
        ({"rate": "1e999"}, "toy:rate is a finite number, got inf"),
        ({"limit": "-inf"}, "toy:limit is a finite number, got -inf"),
        ({"unlimited": "nan"}, "toy:unlimited is a number, got 'nan'"),
        ({"count": math.inf}, "toy:count is a whole number, got 'inf'"),
        ({"count": True}, "toy:count is a whole number, got 'True'"),
        ({"count": None}, "toy:count is a whole number, got 'None'"),
        ({"word": None}, "toy:word is text, got 'None'"),
        ({"word": 3}, "toy:word is text, got '3'"),
        ({"flag": 2}, "toy:flag is true or false, got '2'"),
        ({"rho": "nan", "spacing": "karras"}, "toy:rho is a number, got 'nan'"),
        ({"rho": "inf", "spacing": "karras"}, "toy:rho is a finite number, got inf"),
    ],
)
def test_values_that_mean_nothing_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        make_sampler(Worded, options)
    with pytest.raises(UserError, match=message):
        Worded(**options)


def test_infinity_is_a_value_where_it_is_the_default():
    assert Worded(unlimited=3).spec() == "toy:unlimited=3.0"
    assert make_sampler(Worded, {"unlimited": "inf"}) == Worded()


@pytest.mark.parametrize("claim", [lambda n: 3, lambda n: 2, lambda n: 3 + n // 1000])
def test_claims_that_do_not_grow_end_at_once(claim, monkeypatch):
    monkeypatch.setattr(Toy, "evaluations", lambda self, steps: claim(steps))
    with pytest.raises(ValueError, match=r"toy.evaluations\(\d+\) is \d: it does not grow with the steps"):
        Toy().steps(10)


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        (lambda n: 1.5 * n, r"toy.evaluations\(1\) is 1.5, expected a whole number from 0 up"),
        (lambda n: "3", r"toy.evaluations\(1\) is '3', expected a whole number"),
        (lambda n: -n, r"toy.evaluations\(1\) is -1, expected a whole number"),
        (lambda n: None, r"toy.evaluations\(1\) is None, expected a whole number"),
        (lambda n: 100 - n, r"toy.evaluations\(2\) is 98, though fewer steps take 99"),
    ],
)
def test_claims_that_are_no_numbers_of_evaluations_are_refused(claim, message, monkeypatch):
    monkeypatch.setattr(Toy, "evaluations", lambda self, steps: claim(steps))
    with pytest.raises(ValueError, match=message):
        Toy().steps(1000)


def test_the_fewest_steps_are_a_whole_number_above_0(monkeypatch):
    monkeypatch.setattr(Toy, "fewest_steps", 0)
    with pytest.raises(ValueError, match=r"toy\.fewest_steps is 0, expected a whole number from 1 up"):
        Toy().steps(10)


def test_large_budgets_take_few_questions(monkeypatch):
    asked = []
    monkeypatch.setattr(Toy, "evaluations", lambda self, steps: asked.append(steps) or 2 * steps + 1)
    assert Toy().steps(10**20) == (10**20 - 1) // 2
    assert len(asked) < 200


@pytest.mark.parametrize("entry", REGISTRY.samplers, ids=lambda entry: entry.cls.name)
def test_steps_are_those_that_counting_up_finds(entry):
    for sampler in {s.spec(): s for s in possible(entry.cls)}.values():
        if sampler.adaptive:
            continue
        claims = [sampler.evaluations(steps) for steps in range(sampler.fewest_steps, 80)]
        for nfe in range(claims[0], 61):
            assert sampler.steps(nfe) == sampler.fewest_steps + sum(claim <= nfe for claim in claims) - 1


@pytest.mark.parametrize("entry", REGISTRY.samplers, ids=lambda entry: entry.cls.name)
def test_options_of_shipped_samplers_are_plain(entry):
    check_options(entry.cls)


def bad_classes():
    @dataclass(frozen=True, kw_only=True)
    class Listed(Toy):
        orders: list[int] = field(default_factory=list)

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Slotted(Toy):
        table: dict = field(default_factory=dict)

    @dataclass(frozen=True, kw_only=True)
    class Either(Toy):
        rate2: int | float = 1

    @dataclass(frozen=True, kw_only=True)
    class Numbered(Toy):
        order: Literal[1, 2] = 1

    @dataclass(frozen=True, kw_only=True)
    class Ambiguous(Toy):
        clip: Literal["none", "x0"] | None = None

    @dataclass(frozen=True, kw_only=True)
    class Unreadable(Toy):
        clip: Literal["a:b"] = "a:b"

    @dataclass(frozen=True, kw_only=True)
    class Hidden(Toy):
        seen: int = field(default=0, compare=False)

    @dataclass(frozen=True, kw_only=True)
    class Computed(Toy):
        later: int = field(default=0, init=False)

    @dataclass(frozen=True, kw_only=True)
    class Named(Toy):
        name: str = "other"

    @dataclass(frozen=True, kw_only=True)
    class Method(Toy):
        steps: int = 5

    class Letters(Toy):
        aliases = "dpm"  # a tuple of three names, were it taken for one

    class Undecorated(Toy):
        order: int = 2

    @dataclass(frozen=True, kw_only=True)
    class Unannotated(Toy):
        rate = 0.75

    @dataclass(frozen=True, kw_only=True)
    class Unknown(Toy):
        table: Nothing = None  # noqa: F821

    return {
        Listed: r"Listed.orders is of type list\[int\]; an option is int, float, bool, str",
        Slotted: "Slotted.table is of type dict; an option is",
        Either: r"Either.rate2 is of type int \| float; an option is",
        Numbered: r"Numbered.order is of type Literal\[1, 2\]; an option is",
        Ambiguous: "Ambiguous.clip is of type",
        Unreadable: "Unreadable.clip is of type",
        Hidden: "Hidden.seen has init, compare or hash switched off",
        Computed: "Computed.later has init, compare or hash switched off",
        Named: "Named.name cannot be an option",
        Method: "Method.steps cannot be an option",
        Letters: "Letters.aliases is a tuple of names",
        Undecorated: "Undecorated has options \\(order\\) and is no dataclass; write @dataclass",
        Unannotated: "Unannotated.rate has a value without a type; write rate: float = 0.75",
        Unknown: "the types of Unknown's options cannot be read: NameError: name 'Nothing' is not defined",
    }


@pytest.mark.parametrize(("cls", "message"), bad_classes().items(), ids=lambda case: getattr(case, "__name__", ""))
def test_options_that_are_not_plain_are_named(cls, message):
    with pytest.raises(TypeError, match=message) as refusal:
        check_options(cls)
    assert "\n" not in str(refusal.value)


def test_slots_and_class_variables_are_fine():
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Slotted(Sampler):
        name = "slotted"
        orders: ClassVar[list[int]] = []
        k: float = 0.5

        def sample(self, eps, grid, x, noise):
            return x

    check_options(Slotted)
    assert make_sampler(Slotted, {"k": "1"}).spec() == "slotted:k=1.0"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("ddim:spacing=801/401/1", "ddim:spacing=801/401/1"),
        ("ddim:spacing=801/401/1:final=none", "ddim:spacing=801/401/1"),
        ("ddim:spacing=801/401/1:final=denoise", "ddim:final=denoise:spacing=801/401/1"),
        ("dpm:spacing=801/401/0", "dpm-solver:spacing=801/401/0"),
        ("dpm:final=zero", "dpm-solver:final=zero"),
    ],
)
def test_a_last_step_that_the_spacing_decides_is_not_said(spec, said):
    sampler = load_plugins().sampler(spec)
    assert sorted(sampler.spec().split(":")) == sorted(said.split(":"))
    assert load_plugins().sampler(sampler.spec()) == sampler


def test_an_option_without_a_type_is_an_error_that_says_so():
    @dataclass(frozen=True, kw_only=True)
    class Untyped(Toy):
        weight = 0.5

    with pytest.raises(TypeError, match=r"Untyped\.weight has a value without a type, .*weight: float = 0\.5, or"):
        check_options(Untyped)

    @dataclass(frozen=True, kw_only=True)
    class Constants(Toy):
        stochastic = True  # what every sampler has
        LADDER = 3
        tried: ClassVar[int] = 3
        weights = (0.5, 0.5)

    check_options(Constants)
    with pytest.raises(UserError, match=r"unknown option of toy 'weights'.*weights has no type, .* no option"):
        make_sampler(Constants, {"weights": "1"})
    with pytest.raises(UserError, match=r"unknown option of toy 'wieght'(?!.*no option)"):
        make_sampler(Constants, {"wieght": "1"})
