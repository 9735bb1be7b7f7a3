"""Prompts of diffusers pipelines: tokenizers and text encoders of transformers, and how each pipeline joins them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UserError, one_line
from ...files import read_json
from ..condition import Conditioner
from .diffusers_parts import needed, weights_of

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Concatenated", "LastLayer", "Prompts", "Sd3", "Tower", "read_tower"]

OF_T5 = 256  # tokens that SD3's T5 is given


@dataclass(frozen=True, eq=False)
class Tower:
    """A tokenizer and its text encoder. name: of the tokenizer's folder; length: tokens that a prompt is cut or padded
    to; files: those that were read.
    """

    name: str
    tokenizer: Any
    encoder: Any
    length: int
    files: tuple[Path, ...]

    def given(self, lines: Sequence[str]) -> dict[str, Tensor]:
        """What the encoder is given: tokens [B, length], where it is; and which of them are no padding, where its
        config asks for that.
        """
        found = self.tokenizer(
            list(lines), padding="max_length", max_length=self.length, truncation=True, return_tensors="pt"
        )
        place = next(self.encoder.parameters()).device
        masked = getattr(self.encoder.config, "use_attention_mask", False)
        names = ("input_ids", *(("attention_mask",) if masked else ()))
        return {name: found[name].to(place) for name in names}

    def too_long(self, lines: Sequence[str]) -> list[str]:
        """The lines of which it leaves out the end."""
        ids = self.tokenizer(list(lines), verbose=False).input_ids if lines else []
        return [line for line, one in zip(lines, ids, strict=True) if len(one) > self.length]

    def penultimate(self, lines: Sequence[str]) -> tuple[Tensor, Tensor]:
        """The last layer but one, [B, length, width], and the encoder's first output."""
        output = self.encoder(**self.given(lines), output_hidden_states=True)
        return output.hidden_states[-2], output[0]


class Prompts(Conditioner):
    """Prompts through text encoders; an empty one stands for no condition. There is no list of its own. A line is
    encoded once a call, however many samples are asked for it.
    """

    kind, nothing, default = "prompt", "", ()

    def __init__(self, towers: Sequence[Tower]) -> None:
        self.towers = tuple(towers)

    @abstractmethod
    def encode(self, lines: list[str]) -> dict[str, Tensor]:
        """Arguments of the network, a row for each line."""

    def rows(self, asked: Sequence[str]) -> dict[str, Tensor]:
        import torch

        place = {line: i for i, line in enumerate(dict.fromkeys(asked))}
        lines, places = list(place), [place[line] for line in asked]
        with torch.no_grad():
            found = [self.encode(lines[i : i + AT_ONCE]) for i in range(0, len(lines), AT_ONCE)]
        return {name: torch.cat([part[name] for part in found])[places] for name in found[0]}

    def check(self, lines: Sequence[str]) -> None:
        """Every line of text can be asked for."""

    def told(self, lines: Sequence[str]) -> str:
        lines = list(dict.fromkeys(lines))
        for tower in self.towers:
            if long := tower.too_long(lines):
                first = long[0] if len(long[0]) <= 60 else f"{long[0][:57]}…"
                return (
                    f"{len(long)} of {len(lines)} prompts are longer than the {tower.length} tokens that {tower.name} "
                    f"takes; what comes after is left out, first in '{first}'"
                )
        return ""

    def networks(self) -> dict[str, nn.Module]:
        return {tower.name.replace("tokenizer", "text"): tower.encoder for tower in self.towers}


AT_ONCE = 64  # prompts


class LastLayer(Prompts):
    """The last layer of one encoder (Stable Diffusion 1 and 2)."""

    def encode(self, lines: list[str]) -> dict[str, Tensor]:
        (tower,) = self.towers
        return {"text": tower.encoder(**tower.given(lines))[0]}


class Concatenated(Prompts):
    """The last layers but one of two encoders side by side, and the second's pooled output (SDXL). zeros: whether
    nothing is zeros, and not what the encoders make of an empty prompt.
    """

    def __init__(self, towers: Sequence[Tower], zeros: bool) -> None:
        super().__init__(towers)
        self.zeros = zeros

    def encode(self, lines: list[str]) -> dict[str, Tensor]:
        import torch

        (one, _), (other, pooled) = (tower.penultimate(lines) for tower in self.towers)
        found = {"text": torch.cat([one, other], dim=-1), "pooled": pooled}
        if self.zeros and "" in lines:
            for rows in found.values():
                rows[lines.index("")] = 0
        return found


class Sd3(Prompts):
    """The last layers but one of two CLIP encoders side by side, filled up with zeros to `width`, and behind them T5's
    tokens; and both pooled outputs (SD3). Without T5 its tokens are zeros.
    """

    def __init__(self, towers: Sequence[Tower], width: int) -> None:
        super().__init__(towers)
        self.width = width

    def encode(self, lines: list[str]) -> dict[str, Tensor]:
        import torch
        from torch.nn.functional import pad

        (one, first), (other, second) = (tower.penultimate(lines) for tower in self.towers[:2])
        clip = torch.cat([one, other], dim=-1)
        clip = pad(clip, (0, self.width - clip.shape[-1]))
        if len(self.towers) == 3:
            behind = self.towers[2].encoder(**self.towers[2].given(lines))[0]
        else:
            behind = clip.new_zeros(len(lines), OF_T5, self.width)
        return {"text": torch.cat([clip, behind], dim=1), "pooled": torch.cat([first, second], dim=-1)}


def read_tower(root: Path, number: str, kinds: tuple[str, str], what: str, length: int | None = None) -> Tower:
    """The text encoder and tokenizer of a pipeline's folder. number: what their names end in: '', '_2' or '_3'. kinds:
    classes of encoder and tokenizer. length: of prompts, where it is not the tokenizer's own.
    """
    library = needed(what, "transformers")
    encoder, tokenizer = root / f"text_encoder{number}", root / f"tokenizer{number}"
    config = encoder / "config.json"
    read_json(config, what)
    weights = weights_of(encoder, what, "model")
    made = _encoder(getattr(library, kinds[0]), encoder, what)
    if not tokenizer.is_dir():
        raise UserError(f"{what}: {root} has no {tokenizer.name}")
    try:
        words = getattr(library, kinds[1]).from_pretrained(tokenizer, local_files_only=True)
    except Exception as error:  # whatever the library makes of the files
        raise UserError(f"{what}: {tokenizer.name} cannot be read: {one_line(error)}") from None
    length = words.model_max_length if length is None else length
    most = getattr(made.config, "max_position_embeddings", None)
    if most is not None and not 0 < length <= most:
        raise UserError(f"{what}: {tokenizer.name} makes {length} tokens, and {encoder.name} takes {most}")
    if len(words) > made.config.vocab_size:
        raise UserError(
            f"{what}: {tokenizer.name} has {len(words)} words, and {encoder.name} knows {made.config.vocab_size}"
        )
    files = tuple(sorted(file for file in tokenizer.iterdir() if file.is_file()))
    tower = Tower(tokenizer.name, words, made, length, (config, *weights, *files))
    tower.encoder(**tower.given([""]), output_hidden_states=True)  # its first call puts hooks into it
    return tower


def _encoder(cls: Any, folder: Path, what: str) -> Any:
    """An encoder of transformers in float32, all of whose weights are in the file. Raises UserError."""
    import torch
    from transformers.utils import logging

    bars: Any = logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        network, told = cls.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    except Exception as error:  # whatever the library makes of the files
        raise UserError(f"{what}: {folder.name} cannot be read: {one_line(error)}") from None
    finally:
        if shown:
            bars.enable_progress_bar()
    extra = {name for name in told["unexpected_keys"] if not name.endswith(UNUSED)}
    for said, names in (("lacks", told["missing_keys"]), ("has unexpected", extra)):
        if names:
            first = ", ".join(sorted(map(str, names))[:2])
            raise UserError(f"{what}: the weights of {folder.name} do not fit its config.json: it {said} {first}")
    for name, value in network.named_parameters():
        if not value.isfinite().all():
            raise UserError(f"{what}: {folder.name}: {name} has values that are not finite")
    return network.eval().requires_grad_(False)


UNUSED = ("position_ids", "logit_scale", "text_projection.weight")  # in older files
