"""A trained text encoder as a folder: `config.json` of `kind: text`, and `model.safetensors`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import UserError, check_arguments
from ..files import content_key, load_weights, read_json, save_weights, sha256, write_whole
from .networks.text import TextEncoder, TextEncoderConfig
from .words import Vocabulary

__all__ = ["Text", "load_text", "save_text"]

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Text:
    """A trained text encoder.

    Attributes:
        vocabulary: the words that it knows.
        classes: the class that a word stands for, by word.
        sha256: hash of its files.
    """

    network: TextEncoder
    vocabulary: Vocabulary
    classes: Mapping[str, int]
    sha256: str

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Tensor:
        """[B, width], where the encoder is. Raises UserError for words that it does not know."""
        tokens = self.vocabulary.tokens(prompts)
        return self.network(tokens.to(self.network.positions.device))


def save_text(
    folder: Path, network: TextEncoder, words: Sequence[str], classes: Mapping[str, int], weights: str = "float32"
) -> None:
    """Writes a folder that `load_text` reads. weights: float32 or float16."""
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(network, folder / "model.safetensors", weights)
    config = {
        "format": FORMAT,
        "kind": "text",
        "architecture": asdict(network.config),
        "vocabulary": list(words),
        "classes": dict(classes),
    }
    write_whole(folder / "config.json", (json.dumps(config, indent=2) + "\n").encode())


def load_text(folder: Path, what: str) -> Text:
    """The text encoder in a folder, in evaluation mode, on the CPU; `what` names it in errors. Raises UserError."""
    config = read_json(folder / "config.json", what)
    try:
        known, words, classes = _read(config)
        with torch.device("meta"):  # no memory is taken before the file of weights is known to have these shapes
            network = TextEncoder(known)
    except UserError as error:
        raise UserError(f"{what}: config.json: {error}") from None
    load_weights(network, folder / "model.safetensors", what)
    return Text(
        network.eval().requires_grad_(False),
        Vocabulary(words, known.length),
        classes,
        content_key({name: sha256(folder / name) for name in ("config.json", "model.safetensors")}),
    )


def _read(config: Mapping[str, object]) -> tuple[TextEncoderConfig, tuple[str, ...], dict[str, int]]:
    if config.get("kind") != "text" or config.get("format") != FORMAT or isinstance(config["format"], bool):
        raise UserError(
            f"expected kind 'text' and format {FORMAT}, got {config.get('kind')!r} {config.get('format')!r}"
        )
    architecture, words, classes = (config.get(name) for name in ("architecture", "vocabulary", "classes"))
    if not isinstance(architecture, dict):
        raise UserError(f"architecture is a JSON object, got {architecture!r}")
    check_arguments("the architecture", TextEncoderConfig, architecture)
    try:
        known = TextEncoderConfig(**architecture)
    except ValueError as error:
        raise UserError(f"architecture: {error}") from None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words) or len({*words}) != len(words):
        raise UserError("vocabulary is a list of words, each once")
    if Vocabulary(tuple(words), known.length).size != known.words:
        raise UserError(
            f"vocabulary has {len(words)} words, the architecture's {known.words} tokens need another number"
        )
    if not isinstance(classes, dict) or not all(type(label) is int and label >= 0 for label in classes.values()):
        raise UserError(f"classes gives a label for each of some words, got {classes!r}")
    for word in classes:
        if word not in words:
            raise UserError(f"classes names '{word}', which is not in the vocabulary")
    return known, tuple(words), classes
