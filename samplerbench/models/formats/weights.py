"""From files of weights to a network that may be run."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UserError, one_line
from ...files import fill

if TYPE_CHECKING:
    from torch import Tensor

    from ..networks.unet2d import UNet2D

__all__ = ["dataset_of", "flat_state", "of_today", "read_pickle", "renamed", "unet2d"]

DATASETS = {  # by words of a file's or folder's name
    r"cifar[-_]?10(?!\d)": "cifar10",
    r"bedrooms?": "lsun-bedroom",
    r"church(es)?": "lsun-church",
    r"horses?": "lsun-horse",
    r"cats?": "lsun-cat",
    r"celeba[-_]?hq": "celeba-hq",
    r"celeba": "celeba",
    r"ffhq": "ffhq",
    r"imagenet": "imagenet",
    r"fashion[-_]?mnist": "fashion-mnist",
    r"mnist": "mnist",
}

OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # before diffusers 0.12


def read_pickle(path: Path, what: str) -> Any:
    """What `torch.save` wrote, as long as it is tensors, numbers and containers: no code of the file is run."""
    import torch

    if not path.is_file():
        raise UserError(f"{what}: there is no file {path}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise UserError(f"{what}: {path} may not be read") from None
    except pickle.UnpicklingError as error:
        found = re.search(r"Unsupported (?:global|class)[^A-Za-z]*(?:GLOBAL )?([\w.]+)", str(error))
        held = f" ({found[1]})" if found else ""
        raise UserError(
            f"{what}: {path.name} is damaged, or holds more than tensors{held}, whose code would run, and is refused; "
            "where you trust it, save its state_dict alone"
        ) from None
    except Exception as error:  # a damaged file raises what its bytes happen to mean
        raise UserError(f"{what}: {path.name} is damaged or was not written by torch.save: {one_line(error)}") from None


def flat_state(state: object, what: str) -> dict[str, Tensor]:
    """A state dict, without the prefix `module.` that DataParallel gives every name."""
    from torch import Tensor

    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        held = f"a {type(state).__name__}" if not isinstance(state, Mapping) else "other things than tensors by name"
        raise UserError(f"{what} is a state dict, tensors by name; this one holds {held}")
    names = [str(name) for name in state]
    prefix = "module." if all(name.startswith("module.") for name in names) else ""
    return {name.removeprefix(prefix): value for name, value in zip(names, state.values(), strict=True)}


def unet2d(
    config: Mapping[str, Any],
    state: Mapping[str, Tensor],
    what: str,
    made_from: str,
    named: Callable[[str], str] = lambda name: name,
) -> UNet2D:
    """The network of `config`, filled with diffusers' names; ready to be run. Half precision is widened to float32.

    what: the file of weights, in errors; made_from: what said `config`; named: a layer's name in the file, by
    diffusers' name.
    """
    import torch

    from ..networks.unet2d import UNet2D

    with torch.device("meta"):  # no memory is taken before the weights are known to have these shapes
        network = UNet2D(config)
    fill(network.unet, state, what, made_from, named)
    return network.eval().requires_grad_(False)


def renamed(entries: Iterable[tuple[str, str, Tensor]], what: str) -> dict[str, Tensor]:
    """The tensors by diffusers' names, from (name in the file, diffusers' name, tensor); attention as linear layers.
    Raises UserError where two names of the file are one of diffusers', so that one tensor would hide the other.
    """
    state: dict[str, Tensor] = {}
    first: dict[str, str] = {}
    for name, new, value in entries:
        if new in first:
            raise UserError(f"{what} has both {first[new]} and {name}, which are the same layer")
        first[new], state[new] = name, _as_linear(new, value)
    return state


def of_today(name: str) -> str:
    """The name that a layer of attention has in diffusers since 0.12."""
    return re.sub(
        r"(\.attentions\.\d+)\.(query|key|value|proj_attn)\.", lambda m: f"{m[1]}.{OLD_ATTENTION[m[2]]}.", name
    )


def _as_linear(name: str, value: Tensor) -> Tensor:
    """Weights of a 1×1 convolution in attention, [O, I, 1(, 1)], as a linear layer's, [O, I]; others as they are."""
    if ".attentions." in name and name.endswith(".weight") and value.ndim in (3, 4):
        return value.flatten(1) if value.shape[2:].numel() == 1 else value
    return value


def dataset_of(*names: str) -> str | None:
    """The data set that one of the names speaks of, the first first."""
    for name in names:
        for pattern, dataset in DATASETS.items():
            if re.search(rf"(?<![a-z]){pattern}(?![a-z])", name.lower()):
                return dataset
    return None
