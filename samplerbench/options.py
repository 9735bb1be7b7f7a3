"""How an option of a sampler is typed, written and read: `name:key=value:key=value`."""

from __future__ import annotations

import operator
from math import isnan
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from .errors import UserError, one_line, unknown

if TYPE_CHECKING:
    from .sampler import Sampler

PLAIN = "int, float, bool, str, Literal of strings, or one of these | None"


def split_specs(text: str) -> list[str]:
    """'ddim,dpm:order=1' -> its parts; empty ones are an error."""
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise UserError(f"'{text}': expected sampler names separated by commas, like ddim,dpm-solver:order=1")
    return parts


def parse_spec(spec: str) -> tuple[str, dict[str, str]]:
    """'name:key=value:key=value' -> the name and its options, still text."""
    name, *rest = spec.split(":")
    options: dict[str, str] = {}
    for part in rest:
        key, equals, value = part.partition("=")
        if not equals or not key or not value:
            raise UserError(f"'{spec}': expected name:key=value:key=value, got '{part}' where key=value should be")
        if key in options:
            raise UserError(f"'{spec}': option '{key}' is given twice")
        options[key] = value
    return name, options


def parse_option(where: str, value: Any, kind: Any) -> Any:
    """`value` as a `kind` (int, float, bool, str, Literal of strings, or one of them | None); text is converted. Raises
    UserError for what is none, TypeError for another kind.
    """
    inner = _without_none(kind)
    if inner is not kind:
        return None if value is None or value == "none" else parse_option(where, value, inner)
    if get_origin(kind) is Literal:
        if str(value) not in get_args(kind):
            raise unknown(f"value of {where}", value, get_args(kind))
        return str(value)
    if kind not in (int, float, bool, str):
        raise TypeError(f"{where} is of type {shown(kind)}; an option is {PLAIN}")
    if kind is bool:
        known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if str(value).lower() not in known:
            raise UserError(f"{where} is true or false, got '{value}'")
        return known[str(value).lower()]
    expected = {int: "a whole number", float: "a number", str: "text"}[kind]
    try:
        if isinstance(value, bool) or (kind is str and not isinstance(value, str)):
            raise TypeError
        converted = kind(value)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{where} is {expected}, got '{value}'") from None
    if (kind is int and not isinstance(value, str) and converted != value) or (kind is float and isnan(converted)):
        raise UserError(f"{where} is {expected}, got '{value}'")
    return converted + 0.0 if kind is float else converted  # -0.0 is 0.0


def reads_back(part: str, value: Any, kind: Any) -> bool:
    """Whether 'key=value', put into a list of specs, is read as what it was made of."""
    key, _, text = part.partition("=")
    try:
        (spec,) = split_specs(f"name:{part}")
        return text.isprintable() and parse_spec(spec)[1] == {key: text} and parse_option(key, text, kind) == value
    except (UserError, ValueError):
        return False


def kinds_of(cls: type[Sampler]) -> dict[str, Any]:
    """The types of all that is annotated in a class and in those above it."""
    try:
        return get_type_hints(cls)
    except Exception as error:
        raise TypeError(f"the types of {cls.__name__}'s options cannot be read: {one_line(error)}") from None


def is_plain(kind: Any) -> bool:
    inner, choices = _without_none(kind), get_args(_without_none(kind))
    if get_origin(inner) is Literal:
        return all(isinstance(choice, str) and reads_back(f"key={choice}", choice, kind) for choice in choices)
    return inner in (int, float, bool, str)


def _without_none(kind: Any) -> Any:
    """X of `X | None`; a type that is none of that sort as it is."""
    rest = [k for k in get_args(kind) if k is not type(None)]
    return rest[0] if len(rest) == 1 and type(None) in get_args(kind) else kind


def shown(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")


def whole_number(where: str, value: Any, least: int) -> int:
    """`value`, claimed by a plugin, as an int; raises ValueError where it is no whole number from `least` up."""
    try:
        whole = operator.index(value)
    except TypeError:
        whole = least - 1
    if whole < least:
        raise ValueError(f"{where} is {value!r}, expected a whole number from {least} up")
    return whole
