"""A model: a trained network and everything a benchmark must know of it, by name, file, folder or function.

What each format's files say is a `Checkpoint`; here it becomes a `Model`, checked and with its hash.
"""

from __future__ import annotations

import hashlib
import json
import re
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import code
from ..diffusion.paths import check_path, schedule_from_config
from ..diffusion.schedule import NoiseSchedule
from ..drawing import BadSample
from ..errors import PluginError, UserError, contained, one_line, unknown
from ..files import content_key
from .condition import Conditioner
from .content import Content, numbers_of
from .formats.builtin import FORMATS
from .formats.format import Checkpoint, ModelFormat
from .formats.own import Own, shipped_models
from .predictor import ModelEpsilon, NoisePredictor

__all__ = ["Model", "load_model", "place_of"]


@dataclass(frozen=True)
class Model:
    """A trained ε_θ.

    Attributes:
        name: the name it was asked for, or its file's or folder's; of a folder `model`, as `samplerbench train` writes
            it, that of the folder it lies in.
        format: the name of its format.
        predictor: the network and its convention, in evaluation mode, on the CPU.
        schedule: the path it was trained on.
        sample_shape: (C, H, W) of x. image_shape: (C, H, W) of the images; values in [-1, 1].
        checkpoint: what its files said.
        reference: path of the reference statistics, or None.
        sha256: hash of all that made it what it was when it was loaded; part of every result's conditions.
        loaded: what it was made of then; None for one that was not loaded.
    """

    name: str
    format: str
    predictor: NoisePredictor
    schedule: NoiseSchedule
    checkpoint: Checkpoint
    sha256: str
    loaded: Content | None = None

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        return self.checkpoint.sample_shape

    @property
    def image_shape(self) -> tuple[int, int, int]:
        decoder = self.checkpoint.decoder
        return decoder.image_shape if decoder else self.checkpoint.sample_shape

    @property
    def conditioner(self) -> Conditioner | None:
        return self.checkpoint.conditioner

    def networks(self) -> dict[str, nn.Module]:
        """All that it computes with, by name; the first is the predictor."""
        return {"": self.predictor, **_beside(self.checkpoint)}

    def decode(self, x0: Tensor) -> Tensor:
        """The images [B, C, H, W] of samples, which of a model without a decoder they are. Raises BadSample where the
        decoder gives values that are not finite.
        """
        if self.checkpoint.decoder is None:
            return x0
        with torch.no_grad():
            images = self.checkpoint.decoder.decode(x0)
        if not images.isfinite().all():
            bad = int((~images.isfinite().flatten(1).all(dim=1)).sum())
            raise BadSample(f"the decoder gives NaN or infinite values in {bad} of {len(images)} images")
        return images

    @property
    def extractor(self) -> str | None:
        return self.checkpoint.extractor

    @property
    def reference(self) -> Path | None:
        return self.checkpoint.reference

    @property
    def dataset(self) -> str | None:
        return self.checkpoint.dataset

    def current(self) -> Model:
        """Itself where it is as it was loaded. One whose weights, numbers or path were changed has a hash of its own.
        Raises UserError where other code runs in it than was loaded: no hash holds that.
        """
        now = Content.of(self)
        if now == self.loaded:
            return self
        if self.loaded is not None and now.modules != self.loaded.modules:
            raise UserError(
                f"the network of model '{self.name}' has other modules or hooks than when it was loaded, and no key "
                "holds their code; make it in a factory, `FILE.py:function`"
            )
        return replace(self, sha256=content_key([self.sha256, now.key]), loaded=now)

    def epsilon(self, dtype: str = "float32", asked: Sequence[str] = ()) -> ModelEpsilon:
        """ε(x, t), where the predictor is. asked: what each sample is asked for, where the model has a conditioner."""
        return ModelEpsilon(
            self.predictor,
            self.schedule,
            dtype,
            self.checkpoint.mean_squares,
            ranged=self.checkpoint.learned_range,
            asked=self.rows(asked) if asked else None,
            latent=self.checkpoint.decoder is not None,
        )

    def rows(self, asked: Sequence[str]) -> dict[str, Tensor]:
        """Arguments of the network for what is asked for, where the predictor is. Raises UserError where the model is
        asked for nothing, or for something else.
        """
        if self.conditioner is None:
            raise UserError(f"model '{self.name}' cannot be asked for anything; leave the prompts out")
        place = place_of(self.predictor)
        with torch.no_grad():
            return {name: value.to(place) for name, value in self.conditioner.rows(asked).items()}

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


def load_model(
    spec: str, sha256: str | None = None, formats: Iterable[tuple[ModelFormat, Mapping[str, str]]] | None = None
) -> Model:
    """The model that `spec` names: a shipped one, a folder or file of a known format, or `package.module:factory`; with
    `sha256` only if that is its hash.

    formats: those to try, by default our own, each with the code that it consists of, which counts in the model's hash.

    Raises UserError where no format recognises it, where several do, or where what its files say cannot be; PluginError
    where somebody's format or factory fails.
    """
    known = [(format, {}) for format in FORMATS] if formats is None else list(formats)
    chosen = [one for one in known if one[0].recognises(spec)]
    if not chosen:
        raise _unknown(spec, [format for format, _ in known])
    if len(chosen) > 1:
        names = ", ".join(format.name for format, _ in chosen)
        raise UserError(f"model '{spec}' could be of several formats: {names}; leave one of them in it")
    ((form, code_of_form),) = chosen
    said = _load(form, spec)
    schedule = said.schedule if isinstance(said.schedule, NoiseSchedule) else schedule_from_config(dict(said.schedule))
    if problem := said.preconditioning.problem(schedule):
        raise UserError(f"model '{spec}': {problem}")
    check_path(schedule)
    read = {} if isinstance(form, Own) else _what_was_read(said, schedule)  # our own config.json is among its files
    digest = _digest(said, {**code_of_form, **said.code, **_code_of(schedule), **read})
    if sha256 not in (None, digest):
        raise UserError(
            f"model '{spec}' was changed in the meantime: its hash is {digest[:12]}, expected {sha256[:12]}"
        )
    model = Model(
        name=_name(spec),
        format=form.name,
        predictor=NoisePredictor(said.network, said.preconditioning).eval().requires_grad_(False),
        schedule=schedule,
        checkpoint=said,
        sha256=digest,
    )
    return replace(model, loaded=Content.of(model))


def place_of(network: nn.Module) -> torch.device:
    """Where a network is: the CPU for one that holds no tensors."""
    return next(chain(network.parameters(), network.buffers()), torch.zeros(())).device


def _name(spec: str) -> str:
    """What people call the model. Every trained one lies in a folder `model`, and the folder about that tells them
    apart: two runs of one recipe, too.
    """
    if spec in shipped_models() or ":" in spec:
        return spec
    path = Path(spec).resolve()
    return path.parent.name if path.name == "model" and path.parent.name else path.name


def _load(form: ModelFormat, spec: str) -> Checkpoint:
    """What a format says, whose author may be anybody. Raises UserError, or PluginError with a traceback."""
    try:
        with contained(form.name):
            said = form.load(spec)
    except UserError:
        raise
    except Exception as error:
        raise PluginError(
            f"model '{spec}': format '{form.name}' fails: {one_line(error)}", traceback.format_exc()
        ) from None
    if not isinstance(said, Checkpoint):
        raise PluginError(
            f"model '{spec}': format '{form.name}' gives {type(said).__name__}, expected a samplerbench.Checkpoint"
        )
    return said


def _digest(said: Checkpoint, rest: Mapping[str, Any]) -> str:
    """The hash of the files, and of what else makes the model what it is: plain values."""
    digest = hashlib.sha256()
    for file in said.files:
        with Path(file).open("rb") as source:  # it may be larger than memory
            while part := source.read(2**24):
                digest.update(part)
    if rest:
        digest.update(json.dumps(dict(rest), sort_keys=True).encode())
    return digest.hexdigest()


def _code_of(schedule: NoiseSchedule) -> dict[str, Any]:
    """The code of a path that is not ours, and its λ and scale, which may hang on files."""
    module = type(schedule).__module__
    package = module.partition(".")[0]
    if package == "samplerbench":
        return {}
    times = np.linspace(schedule.t_min, schedule.t_max, 501)
    curves = (schedule.half_log_snr(times), schedule.scale(times), [schedule.prior(schedule.t_max)])
    return {
        **code.code_of(module, own=frozenset({package})),
        "path": [[f"{value:.8g}" for value in np.asarray(curve).tolist()] for curve in curves],
    }


def _beside(said: Checkpoint) -> dict[str, nn.Module]:
    """The networks besides ε_θ, by name."""
    decoder = {} if said.decoder is None else {"decoder": said.decoder.module}
    classifier = {} if said.classifier is None else {"classifier": said.classifier.network}
    words = said.conditioner.networks() if said.conditioner else {}
    return {**decoder, **classifier, **words}


def _what_was_read(said: Checkpoint, schedule: NoiseSchedule) -> dict[str, Any]:
    """What a format has told, which it may have from more than the files that it names."""
    return {
        "schedule": json.loads(json.dumps(schedule.config(), default=str)),
        "preconditioning": said.preconditioning.config(),
        "sample_shape": list(said.sample_shape),
        "learned_range": said.learned_range,
        "mean_squares": said.mean_squares,
        "weights": _hash_of(said.network),
        **({"beside": beside} if (beside := {name: _hash_of(one) for name, one in _beside(said).items()}) else {}),
        **({"decoder": numbers} if (numbers := numbers_of(said.decoder)) else {}),
    }


def _hash_of(network: nn.Module) -> str:
    """The hash of its parameters and buffers as they are now: a format may read one file in several ways."""
    digest = hashlib.sha256()
    for name, tensor in sorted([*network.named_parameters(), *network.named_buffers()]):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _unknown(spec: str, known: Sequence[ModelFormat]) -> UserError:
    path = Path(spec)
    if path.suffix == ".py":
        there = "a file of Python" if path.is_file() else "no such file"
        return UserError(f"model '{spec}': {there}; a factory in it is named {spec}:FUNCTION")
    if path.exists():
        what = f"model '{spec}' is a {'folder' if path.is_dir() else 'file'} of no known format"
        return UserError(
            f"{what} (known: {', '.join(form.name for form in known)}; samplerbench's own has config.json and "
            "model.safetensors; a format of your own needs its --plugin; samplerbench list models says more)"
        )
    if path.suffix or len(path.parts) > 1 or spec.endswith("/"):
        hub = f"; one of the Hugging Face hub is hf:{spec}" if re.fullmatch(r"[\w-]+/[\w.-]+", spec) else ""
        return UserError(f"model '{spec}': no such file or folder{hub}")
    return unknown("model", spec, [*shipped_models(), "FOLDER", "FILE", "hf:OWNER/NAME", "FILE.py:function"])
