"""diffusers' latent pipelines as a Checkpoint: latent diffusion, Stable Diffusion 1, 2, XL and 3, and DiT."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import UserError
from ..condition import Classes, Conditioner
from ..preconditioning import Label, Preconditioning
from .diffusers_index import Pipeline, check_parts
from .diffusers_parts import Part, default, described, needed, read_part
from .diffusers_scheduler import Scheduler, read_scheduler
from .diffusers_text import OF_T5, Concatenated, LastLayer, Prompts, Sd3, Tower, read_tower
from .diffusers_vae import read_decoder
from .format import Checkpoint
from .weights import dataset_of

__all__ = ["add_decoder", "read_pipeline"]

UNREAD = {  # fields of UNet2DConditionModel that ask for what no pipeline here gives; what they are where they do not
    "addition_embed_type": (None, "text_time"), "class_embed_type": (None,), "num_class_embeds": (None,),
    "encoder_hid_dim_type": (None,), "time_cond_proj_dim": (None,), "attention_type": ("default",),
}  # fmt: skip
LEGACY = {"num_vector_embeds", "cross_attention_dim", "only_cross_attention", "use_linear_projection",
          "double_self_attention", "attention_type", "caption_channels", "interpolation_scale",
          "use_additional_conditions"}  # fmt: skip  # of Transformer2DModel, which no DiT has


def read_pipeline(
    pipeline: Pipeline,
    index: Mapping[str, Any],
    root: Path,
    scheduler: tuple[Path, Mapping[str, Any]],
    name: str,
    what: str,
) -> Checkpoint:
    """A pipeline with a network that is conditional. scheduler: its file, and the config in it; name: the folder's, or
    on the hub.

    Raises UserError, in one line, for parts that are not read or do not fit each other.
    """
    from ..networks.conditional import ClassTransformer, TextTransformer, TextUNet

    there, notes = check_parts(pipeline, index, root, what)
    folder = root / pipeline.network
    config = described(folder, pipeline.parts[pipeline.network], what)
    side = _side(pipeline, config, f"{what}: {folder.name}/config.json")
    part = read_part(_class_of(pipeline), _cleaned(pipeline, config, what), folder, what)
    channels = part.get("in_channels")
    sequence = None
    if pipeline.kind == "sd3":
        sequence = (side[0] // part.get("patch_size")) * (side[1] // part.get("patch_size"))
    read = read_scheduler(scheduler[1], f"{what}: {scheduler[0].name}", sequence)
    learned = _learned_range(pipeline, part, read, what)
    decoder, vae, of_decoder = read_decoder(
        root / pipeline.decoder, pipeline.parts[pipeline.decoder], side, channels, what
    )
    conditioner, towers = _conditioner(pipeline, index, root, there, part, what)
    if isinstance(conditioner, Prompts):
        _check_widths(conditioner, part, what)
    if pipeline.kind == "xl":
        height, width = decoder.image_shape[1:]
        network = TextUNet(part.network, (height, width, 0, 0, height, width))
        notes += [
            f"told that images are {width} × {height} and not cropped (SDXL's time ids)",
            "no watermark is put into images",
        ]
    else:
        network = {"text": TextUNet, "dit": ClassTransformer, "sd3": TextTransformer}[pipeline.kind](part.network)
    half = sorted({*part.half, *vae.half})
    dataset = dataset_of(name)
    return Checkpoint(
        network=network.eval().requires_grad_(False),
        preconditioning=Preconditioning(
            read.prediction, "edm" if read.prediction == "edm" else "native", Label(**read.label)
        ),
        schedule=read.schedule,
        sample_shape=(channels, *side),
        architecture={"kind": type(part.network).__name__, **part.config},
        dataset=dataset,
        files=(
            root / "model_index.json", scheduler[0], *part.files, *vae.files,
            *(file for tower in towers for file in tower.files),
        ),
        notes=(
            *([f"weights in {', '.join(half)} are widened to float32"] if half else []),
            *([f"data set: {dataset}, by its name"] if dataset else []),
            *notes,
            *of_decoder,
            *_of_conditions(pipeline, conditioner, there),
            *([
                "its output has twice the channels: the first half is ε, the second is taken for the place of the "
                "variance (learned range), which only ddpm:variance=learned-range:clip=none looks at"
            ] if learned and not read.learned_range else []),
            *read.notes,
        ),
        learned_range=learned,
        decoder=decoder,
        conditioner=conditioner,
    )  # fmt: skip


def add_decoder(said: Checkpoint, pipeline: Pipeline, index: Mapping[str, Any], root: Path, what: str) -> Checkpoint:
    """The checkpoint of an unconditional network of latents, with the decoder in the same folder."""
    _, notes = check_parts(pipeline, index, root, what)
    channels, height, width = said.sample_shape
    decoder, part, more = read_decoder(
        root / pipeline.decoder, pipeline.parts[pipeline.decoder], (height, width), channels, what
    )
    files = (root / "model_index.json", *said.files, *part.files)
    return replace(said, decoder=decoder, files=files, notes=(*said.notes, *notes, *more))


def _class_of(pipeline: Pipeline) -> str:
    """diffusers' class of the network: the first of those that it may be called."""
    return pipeline.parts[pipeline.network][0]


def _cleaned(pipeline: Pipeline, config: dict[str, Any], what: str) -> dict[str, Any]:
    """The config without what an older class has besides. Raises UserError where it asks for what is not read."""
    where = f"{what}: {pipeline.network}/config.json"
    if pipeline.network == "unet":
        allowed = {**UNREAD, "addition_embed_type": ("text_time",) if pipeline.kind == "xl" else (None,)}
        for name, values in allowed.items():
            cls = getattr(needed(what), _class_of(pipeline))
            if (value := config.get(name, default(cls, name))) not in values:
                said, expected = json.dumps(value), json.dumps(values[0])
                raise UserError(f"{where}: {name} is {said}, expected {expected}; such networks are not read")
    if pipeline.kind != "dit":
        return config
    for name in LEGACY & config.keys():
        if config[name] not in (None, False, "default"):
            raise UserError(f"{where}: {name} is {config[name]!r}, which a DiT does not have")
    return {name: value for name, value in config.items() if name not in LEGACY}


def _side(pipeline: Pipeline, config: Mapping[str, Any], where: str) -> tuple[int, int]:
    """(h, w) of the latents that the network was trained on."""
    size = config.get("sample_size")
    sides: Any = [size, size] if type(size) is int else size
    good = isinstance(sides, list) and len(sides) == 2 and all(type(one) is int and one > 0 for one in sides)
    if not good or (pipeline.network == "transformer" and type(size) is not int):
        raise UserError(f"{where}: sample_size, the side of its latents, is a whole number, got {size!r}")
    levels = config.get("block_out_channels")
    step = config.get("patch_size", 2) if pipeline.network == "transformer" else 2 ** (len(levels or (0,)) - 1)
    if type(step) is not int or step < 1 or any(one % step for one in sides):
        raise UserError(f"{where}: sample_size {size} is not divisible by {step}")
    return sides[0], sides[1]


def _learned_range(pipeline: Pipeline, part: Part, scheduler: Scheduler, what: str) -> bool:
    """Whether the second half of the output places the variance: where the scheduler says so, and in a DiT."""
    inputs, outputs = part.get("in_channels"), part.get("out_channels")
    outputs = inputs if outputs is None else outputs
    doubled = bool(outputs == 2 * inputs)
    if (doubled and not (pipeline.kind == "dit" or scheduler.learned_range)) or outputs not in (inputs, 2 * inputs):
        raise UserError(f"{what}: its network takes {inputs} channels and gives {outputs}, expected {inputs}")
    if scheduler.learned_range and not doubled:
        raise UserError(
            f"{what}: variance_type learned_range contradicts out_channels {outputs}, expected {2 * inputs}"
        )
    return doubled


def _conditioner(
    pipeline: Pipeline, index: Mapping[str, Any], root: Path, there: set[str], part: Part, what: str
) -> tuple[Conditioner, tuple[Tower, ...]]:
    if pipeline.kind == "dit":
        return _classes(index, part, what), ()

    def tower(number: str, length: int | None = None) -> Tower:
        kinds = (index[f"text_encoder{number}"][1], index[f"tokenizer{number}"][1])
        return read_tower(root, number, kinds, what, length)

    if pipeline.kind == "text":
        alone = (tower(""),)
        return LastLayer(alone), alone
    first = tower("")
    # SD3's second CLIP is given as many tokens as the first
    pair = (first, tower("_2", first.length if pipeline.kind == "sd3" else None))
    if pipeline.kind == "xl":
        zeros = index.get("force_zeros_for_empty_prompt", True)
        if not isinstance(zeros, bool):
            raise UserError(f"{what}: force_zeros_for_empty_prompt is true or false, got {zeros!r}")
        return Concatenated(pair, zeros), pair
    found = (*pair, tower("_3", OF_T5)) if "text_encoder_3" in there else pair
    return Sd3(found, part.get("joint_attention_dim")), found


def _classes(index: Mapping[str, Any], part: Part, what: str) -> Classes:
    """The classes of a DiT; the null class is the one behind the last."""
    count = part.get("num_embeds_ada_norm")
    names: list[str] = []
    if (table := index.get("id2label")) is not None:
        if not isinstance(table, dict) or sorted(table) != sorted(map(str, range(count))):
            raise UserError(f"{what}: id2label in model_index.json names {count} classes by their numbers")
        names = [str(table[str(i)]) for i in range(count)]
        names = [name if names.count(name) == 1 else f"{name} ({i})" for i, name in enumerate(names)]
    return Classes(count, null=count, names=names)


def _check_widths(prompts: Prompts, part: Part, what: str) -> None:
    """Raises UserError where the text encoders give another width than the network takes."""
    found = prompts.rows([""])
    texts, pooled = found["text"].shape[-1], found["pooled"].shape[-1] if "pooled" in found else None
    if isinstance(prompts, Sd3):
        takes, other = part.get("joint_attention_dim"), part.get("pooled_projection_dim")
    else:
        takes, other = part.get("cross_attention_dim"), None
    if pooled is not None and isinstance(prompts, Concatenated):
        other = part.get("projection_class_embeddings_input_dim") - 6 * part.get("addition_time_embed_dim")
    if texts != takes and not isinstance(takes, list | tuple):
        raise UserError(f"{what}: its text encoders give {texts} numbers a token, and its network takes {takes}")
    if pooled != other:
        raise UserError(f"{what}: its text encoders give {pooled} numbers a prompt, and its network takes {other}")


def _of_conditions(pipeline: Pipeline, conditioner: Conditioner, there: set[str]) -> list[str]:
    if isinstance(conditioner, Classes):
        return [f"no class is number {conditioner.null}; guidance is of all channels, as in diffusers"]
    assert isinstance(conditioner, Prompts)
    if isinstance(conditioner, Concatenated) and conditioner.zeros:
        notes = ["an empty prompt is zeros (force_zeros_for_empty_prompt)"]
    else:
        notes = ["an empty prompt is what its text encoders make of it"]
    if pipeline.kind == "sd3" and "text_encoder_3" not in there:
        notes.append("without T5, whose tokens are zeros")
    takes = ", ".join(f"{tower.length} by {tower.name}" for tower in conditioner.towers)
    return [*notes, f"a prompt is cut after so many tokens: {takes}"]
