"""One part of a diffusers pipeline: a network whose config.json and weights lie in a folder of their own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UserError, one_line, unknown
from ...files import fill, read_json
from .weights import flat_state, read_pickle

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["STEM", "Part", "described", "needed", "read_part", "read_weights", "weights_of"]

STEM = "diffusion_pytorch_model"
State = dict[str, "Tensor"]


@dataclass(frozen=True, eq=False)
class Part:
    """A network of float32, ready to be run. config: what its config.json says, and nothing of diffusers' own; files:
    those that were read; half: the types that its weights have in the file where they are narrower.
    """

    network: nn.Module
    config: Mapping[str, Any]
    files: tuple[Path, ...]
    half: tuple[str, ...]

    def get(self, name: str) -> Any:
        """A field of the config, or its default in diffusers."""
        return self.config[name] if name in self.config else default(type(self.network), name)


def needed(what: str, library: str = "diffusers") -> Any:
    """The library, imported. Raises UserError where it is missing."""
    from importlib import import_module

    try:
        return import_module(library)
    except ImportError:
        raise UserError(f"{what} needs {library}: pip install 'samplerbench[diffusers]'") from None


def default(cls: type[nn.Module], name: str) -> Any:
    """What a field of a config is where nothing is said; None of one that the class does not know."""
    fields = inspect.signature(cls).parameters
    return fields[name].default if name in fields else None


def described(folder: Path, kinds: tuple[str, ...], what: str) -> dict[str, Any]:
    """The config.json of a part, which must be of one of these classes; without diffusers' own fields."""
    config = read_json(folder / "config.json", what)
    if (kind := config.get("_class_name", kinds[0])) not in kinds:
        raise UserError(f"{what}: {folder.name} is a {kind}; only {' or '.join(kinds)} is read there")
    return {name: value for name, value in config.items() if not name.startswith("_")}


def read_part(
    kind: str,
    config: Mapping[str, Any],
    folder: Path,
    what: str,
    adapted: Callable[[State], State] = lambda state: state,
) -> Part:
    """The network of class `kind` of diffusers that a config describes, with its weights.

    what: the model, in errors; adapted: what makes today's names of those in the file. Raises UserError for fields that
    are not known, a config that makes no network, and weights that do not fit.
    """
    network = _made(kind, config, f"{what}: {folder.name}/config.json")
    files, state = read_weights(folder, what)
    half = tuple(sorted({str(v.dtype).removeprefix("torch.") for v in state.values() if v.itemsize < 4}))
    fill(network, adapted(state), f"{what}: {folder.name}/{files[-1].name}", "its config.json")
    _complete(network, kind, config)
    return Part(network.eval().requires_grad_(False), config, (folder / "config.json", *files), half)


def _made(kind: str, config: Mapping[str, Any], what: str) -> nn.Module:
    """The network without memory for its weights, which is not taken before they are known to have these shapes."""
    import torch

    cls = getattr(needed(what), kind)
    known = list(inspect.signature(cls).parameters)
    for name in config:
        if name not in known:
            raise UserError(f"{what}: {unknown('field', name, known)}")
    try:
        with torch.device("meta"):
            network: nn.Module = cls(**config)
    except (ValueError, TypeError, AttributeError, ArithmeticError, LookupError, RuntimeError) as error:
        raise UserError(f"{what} makes no {kind}: {one_line(error)}") from None
    return network


def _complete(network: nn.Module, kind: str, config: Mapping[str, Any]) -> None:
    """Gives it the tables that are in no file of weights; they are those of a network of one layer."""
    empty = [name for name, buffer in network.named_buffers() if buffer.is_meta]
    if not empty:
        return
    import diffusers

    small: nn.Module = getattr(diffusers, kind)(**{**config, "num_layers": 1})
    for name in empty:
        module, _, buffer = name.rpartition(".")
        network.get_submodule(module)._buffers[buffer] = small.get_buffer(name)


def weights_of(folder: Path, what: str, stem: str = STEM) -> tuple[Path, ...]:
    """The files with the weights of a part: one, or an index and what it names. Raises UserError where there is none,
    or one that the index names is missing.
    """
    index = folder / f"{stem}.safetensors.index.json"
    whole = next((file for end in ("safetensors", "bin") if (file := folder / f"{stem}.{end}").is_file()), None)
    if whole is None and index.is_file():
        table = read_json(index, what).get("weight_map")
        if not isinstance(table, dict) or not table or not all(isinstance(name, str) for name in table.values()):
            raise UserError(f"{what}: {folder.name}/{index.name} names no files")
        parts = tuple(folder / Path(name).name for name in sorted(set(table.values())))
        for part in parts:
            if not part.is_file():
                raise UserError(f"{what}: {folder} has no {part.name}, which {index.name} names")
        return index, *parts
    if whole is None:
        there = folder.iterdir() if folder.is_dir() else ()
        found = sorted(p.name for p in there if p.suffix in (".safetensors", ".bin", ".msgpack"))
        held = f"; it has {', '.join(found)}" if found else ""
        raise UserError(f"{what}: {folder} has neither {stem}.safetensors nor {stem}.bin{held}")
    return (whole,)


def read_weights(folder: Path, what: str) -> tuple[tuple[Path, ...], State]:
    """The files of a part's weights, and the tensors by name. Raises UserError for what is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    files, state = weights_of(folder, what), State()
    for path in files:
        if path.suffix == ".bin":
            return files, flat_state(read_pickle(path, what), f"{what}: {path.name}")
        if path.suffix == ".json":
            continue
        try:
            state |= load_file(path)
        except (SafetensorError, OSError) as error:
            raise UserError(f"{what}: {path.name} is truncated or not safetensors ({error})") from None
    return files, state
