"""Checkpoints of openai/guided-diffusion and improved-diffusion (Dhariwal & Nichol 2021; Nichol & Dhariwal 2021)."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UserError
from ...files import read_json
from ..condition import Classes
from ..preconditioning import Label, Preconditioning
from .format import Checkpoint, ModelFormat
from .guided_flags import Flags, flags_of
from .guided_layers import config_of, converted, theirs
from .weights import dataset_of, flat_state, read_pickle, unet2d

if TYPE_CHECKING:
    from ..classifier import Classifier

__all__ = ["GuidedDiffusion"]


class GuidedDiffusion(ModelFormat):
    """A `.pt` with its flags in a JSON of the same name beside it, as they were given to the authors' scripts."""

    name = "guided-diffusion"
    about = "checkpoints of openai/guided-diffusion and improved-diffusion (NAME.pt, its flags in NAME.json)"

    def recognises(self, spec: str) -> bool:
        return Path(spec).suffix == ".pt"

    def load(self, spec: str) -> Checkpoint:
        path, what = Path(spec), f"model '{spec}'"
        beside = path.with_suffix(".json")
        if path.is_file() and not beside.is_file():
            raise UserError(
                f"{what}: {path.parent} has no {beside.name}, which holds the flags that the network was trained with, "
                'such as {"image_size": 64, "num_channels": 128, "learn_sigma": true}'
            )
        state = flat_state(read_pickle(path, what), f"{what}: a checkpoint of this format")
        flags = flags_of(read_json(beside, what), f"{what}: {beside.name}")
        classes, where = len(state.get("label_emb.weight", ())), f"{what}: {path.name}"
        if bool(classes) != flags.class_cond:
            held = "has label_emb" if classes else "lacks label_emb"
            raise UserError(f"{where} {held}, and {beside.name} says that class_cond is {flags.class_cond}")
        config = config_of(flags, classes)
        network = unet2d(config, converted(state, flags, what), where, beside.name, partial(theirs, flags))
        classifier, used = _classifier(path.parent, flags, network.sample_shape, what)
        conditioner = Classes(classes) if classes else None
        if classifier and not classes:  # only the classifier is told
            conditioner = Classes(classifier.classes, argument=None)
        named = re.search(r"(?<![a-z])ema(?![a-z])", path.stem.lower())
        weights = "their moving average (EMA), by the file's name" if named else (
            "those of the last step, by the file's name; ema_*.pt beside it samples far better"
            if re.fullmatch(r"model\d+", path.stem)
            else "the file does not say whether they are a moving average (EMA)"
        )  # fmt: skip
        dataset = dataset_of(path.stem, path.absolute().parent.name)
        half = any(value.is_floating_point() and value.itemsize == 2 for value in state.values())
        return Checkpoint(
            network=network,
            preconditioning=Preconditioning(
                "x0" if flags.predict_xstart else "epsilon", label=Label("index", flags.label_factor)
            ),
            schedule=_schedule(flags),
            sample_shape=network.sample_shape,
            architecture={"kind": "unet2d", **config},
            dataset=dataset,
            files=(path, beside, *used),
            notes=(
                f"weights: {weights}",
                *(["weights in half precision are widened to float32"] if half else []),
                *([f"data set: {dataset}, by its name"] if dataset else []),
                f"its authors sample by ddpm, clipping x_0 to [-1, 1]: --samplers ddpm:variance={flags.variance}",
                *([f"asked for one of {classes} classes; without a null condition, so that guidance needs a classifier"]
                  if flags.class_cond else []),
                *([f"timestep_respacing {flags.timestep_respacing} is the sampler's and is not taken over"]
                  if flags.timestep_respacing else []),
            ),
            learned_range=flags.learn_sigma,
            conditioner=conditioner,
            classifier=classifier,
        )  # fmt: skip


def _classifier(
    folder: Path, flags: Flags, shape: tuple[int, int, int], what: str
) -> tuple[Classifier | None, tuple[Path, ...]]:
    """The classifier that the flags name, and its files. Raises UserError where it takes other images."""
    from .guided_classifier import load_guided_classifier

    if not flags.classifier_path:
        return None, ()
    path = folder / flags.classifier_path
    found = load_guided_classifier(path, f"{what}: classifier '{flags.classifier_path}'")
    if found.shape != shape:
        raise UserError(f"{what}: its classifier takes {list(found.shape)}, its samples are {list(shape)}")
    return found, (path, path.with_suffix(".json"))


def _schedule(flags: Flags) -> dict[str, Any]:
    """Theirs: the linear one of 1000 steps scaled by 1000/N, or the cosine."""
    steps = flags.diffusion_steps
    if flags.noise_schedule == "cosine":
        return {"kind": "cosine", "steps": steps, "zero_terminal_snr": False}
    first, last = 1000 / steps * 1e-4, 1000 / steps * 0.02
    return {"kind": "linear", "steps": steps, "beta_first": first, "beta_last": last, "zero_terminal_snr": False}
