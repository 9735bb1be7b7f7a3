"""A model: a trained network and everything a benchmark must know of it, by name, file, folder or function.

What each format's files say is a `Checkpoint`; here it becomes a `Model`, checked and with its hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..diffusion.paths import schedule_from_config
from ..diffusion.schedule import NoiseSchedule
from ..errors import UserError, unknown
from .formats.builtin import FORMATS
from .formats.format import Checkpoint, ModelFormat
from .formats.own import shipped_models
from .predictor import ModelEpsilon, NoisePredictor

__all__ = ["Model", "load_model"]


@dataclass(frozen=True)
class Model:
    """A trained ε_θ.

    Attributes:
        name: the name it was asked for, or its file's or folder's.
        format: the name of its format.
        predictor: the network and its convention, in evaluation mode, on the CPU.
        schedule: the path it was trained on.
        sample_shape: (C, H, W) of x. image_shape: (C, H, W) of the images; values in [-1, 1].
        checkpoint: what its files said.
        reference: path of the reference statistics, or None.
        sha256: hash of all that makes it what it is; part of every result's conditions.
    """

    name: str
    format: str
    predictor: NoisePredictor
    schedule: NoiseSchedule
    checkpoint: Checkpoint
    sha256: str

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        return self.checkpoint.sample_shape

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.checkpoint.sample_shape

    @property
    def extractor(self) -> str | None:
        return self.checkpoint.extractor

    @property
    def reference(self) -> Path | None:
        return self.checkpoint.reference

    @property
    def dataset(self) -> str | None:
        return self.checkpoint.dataset

    def epsilon(self, dtype: str = "float32") -> ModelEpsilon:
        """ε(x, t), where the predictor is."""
        return ModelEpsilon(
            self.predictor, self.schedule, dtype, self.checkpoint.mean_squares, ranged=self.checkpoint.learned_range
        )

    def conditions(self) -> dict[str, Any]:
        """What a run's record says of it, in plain values."""
        said = self.checkpoint
        return {
            "name": self.name,
            "format": self.format,
            "sha256": self.sha256,
            "schedule": self.schedule.config(),
            **self.predictor.preconditioning.config(),
            "sample_shape": list(self.sample_shape),
            "architecture": dict(said.architecture) if said.architecture else None,
            "dataset": said.dataset,
            "training": dict(said.training),
        }


def load_model(spec: str, sha256: str | None = None, formats: Sequence[ModelFormat] | None = None) -> Model:
    """The model that `spec` names: a shipped one, a folder or file of a known format, or `package.module:factory`; with
    `sha256` only if that is its hash. Raises UserError where no format recognises it, where several do, or where what
    its files say cannot be.
    """
    known = FORMATS if formats is None else formats
    chosen = [format for format in known if format.recognises(spec)]
    if not chosen:
        raise _unknown(spec, known)
    if len(chosen) > 1:
        raise UserError(
            f"model '{spec}' could be of several formats: {', '.join(f.name for f in chosen)}; leave one of them in it"
        )
    said = chosen[0].load(spec)
    schedule = said.schedule if isinstance(said.schedule, NoiseSchedule) else schedule_from_config(dict(said.schedule))
    if problem := said.preconditioning.problem(schedule):
        raise UserError(f"model '{spec}': {problem}")
    digest = _digest(said)
    if sha256 not in (None, digest):
        raise UserError(
            f"model '{spec}' was changed in the meantime: its hash is {digest[:12]}, expected {sha256[:12]}"
        )
    return Model(
        name=spec if spec in shipped_models() or ":" in spec else Path(spec).resolve().name,
        format=chosen[0].name,
        predictor=NoisePredictor(said.network, said.preconditioning).eval().requires_grad_(False),
        schedule=schedule,
        checkpoint=said,
        sha256=digest,
    )


def _digest(said: Checkpoint) -> str:
    """The hash of the files, and of the code that makes the network where that is not ours."""
    digest = hashlib.sha256()
    for file in said.files:
        digest.update(file.read_bytes())
    if said.code:
        digest.update(json.dumps(dict(said.code), sort_keys=True).encode())
    return digest.hexdigest()


def _unknown(spec: str, known: Sequence[ModelFormat]) -> UserError:
    path = Path(spec)
    if path.is_dir():
        return UserError(
            f"model '{spec}' is a folder of no known format; expected {'; or '.join(f.about for f in known)}"
        )
    if path.exists():
        return UserError(f"model '{spec}' is of no known format; expected {'; or '.join(f.about for f in known)}")
    return unknown("model", spec, [*shipped_models(), "a folder", "a file", "package.module:factory"])
