"""How an option of a plugin's class is typed, written and read: `name:key=value:key=value`. The class is a dataclass,
its options are the fields.
"""

from __future__ import annotations

import inspect
import operator
import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, fields
from math import isnan
from types import MemberDescriptorType
from typing import Any, ClassVar, Literal, TypeVar, get_args, get_origin, get_type_hints

from .errors import UserError, one_line, unknown

Made = TypeVar("Made")

BUDGETS = re.compile(r"(.*)@(\d+(?:/\d+)*)")
PLAIN = "int, float, bool, str, Literal of strings, or one of these | None"


def split_specs(text: str) -> list[str]:
    """'ddim,dpm:order=1' -> its parts; empty ones are an error."""
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise UserError(f"'{text}': expected sampler names separated by commas, like ddim,dpm-solver:order=1")
    return parts


def split_budgets(spec: str) -> tuple[str, tuple[int, ...] | None]:
    """'dpm:order=2@5/6' -> 'dpm:order=2' and (5, 6), the budgets it is wanted at; None without any."""
    found = BUDGETS.fullmatch(spec)
    return (found[1], tuple(map(int, found[2].split("/")))) if found else (spec, None)


def parse_spec(spec: str) -> tuple[str, dict[str, str]]:
    """'name:key=value:key=value' -> the name and its options, still text. spacing=file:PATH keeps its colon."""
    name, *rest = re.split(r"(?<!:spacing=file):", spec)
    options: dict[str, str] = {}
    for part in rest:
        key, equals, value = part.partition("=")
        if not equals or not key or not value:
            raise UserError(f"'{spec}': expected name:key=value:key=value, got '{part}' where key=value should be")
        if key in options:
            raise UserError(f"'{spec}': option '{key}' is given twice")
        options[key] = value
    return name, options


def same_spec(one: str, other: str) -> bool:
    """Whether two specs of a sampler that is not here name the same options: 0 and 0.0 are one number."""
    if one == other:
        return True
    try:
        (name, options), (theirs, others) = parse_spec(one), parse_spec(other)
    except UserError:
        return False
    return name == theirs and {k: _plain(v) for k, v in options.items()} == {k: _plain(v) for k, v in others.items()}


def _plain(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def parse_option(where: str, value: Any, kind: Any) -> Any:
    """`value` as a `kind` (int, float, bool, str, Literal of strings, or one of them | None); text is converted. Raises
    UserError for what is none, TypeError for another kind.
    """
    inner = without_none(kind)
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
        plain = text.isprintable() and split_budgets(spec)[1] is None
        return plain and parse_spec(spec)[1] == {key: text} and parse_option(key, text, kind) == value
    except (UserError, ValueError):
        return False


def kinds_of(cls: type) -> dict[str, Any]:
    """The types of all that is annotated in a class and in those above it."""
    try:
        return get_type_hints(cls)
    except Exception as error:
        raise TypeError(f"the types of {cls.__name__}'s options cannot be read: {one_line(error)}") from None


def make(cls: type[Made], options: Mapping[str, Any]) -> Made:
    """An object of the plugin's class `cls` with `options`: values of the right type, or text that is read as such.
    Raises UserError.
    """
    name: str = getattr(cls, "name", cls.__name__)
    kinds = kinds_of(cls)
    names = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    values = {}
    for key, value in options.items():
        if key not in names:
            untyped = key not in kinds and isinstance(inspect.getattr_static(cls, key, None), str | int | float | tuple)
            hint = f"; {cls.__name__}.{key} has no type, as in {key}: float = …, and so is no option" if untyped else ""
            raise unknown(f"option of {name}", key, names, hint)
        values[key] = parse_option(f"{name}:{key}", value, kinds[key])
    return cls(**values)


def check_fields(cls: type, base: type) -> None:
    """Raises TypeError, in one line that names the field, where an option of `cls`, a dataclass under `base`, is not
    plain: its type is another than int, float, bool, str, Literal of strings or one of these | None; it is no argument
    of the class, or does not count in comparisons; it takes the name of something that every `base` has; or it looks
    like an option and is none, because `@dataclass` or its annotation is missing.
    """
    kind, decorator = base.__name__.lower(), "@dataclass(kw_only=True)"
    if base.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        decorator = "@dataclass(frozen=True, kw_only=True)"
    reserved = {name for name, value in kinds_of(base).items() if ClassVar in (value, get_origin(value))}
    kinds, options = kinds_of(cls), {f.name: f for f in fields(cls)}
    for each in cls.__mro__[: cls.__mro__.index(base)]:
        annotated = [name for name in inspect.get_annotations(each) if not _aside(kinds.get(name))]
        if annotated and "__dataclass_fields__" not in vars(each):
            raise TypeError(
                f"{each.__name__} has options ({', '.join(annotated)}) and is no dataclass; write {decorator} above it"
            )
    for name, field in options.items():
        where = f"{cls.__name__}.{name}"
        if not is_plain(kinds[name]):
            raise TypeError(f"{where} is of type {shown(kinds[name])}; an option is {PLAIN}")
        if name in reserved or callable(getattr(base, name, None)):
            raise TypeError(f"{where} cannot be an option: {name} is something that every {kind} has")
        if not (field.init and field.compare and field.hash is not False):
            raise TypeError(f"{where} has init, compare or hash switched off; every field of a {kind} is an option")
        value = inspect.getattr_static(cls, name, field.default)
        if value is not field.default and not isinstance(value, MemberDescriptorType):  # slots=True leaves those
            raise TypeError(f"{where} has a value without a type; write {name}: {shown(kinds[name])} = {value!r}")
    for each in cls.__mro__[: cls.__mro__.index(base)]:
        for name, value in vars(each).items():
            if type(value) in (int, float, bool, str) and not (
                name in kinds or name.startswith("_") or name.isupper() or hasattr(base, name)
            ):
                where, plain = f"{each.__name__}.{name}", shown(type(value))
                raise TypeError(
                    f"{where} has a value without a type, so it is no option; write {name}: {plain} = {value!r}, "
                    f"or, where it is to be none, {name}: ClassVar[{plain}] = {value!r}"
                )


def _aside(kind: Any) -> bool:
    """Whether an annotation makes no option."""
    return ClassVar in (kind, get_origin(kind)) or kind is KW_ONLY


def is_plain(kind: Any) -> bool:
    inner, choices = without_none(kind), get_args(without_none(kind))
    if get_origin(inner) is Literal:
        return all(isinstance(choice, str) and reads_back(f"key={choice}", choice, kind) for choice in choices)
    return inner in (int, float, bool, str)


def without_none(kind: Any) -> Any:
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
