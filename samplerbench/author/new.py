"""A new sampler: a plugin file, or an installable project, made of the templates in this folder."""

from __future__ import annotations

import importlib.util
import keyword
import re
from importlib import resources
from pathlib import Path

from ..errors import UserError
from ..registry import Registry

__all__ = ["write_new"]

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def write_new(name: str, registry: Registry, package: bool = False) -> list[Path]:
    """Writes NAME.py here, or the project NAME/ with the plugin, an entry point and a test; returns the files, the
    plugin first. Raises UserError where the name is no word, is taken, or something of that name is here; then nothing
    is written.
    """
    _check(name, registry)
    module = name.replace("-", "_")
    if package:
        folder = Path(name)
        texts = {
            folder / f"{module}.py": "two_step.py",
            folder / "pyproject.toml": "pyproject.txt",
            folder / "tests" / f"test_{module}.py": "test.txt",
        }
        place: Path = folder
    else:
        place = Path(f"{module}.py")
        texts = {place: "two_step.py"}
    if place.exists() or place.is_symlink():
        raise UserError(f"{place} is there already; choose another name, or move it away")
    if importlib.util.find_spec(module) is not None:
        raise UserError(f"'{module}' is a module of Python's already, which {module}.py would hide; choose another")
    try:
        for path, template in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(_filled(template, name))
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None
    return list(texts)


def _check(name: str, registry: Registry) -> None:
    if not NAME.fullmatch(name):
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
        near = re.sub(r"[^a-z0-9]+", "-", words).strip("-0123456789")
        hint = f"; did you mean '{near}'?" if NAME.fullmatch(near) else ""
        raise UserError(f"a name is a word of small letters, digits and dashes, like my-method, got '{name}'{hint}")
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise UserError(f"'{name}' is a word of Python; choose another name, like my-{name}")
    for registered in registry.samplers:
        if name in (registered.cls.name, *registered.cls.aliases):
            what = registered.cls.name if name == registered.cls.name else f"another name of {registered.cls.name}"
            whose = f"sampler '{what}'" if name == what else f"'{name}', {what},"
            raise UserError(f"{whose} is there already, from {registered.distribution}; choose another name")


def _filled(template: str, name: str) -> str:
    text = resources.files(__package__).joinpath(template).read_text(encoding="utf-8")
    words = name.split("-")
    for old, new in (
        ("two-step", name),
        ("two_step", "_".join(words)),
        ("TwoStep", "".join(word.capitalize() for word in words)),
    ):
        text = text.replace(old, new)
    return text
