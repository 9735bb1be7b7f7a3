"""The noisy classifiers of openai/guided-diffusion, such as 256x256_classifier.pt, for classifier guidance."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UserError, unknown
from ...files import content_key, fill, read_json, sha256
from .guided_flags import flags_of
from .guided_layers import config_of, converted, theirs
from .weights import flat_state, read_pickle

if TYPE_CHECKING:
    from ..classifier import Classifier

__all__ = ["load_guided_classifier"]

HEAD = 64  # channels a head, whatever the flags
FLAGS: dict[str, tuple[str, Any]] = {  # of their scripts: the U-Net's flag of the same meaning, and the default
    "image_size": ("image_size", None),
    "classifier_width": ("num_channels", 128),
    "classifier_depth": ("num_res_blocks", 2),
    "classifier_attention_resolutions": ("attention_resolutions", "32,16,8"),
    "classifier_use_scale_shift_norm": ("use_scale_shift_norm", True),
    "classifier_resblock_updown": ("resblock_updown", True),
    "classifier_use_fp16": ("use_fp16", False),
    "channel_mult": ("channel_mult", ""),  # of the image size in theirs
}
POOL = "classifier_pool"


def load_guided_classifier(path: Path, what: str) -> Classifier:
    """The classifier in a `.pt`, whose flags lie in a JSON of the same name beside it, in evaluation mode, float32, on
    the CPU; `what` names it in errors.

    Raises UserError, in one line, for flags that are not known, and weights that do not fit them.
    """
    import torch

    from ..classifier import Classifier
    from ..networks.guided_classifier import GuidedClassifier

    beside = path.with_suffix(".json")
    if path.is_file() and not beside.is_file():
        raise UserError(
            f"{what}: {path.parent} has no {beside.name}, which holds the flags that it was trained with, such as "
            '{"image_size": 64, "classifier_depth": 4}'
        )
    state = flat_state(read_pickle(path, what), f"{what}: a classifier of guided-diffusion")
    given, where = read_json(beside, what), f"{what}: {beside.name}"
    for name in given:
        if name not in (*FLAGS, POOL):
            raise UserError(f"{where}: {unknown('flag', name, [*FLAGS, POOL])}")
    if (pool := given.get(POOL, "attention")) != "attention":
        raise UserError(f"{where}: {POOL} is {pool!r}, expected 'attention', as in all that were published")
    if "image_size" not in given:
        raise UserError(f"{where} lacks image_size, the pixels a side, such as 64")
    of_unet = {known: given.get(name, default) for name, (known, default) in FLAGS.items()}
    try:
        flags = flags_of({**of_unet, "num_head_channels": HEAD}, where)
    except UserError as error:
        raise UserError(_as_theirs(str(error))) from None
    pooled = {name.removeprefix(OUT): state.pop(name) for name in [*state] if name.startswith(OUT)}
    last = pooled.get("c_proj.weight")
    if last is None or last.ndim != 3:
        raise UserError(f"{what} is no classifier of guided-diffusion: it lacks {OUT}c_proj.weight, its last layer")
    with torch.device("meta"):  # no memory is taken before the weights are known to have these shapes
        network = GuidedClassifier(config_of(flags), HEAD, len(last))
    trunk = {f"unet.{name}": value for name, value in converted(state, flags, what).items()}
    named = partial(_named, partial(theirs, flags))
    fill(network, {**trunk, **{f"pool.{n}": v for n, v in pooled.items()}}, f"{what}: {path.name}", beside.name, named)
    network.eval().requires_grad_(False)
    digest = content_key([sha256(path), sha256(beside)])
    return Classifier(network, network.sample_shape, network.classes, digest)


OUT = "out.2."


def _named(theirs: Any, name: str) -> str:
    """A tensor by the name that it has in the file."""
    if name.startswith("pool."):
        return OUT + name.removeprefix("pool.")
    return str(theirs(name.removeprefix("unet.")))


def _as_theirs(text: str) -> str:
    """An error about the U-Net's flags, with the names of the classifier's."""
    for name, (known, _) in FLAGS.items():
        text = re.sub(rf"\b{known}\b", name, text)
    return text
