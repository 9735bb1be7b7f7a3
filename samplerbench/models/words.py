"""Prompts as tokens: one token a word of a small vocabulary."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import UserError, unknown

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["WORD", "Vocabulary"]

START, FIRST_WORD = 1, 2  # 0 is padding
WORD = re.compile(r"[^\W_]+(?:[-'][^\W_]+)*")


@dataclass(frozen=True)
class Vocabulary:
    """The words that a text encoder knows, each once, and how many tokens a prompt may have, its start included."""

    words: tuple[str, ...]
    length: int

    @property
    def size(self) -> int:
        """Tokens in all: padding, the start of a prompt, and the words."""
        return FIRST_WORD + len(self.words)

    def tokens(self, prompts: Sequence[str]) -> Tensor:
        """[B, length], int64: a start, the words, and zeros. Case and punctuation do not count; an empty prompt is a
        start alone. Raises UserError for a word that is not known, and for a prompt that is too long.
        """
        import torch

        places = {word: i for i, word in enumerate(self.words, FIRST_WORD)}
        found = torch.zeros(len(prompts), self.length, dtype=torch.int64)
        found[:, 0] = START
        for row, prompt in zip(found, prompts, strict=True):
            words = WORD.findall(prompt.lower())
            if len(words) >= self.length:
                raise UserError(f"prompt '{_short(prompt)}' has {len(words)} words, this model takes {self.length - 1}")
            for i, word in enumerate(words, 1):
                if word not in places:
                    raise unknown(f"word in prompt '{_short(prompt)}':", word, self.words)
                row[i] = places[word]
        return found


def _short(prompt: str) -> str:
    text = " ".join(prompt.split())
    return text if len(text) <= 60 else f"{text[:57]}…"
