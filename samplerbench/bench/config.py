"""What `run --config` reads: a TOML file with the names of the command's options, or the run.json of an earlier run,
which is then run again as it was.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..diffusion.grid_file import FILE
from ..errors import UserError, unknown

__all__ = ["differing", "read_config"]

LISTS = ("samplers", "nfe", "steps", "passes", "metrics", "guidance")  # which the command takes as one text
PATHS = ("plugins", "extractor_weights", "data_root", "cache", "prompts")  # which run.json says as they were typed
NAMES = ("model", "reference")  # names as well as paths
GRIDS = re.compile(r"(?<=:spacing=file:)[^:,@]+")  # of a sampler
SECOND = re.compile(r"(?<=:model=)[^,]+")  # of a guider


def read_config(
    path: Path, options: Iterable[str], flags: Iterable[str]
) -> tuple[dict[str, Any], Mapping[str, Any] | None]:
    """The options in a file, each as the command line would have it: text, a list of texts for `plugin`, and true or
    false for `flags`. And what run.json says besides, where the file is one.

    options: all that there are, by name. Raises UserError.
    """
    try:
        data = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--config {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    earlier: Mapping[str, Any] | None = None
    is_json = path.suffix.lower() == ".json"
    try:
        if is_json:
            earlier = json.loads(data)
            said = _of_run(earlier)
        else:
            said = tomllib.loads(data)
    except (ValueError, RecursionError) as error:
        kind = "run.json of a run" if is_json else "TOML file"
        raise UserError(f"--config {path} is no {kind}: {error}") from None
    found: dict[str, Any] = {}
    for key, value in said.items():
        name = {"plugins": "plugin"}.get(key, key.replace("_", "-"))
        if name not in options:
            raise UserError(f"--config {path}: {unknown('key', key, options)}")
        if name in found:
            raise UserError(f"--config {path}: {name} is there twice")
        found[name] = _text(f"--config {path}: {key}", name, value, name in flags)
    return found, earlier


def _of_run(said: Any) -> dict[str, Any]:
    """The options that a run was asked with. Raises ValueError."""
    config = said.get("config") if isinstance(said, dict) else None
    if not isinstance(config, dict) or not {"samplers", "axis", "values"} <= config.keys():
        raise ValueError("it does not say what was asked for, in config")
    aside = ("axis", "values", "in_passes")
    given = {name: value for name, value in config.items() if value not in (None, []) and name not in aside}
    if isinstance(said.get("folder"), str):
        given = _placed(given, Path(said["folder"]))
    return {**given, "passes" if config.get("in_passes") else str(config["axis"]): config["values"]}


def _placed(given: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The options with every path as it was meant, from the folder that the run was asked for in. A path that is gone
    is given whole, so that the error for it says where it was.
    """

    def path(text: str, always: bool) -> str:
        file, colon, rest = text.partition(":")  # FILE.py:function, too
        whole = folder / file
        meant = always or file.endswith(".py") or file.startswith(".") or "/" in file or os.sep in file
        return f"{whole}{colon}{rest}" if whole.exists() or (meant and not colon) else text

    from ..models.formats.own import shipped_models

    def placed(name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [placed(name, one) for one in value]
        if not isinstance(value, str) or (name == "model" and value in shipped_models()):
            return value
        if name == "samplers":
            return GRIDS.sub(lambda grid: str(folder / grid[0]), value)
        if name == "guidance":
            return SECOND.sub(lambda model: path(model[0], False), value)
        module = name == "plugins" and "/" not in value and not value.endswith(".py")
        return path(value, name in PATHS and not module) if name in (*PATHS, *NAMES) else value

    if folder == Path.cwd():
        return given
    return {name: placed(name, value) for name, value in given.items()}


def _text(where: str, name: str, value: Any, flag: bool) -> Any:
    if flag:
        if not isinstance(value, bool):
            raise UserError(f"{where} is true or false, got {value!r}")
        return value
    parts = value if isinstance(value, list) else [value]
    if isinstance(value, list) and name not in (*LISTS, "plugin"):
        raise UserError(f"{where} is one value, got a list")
    if not all(isinstance(part, str | int | float) and not isinstance(part, bool) for part in parts):
        raise UserError(f"{where} is text or a number, got {value!r}")
    texts = [str(part) for part in parts]
    if name == "plugin":
        return texts
    if not texts or not all(text.strip() for text in texts):
        raise UserError(f"{where} is empty; leave it out, or name one")
    return ",".join(texts)


def differing(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What a run is made with that another was not, though both were asked alike: lines for the user."""
    found = []
    for kind in ("model", "extractor", "reference"):
        if _hash(earlier, kind) != _hash(now, kind):
            found.append(
                f"the {kind} is another: its hash was {_hash(earlier, kind)[:12]}, now {_hash(now, kind)[:12]}"
            )
    if "prompts" in earlier and _hash(earlier, "prompts") != _hash(now, "prompts"):
        found.append("what samples are asked for is another list than it was")
    for kind in ("samplers", "metrics", "guidance"):
        before, after = _dict(earlier, kind), _dict(now, kind)
        names = [name for name in after if name in before and _hash(before, name) != _hash(after, name)]
        if names:
            what = "the second model, classifier or code" if kind == "guidance" else "the code"
            found.append(f"{what} of {', '.join(names)} is another")
        if kind == "samplers":
            found += _other_spacings(earlier, now, names)
    before, after = (_dict(_dict(run, "environment"), "packages") for run in (earlier, now))
    for name in ("samplerbench", "torch"):
        if before.get(name) != after.get(name):
            found.append(f"{name} was {before.get(name)}, now {after.get(name)}")
    return found


def _other_spacings(earlier: Mapping[str, Any], now: Mapping[str, Any], told: Iterable[str]) -> list[str]:
    """A line a file of grids, or spacing of a plugin, that is another than it was."""
    found = []
    before = {_whole(one, earlier): one for one in _asked(earlier)}
    for one in _asked(now):
        was, spacing = before.get(_whole(one, now), {}), str(one.get("spacing"))
        if was.get("sha256") in (None, one.get("sha256")) or one["sampler"].partition(":")[0] in told:
            continue
        file = spacing.startswith(FILE)
        found.append(f"{spacing.removeprefix(FILE)} has other grids" if file else f"the code of {spacing} is another")
    return list(dict.fromkeys(found))


def _asked(run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    entries = run.get("asked")
    known = entries if isinstance(entries, list) else []
    return [one for one in known if isinstance(one, Mapping) and isinstance(one.get("sampler"), str)]


def _whole(one: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    """A sampler's spec with the path of its grids from the root."""
    return GRIDS.sub(lambda grid: str(Path(str(run.get("folder", "."))) / grid[0]), one["sampler"])


def _dict(run: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = run.get(name)
    return part if isinstance(part, dict) else {}


def _hash(run: Mapping[str, Any], name: str) -> str:
    return str(_dict(run, name).get("sha256", "unknown"))
