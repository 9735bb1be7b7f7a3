"""What is costly and belongs to a model, not to a cell: kept on disk for the next cell, metric and run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..files import Damaged, content_key, load_arrays, save_arrays

__all__ = ["Keeper"]


class Keeper:
    """Tensors under `root`, found again by what they depend on.

    Args:
        notice: told, in one line, of a damaged file and of a folder that cannot be written; neither stops a run.
        fresh: read nothing that an earlier run has written.
    """

    def __init__(self, root: Path, notice: Callable[[str], None], fresh: bool = False) -> None:
        self.root, self.notice, self.fresh = root, notice, fresh
        self._ours: set[Path] = set()  # written by this run

    def __call__(
        self, name: str, identity: dict[str, Any], compute: Callable[[], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """The tensors that `compute()` gives, or gave to an earlier call of this name and identity."""
        path = self.root / name / f"{content_key(identity)}.safetensors"
        if path in self._ours or not self.fresh:
            try:
                arrays, about = load_arrays(path)
                if about.get("identity") != json.loads(json.dumps(identity)):
                    raise Damaged("it is another's")
                return {key: torch.from_numpy(array) for key, array in arrays.items()}
            except FileNotFoundError:
                pass
            except Damaged as error:
                self.notice(f"{path} is damaged ({error}) and is made again")
        tensors = compute()
        try:
            save_arrays(path, {key: tensor.cpu().numpy() for key, tensor in tensors.items()}, {"identity": identity})
            self._ours.add(path)
        except OSError as error:
            self.notice(f"{path.parent} cannot be written ({error.strerror or error}); this is not kept")
        return tensors
