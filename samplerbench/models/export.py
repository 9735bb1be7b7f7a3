"""Any model as a folder in samplerbench's own format."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch

from ..diffusion.noise import NoiseSource
from ..diffusion.paths import schedule_from_config
from ..errors import UserError, one_line
from .formats.own import PARTS, Own, note_parts, save_model
from .model import Model, load_model
from .networks.experts import Experts

__all__ = ["export_model"]

ALIKE = 1e-5  # of the largest ε: rounding


def export_model(model: Model, folder: Path) -> float:
    """Writes `model` to `folder` as safetensors and a config.json, with its reference statistics where it has some;
    reads it back, and compares one evaluation, of experts one each. The folder appears only when it is whole and
    compared.

    Returns the largest difference of ε: 0, or some 1e-6 of rounding, as a CPU's sums depend on where in memory weights
    lie.

    Raises UserError where the folder holds something, and where a network or path is code that no config describes.
    """
    _check(model, folder)
    said = model.checkpoint
    beside = _parts_of(model)
    part = folder.parent / f".{folder.name}.{os.getpid()}.part"
    origin = {"name": model.name, "format": model.format, "sha256": model.sha256, "notes": list(said.notes)}
    try:
        save_model(
            part,
            model.predictor.network,
            model.predictor.preconditioning,
            model.schedule,
            said.extractor,
            {**said.training, "exported_from": origin},
            mean_squares=said.mean_squares,
            dataset=said.dataset,
            architecture=said.architecture,
        )
        for path in beside:
            (shutil.copytree if path.is_dir() else shutil.copyfile)(path, part / path.name)
        note_parts(part)
        if said.reference is not None:
            shutil.copyfile(said.reference, part / "reference.npz")
        difference = _compared(model, part)
        if folder.is_dir():
            folder.rmdir()  # it is empty
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return difference


def _check(model: Model, folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; name a folder that is new or empty")
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty; name a folder that is new or empty")
    if model.checkpoint.architecture is None:
        raise UserError(
            f"model '{model.name}' cannot be exported: its network is code, which no config.json describes; give the "
            "factory's Checkpoint an architecture where it is a unet or unet2d"
        )
    try:
        again = schedule_from_config(model.schedule.config())
    except (UserError, NotImplementedError) as error:
        raise UserError(
            f"model '{model.name}' cannot be exported: its path is code, which no config.json describes "
            f"({one_line(error)})"
        ) from None
    times = torch.linspace(model.schedule.t_min, model.schedule.t_max, 9, dtype=torch.float64).numpy()
    if (again.half_log_snr(times) != model.schedule.half_log_snr(times)).any():
        raise UserError(f"model '{model.name}' cannot be exported: the config of its path makes another path")


def _parts_of(model: Model) -> list[Path]:
    """The VAE and the text encoder that lie beside a model. Raises UserError where they are of another format."""
    if model.conditioner is None and model.checkpoint.decoder is None:
        return []
    if model.format != Own.name:
        raise UserError(
            f"model '{model.name}' cannot be exported: its decoder or what it is asked by is of another format"
        )
    return [path for name in PARTS if (path := Path(model.checkpoint.files[0]).parent / name).exists()]


def _compared(model: Model, folder: Path) -> float:
    """The largest difference of ε between a model and the folder made of it."""
    refused = f"model '{model.name}' cannot be exported"
    try:
        again = load_model(str(folder), formats=[(Own(), {})])
    except UserError as error:
        said = str(error).replace(f"model '{folder}': ", "")
        raise UserError(f"{refused}: its architecture makes another network ({said})") from None
    for name in ("sample_shape", "learned_range", "mean_squares", "dataset", "extractor"):
        if getattr(again.checkpoint, name) != getattr(model.checkpoint, name):
            raise UserError(f"{refused}: its {name} is not what would be read back")
    schedule, network = model.schedule, model.predictor.network
    first = schedule.first_time(pure_noise=False)
    times = [schedule.t_min + (first - schedule.t_min) * part for part in (0.5, 0.0, 0.1, 0.2, 0.3, 0.4, 0.7, 1.0)]
    x, worst = NoiseSource(0, range(1), model.sample_shape).x_T(), 0.0
    for t in map(float, times if isinstance(network, Experts) else times[:1]):
        with torch.no_grad():
            asked = (model.conditioner.example,) if model.conditioner else ()
            one, other = model.epsilon(asked=asked)(x, t), again.epsilon(asked=asked)(x, t)
        difference = float((one - other).abs().max())
        if not difference <= ALIKE * float(one.abs().max()):
            raise UserError(f"{refused}: read back, its ε at time {t:g} differs by {difference:.2g}")
        worst = max(worst, difference)
    return worst
