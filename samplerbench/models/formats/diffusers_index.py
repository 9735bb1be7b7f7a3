"""model_index.json: which pipeline a diffusers folder is, and which of its parts are read, left out or refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UserError

__all__ = ["PIPELINES", "Pipeline", "check_parts", "pipeline_of"]

CLIP, CLIP_POOLED, T5 = ("CLIPTextModel",), ("CLIPTextModelWithProjection",), ("T5EncoderModel",)
OF_CLIP, OF_T5 = ("CLIPTokenizer", "CLIPTokenizerFast"), ("T5Tokenizer", "T5TokenizerFast")
LEFT_OUT = {"safety_checker": "images are as the decoder gives them", "feature_extractor": "only images need it"}
WHOSE = {
    "image_encoder": "an IP adapter", "controlnet": "ControlNet", "adapter": "a T2I adapter", "prior": "a prior",
    "image_normalizer": "unCLIP", "motion_adapter": "AnimateDiff",
}  # fmt: skip
ADDED = {  # files of weights that are laid over the network's own
    "pytorch_lora_weights.safetensors": "LoRA", "pytorch_lora_weights.bin": "LoRA",
    "adapter_model.safetensors": "an adapter", "adapter_config.json": "an adapter",
}  # fmt: skip


@dataclass(frozen=True)
class Pipeline:
    """What is read of a pipeline.

    kind: how it is put together: `latent`, `text`, `xl`, `dit` or `sd3`. parts: its parts by name, each with the
    classes that it may have. optional: those that may be missing.
    """

    kind: str
    parts: Mapping[str, tuple[str, ...]]
    optional: tuple[str, ...] = ()

    @property
    def network(self) -> str:
        """The part that is ε_θ."""
        return "transformer" if "transformer" in self.parts else "unet"

    @property
    def decoder(self) -> str:
        """The part that makes images of latents."""
        return "vqvae" if "vqvae" in self.parts else "vae"


LATENT = Pipeline("latent", {"unet": ("UNet2DModel",), "vqvae": ("VQModel", "AutoencoderKL"), "scheduler": ()})
VAE = ("AutoencoderKL",)
UNET = ("UNet2DConditionModel",)
PIPELINES = {
    "LDMPipeline": LATENT,
    "LatentDiffusionUncondPipeline": LATENT,
    "StableDiffusionPipeline": Pipeline(
        "text", {"unet": UNET, "vae": VAE, "text_encoder": CLIP, "tokenizer": OF_CLIP, "scheduler": ()}
    ),
    "StableDiffusionXLPipeline": Pipeline(
        "xl",
        {
            "unet": UNET, "vae": VAE, "text_encoder": CLIP, "tokenizer": OF_CLIP, "text_encoder_2": CLIP_POOLED,
            "tokenizer_2": OF_CLIP, "scheduler": (),
        },
    ),
    "DiTPipeline": Pipeline(
        "dit", {"transformer": ("DiTTransformer2DModel", "Transformer2DModel"), "vae": VAE, "scheduler": ()}
    ),
    "StableDiffusion3Pipeline": Pipeline(
        "sd3",
        {
            "transformer": ("SD3Transformer2DModel",), "vae": VAE, "text_encoder": CLIP_POOLED, "tokenizer": OF_CLIP,
            "text_encoder_2": CLIP_POOLED, "tokenizer_2": OF_CLIP, "text_encoder_3": T5, "tokenizer_3": OF_T5,
            "scheduler": (),
        },
        ("text_encoder_3", "tokenizer_3"),
    ),
}  # fmt: skip
"""Those that are read, by their class."""


def pipeline_of(index: Mapping[str, Any], what: str) -> Pipeline | None:
    """The pipeline that a model_index.json names; None of an unconditional one of images. Raises UserError for one that
    is not read.
    """
    kind, entry = index.get("_class_name", ""), index.get("unet")
    if kind in PIPELINES:
        return PIPELINES[kind]
    if not index or ("unet" in index and _class(entry) not in UNET):
        return None  # that of another class is refused where unconditional ones are read
    for name in sorted(WHOSE.keys() & index.keys()):
        if _class(index[name]):
            raise UserError(f"{what}: its pipeline {kind} has {name}, of {WHOSE[name]}, which is not read")
    raise UserError(f"{what}: its pipeline {kind or 'without a name'} is not read; read are {', '.join(PIPELINES)}")


def check_parts(pipeline: Pipeline, index: Mapping[str, Any], root: Path, what: str) -> tuple[set[str], list[str]]:
    """The parts that are there, and a note on what is left out. Raises UserError, with its name, for a part or a file
    that would change images and is not read, for one of another class, and for one that is missing.
    """
    there, notes = set(), []
    for name, entry in index.items():
        if name.startswith("_") or not isinstance(entry, list) or not (kind := _class(entry)):
            continue
        if name in LEFT_OUT:
            notes.append(f"{name} ({kind}) is left out: {LEFT_OUT[name]}")
        elif name not in pipeline.parts:
            whose = f", of {WHOSE[name]}" if name in WHOSE else ""
            raise UserError(f"{what}: its pipeline has {name} ({kind}){whose}, which is not read; save it without")
        elif pipeline.parts[name] and kind not in pipeline.parts[name]:
            expected = " or ".join(pipeline.parts[name])
            raise UserError(f"{what}: its {name} is a {kind}, expected {expected}; others are not read")
        else:
            there.add(name)
    missing = [name for name in pipeline.parts if name not in there and name not in pipeline.optional]
    if missing:
        raise UserError(f"{what}: model_index.json names no {' and no '.join(missing)}")
    if len(lone := there & set(pipeline.optional)) == 1:
        raise UserError(f"{what}: model_index.json names {lone.pop()} without its other half")
    for folder in (root, root / pipeline.network):
        for file, of in ADDED.items():
            if (folder / file).exists():
                raise UserError(
                    f"{what}: {folder.relative_to(root) / file} is of {of}, which is not read; fuse it into the "
                    "weights (pipeline.fuse_lora()) and save the pipeline anew"
                )
    return there, notes


def _class(entry: Any) -> str:
    """The class of a part; empty where it has none."""
    return entry[-1] if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[-1], str) else ""
