"""CLIP with both of its halves, images and prompts, from a folder of transformers, such as that of
`openai/clip-vit-large-patch14`. torch-fidelity's `clip-…` have the half for images alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, one_line
from ..files import content_key, read_json, sha256
from ..hookspecs import hookimpl
from .extractor import Extractor

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TextAndImages"]

DECISIVE = (  # what embeddings hang on besides the weights: activations, heads, the words
    "config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "special_tokens_map.json",
    "added_tokens.json",
)  # fmt: skip
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of all that are published
BATCH = 256  # prompts at once


class TextAndImages(Extractor):
    """Images are resized as transformers does it: the shorter side to the network's, bicubic and antialiased, and the
    middle is taken. The folder's preprocessor_config.json may give another mean and deviation of the pixels.
    """

    name = "clip"
    about = "CLIP's image embeddings, and those of prompts, for clip_score and cmmd; --extractor-weights names a folder"
    paper = "Radford et al. 2021, arXiv:2103.00020"
    takes = (3, None, None)
    directions = True
    reads = True

    @property
    def dimension(self) -> int:
        return int(self.network.config.projection_dim)

    def load(self, weights: Path | None, device: str) -> None:
        if weights is None:
            raise UserError(
                "extractor 'clip' comes without weights; name a folder of a CLIPModel, as save_pretrained writes it, "
                "with --extractor-weights FOLDER"
            )
        try:
            import transformers
        except ImportError:
            raise UserError("extractor 'clip' needs transformers; install samplerbench[clip]") from None
        library: Any = transformers
        what = f"--extractor-weights {weights}"
        config = read_json(weights / "config.json", what)
        if config.get("model_type") != "clip":
            raise UserError(f"{what}: config.json: model_type is 'clip', got {config.get('model_type')!r}")
        if not (weights / "model.safetensors").is_file():
            raise UserError(f"{what} has no model.safetensors; pickled weights are not read")
        said, given = library.utils.logging, {"local_files_only": True}
        verbosity, bars = said.get_verbosity(), said.is_progress_bar_enabled()
        said.set_verbosity_error()
        said.disable_progress_bar()
        try:
            network, told = library.CLIPModel.from_pretrained(
                weights, use_safetensors=True, output_loading_info=True, **given
            )
            self._tokenizer: Any = library.AutoTokenizer.from_pretrained(weights, **given)
        except Exception as error:
            raise UserError(f"{what} cannot be read as a CLIPModel: {one_line(error)[:200]}") from None
        finally:
            said.set_verbosity(verbosity)
            if bars:
                said.enable_progress_bar()
        if missing := sorted(told["missing_keys"]):
            raise UserError(f"{what}: model.safetensors lacks {missing[0]} and {len(missing) - 1} more")
        self.network: Any = network.eval().to(device)
        self.files_sha256 = content_key({name: sha256(f) for name in DECISIVE if (f := weights / name).is_file()})
        self.mean, self.deviation = _pixels(weights)

    def __call__(self, images: Tensor) -> Tensor:
        import torch
        from torch.nn.functional import interpolate

        side = int(self.network.config.vision_config.image_size)
        height, width = images.shape[2:]
        factor = side / min(height, width)
        size = max(side, round(height * factor)), max(side, round(width * factor))
        x = interpolate(images.float(), size=size, mode="bicubic", antialias=True).clamp(0, 255) / 255
        top, left = (size[0] - side) // 2, (size[1] - side) // 2
        x = x[:, :, top : top + side, left : left + side]
        mean, deviation = (
            torch.tensor(values, device=x.device).view(-1, 1, 1) for values in (self.mean, self.deviation)
        )
        embedded = self.network.vision_model(pixel_values=(x - mean) / deviation).pooler_output
        features: Tensor = self.network.visual_projection(embedded)
        return features

    def text(self, prompts: Sequence[str]) -> tuple[Tensor, int]:
        import torch

        most, parts, cut = int(self.network.config.text_config.max_position_embeddings), [], 0
        for first in range(0, len(prompts), BATCH):
            some = list(prompts[first : first + BATCH])
            cut += sum(len(tokens) > most for tokens in self._tokenizer(some)["input_ids"])
            given = self._tokenizer(some, padding=True, truncation=True, max_length=most, return_tensors="pt")
            given = given.to(self.network.device)
            found = self.network.text_model(input_ids=given["input_ids"], attention_mask=given["attention_mask"])
            parts.append(self.network.text_projection(found.pooler_output).float())
        return torch.cat(parts), cut


def _pixels(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of the pixels' channels."""
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return MEAN, DEVIATION
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        found = tuple(tuple(float(v) for v in said[name]) for name in ("image_mean", "image_std"))
        if any(len(values) != 3 for values in found) or min(found[1]) <= 0:
            raise ValueError("image_mean and image_std are three numbers each, the latter above 0")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} cannot be read: {one_line(error)}") from None
    return found[0], found[1]


@hookimpl
def samplerbench_extractors(register):  # type: ignore[no-untyped-def]
    register(TextAndImages)
