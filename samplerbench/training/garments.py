"""Captions of Fashion-MNIST, measured from the images: the garment is the label, its shade the mean grey level of what
is not background, its contrast their standard deviation.

What is held out of training, so that a text encoder can be asked for what it has never seen: images of some garments in
some shades; some phrasings; and some words for a shade with some garments, which have that shade under another word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..models.words import WORD

__all__ = ["HELD_OUT", "Facts", "allowed", "caption", "classes", "facts", "measured", "vocabulary"]

SLOT = re.compile(r"\{\w+\}")
BACKGROUND = 25  # grey levels up to it
GARMENTS: tuple[tuple[tuple[str, str], ...], ...] = (  # by label: (noun, what stands before it)
    (("t-shirt", "a"), ("tee", "a")),
    (("trousers", "a pair of"), ("pants", "a pair of")),
    (("pullover", "a"), ("sweater", "a"), ("jumper", "a")),
    (("dress", "a"), ("gown", "a")),
    (("coat", "a"), ("jacket", "a")),
    (("sandal", "a"), ("sandals", "a pair of")),
    (("shirt", "a"), ("blouse", "a")),
    (("sneaker", "a"), ("sneakers", "a pair of"), ("trainer", "a"), ("trainers", "a pair of")),
    (("bag", "a"), ("handbag", "a")),
    (("boot", "a"), ("boots", "a pair of"), ("ankle boot", "an"), ("ankle boots", "a pair of")),
)
SHADES = (
    ("black",),
    ("dark grey", "charcoal", "dark"),
    ("grey", "gray"),
    ("light grey", "silver", "light"),
    ("white",),
)
SHADES_END = (70.0, 110.0, 150.0, 190.0)  # grey levels
CONTRASTS: tuple[tuple[str, ...], ...] = (("plain", "smooth"), (), ("patterned", "contrasting"))
CONTRASTS_END = (40.0, 54.0)
# {np}: the noun with its article and those adjectives that are not named beside; {bare}: without the article
PHRASINGS = (
    "{np}",
    "{bare}",
    "a photo of {np}",
    "a picture of {np}",
    "an image of {np}",
    "{np} in {shade}",
    "a photo of {np} in {shade}",
    "{np}, {contrast}",
    "{np}, {contrast} and {shade}",
)
PHRASINGS_HELD_OUT = (
    "{bare}, {shade}",
    "in {shade}, {np}",
    "an image of {np} in {shade}",
    "{np}, {shade} and {contrast}",
)
TELLS_SHADE, TELLS_CONTRAST = 0.6, 0.4  # how often a caption does
PAIRS_HELD_OUT = ((1, 1), (2, 0), (4, 1), (7, 4), (8, 1))  # (garment, shade)
WORDS_HELD_OUT = (("silver", 1), ("charcoal", 3), ("gray", 8), ("light", 9), ("silver", 0))  # (word, garment)


@dataclass(frozen=True)
class HeldOut:
    """What training never sees. pairs: (garment, shade), as numbers. phrasings: templates. words: (word, garment)."""

    pairs: tuple[tuple[int, int], ...]
    phrasings: tuple[str, ...]
    words: tuple[tuple[str, int], ...]


HELD_OUT = HeldOut(PAIRS_HELD_OUT, PHRASINGS_HELD_OUT, WORDS_HELD_OUT)


def measured(images: Tensor) -> tuple[Tensor, Tensor]:
    """Shade and contrast, places in `SHADES` and `CONTRASTS`, [N] each, of uint8 images [N, 1, H, W]."""
    values = images.flatten(1).double()
    seen = (values > BACKGROUND).double()
    count = seen.sum(dim=1).clamp(min=1)
    mean = (values * seen).sum(dim=1) / count
    spread = (((values - mean[:, None]) ** 2 * seen).sum(dim=1) / count).sqrt()
    ends = (torch.tensor(end, dtype=torch.float64) for end in (SHADES_END, CONTRASTS_END))
    shades, contrasts = ends
    return torch.bucketize(mean, shades), torch.bucketize(spread, contrasts)


def caption(
    garment: int, shade: int, contrast: int, choices: Sequence[float], held_out: bool = False, tone: str = ""
) -> str:
    """A caption of an image that was measured so. choices: six numbers of [0, 1), which it follows. held_out: in a
    phrasing that training never sees, and with the shade. tone: the word for the shade, which may be held out itself.
    """
    by_shade, by_contrast, of_phrasing, of_noun, of_shade, of_contrast = choices
    told = {
        "shade": [tone] if tone else [word for word in SHADES[shade] if (word, garment) not in HELD_OUT.words],
        "contrast": list(CONTRASTS[contrast]) if by_contrast < TELLS_CONTRAST else [],
    }
    if not held_out and by_shade >= TELLS_SHADE:
        told["shade"] = []
    phrasings = HELD_OUT.phrasings if held_out else PHRASINGS
    phrasing = _one([p for p in phrasings if all(told[s] for s in told if f"{{{s}}}" in p)], of_phrasing)
    words = {s: _one(told[s], by) for s, by in (("contrast", of_contrast), ("shade", of_shade)) if told[s]}
    noun, article = _one(GARMENTS[garment], of_noun)
    bare = " ".join([*(word for slot, word in words.items() if f"{{{slot}}}" not in phrasing), noun])
    if article in ("a", "an"):
        article = "an" if bare[0] in "aeiou" else "a"
    return phrasing.format(np=f"{article} {bare}", bare=bare, **words)


def classes() -> dict[str, int]:
    """The label that each noun's last word stands for."""
    return {noun.split()[-1]: label for label, nouns in enumerate(GARMENTS) for noun, _ in nouns}


class Facts(NamedTuple):
    """What a caption says of an image: label, places in `SHADES` and `CONTRASTS`; None where it does not say it."""

    garment: int | None
    shade: int | None
    contrast: int | None


def facts(prompt: str) -> Facts:
    """What a caption says. Of two words for a shade, as in 'dark grey', the longer one counts."""
    said = f" {' '.join(WORD.findall(prompt.lower()))} "
    tones = sorted(((word, i) for i, words in enumerate(SHADES) for word in words), key=lambda one: -len(one[0]))
    shade = next((i for word, i in tones if f" {word} " in said), None)
    contrast = next((i for i, words in enumerate(CONTRASTS) for word in words if f" {word} " in said), None)
    garment = next((label for word, label in classes().items() if f" {word} " in said), None)
    return Facts(garment, shade, contrast)


def vocabulary() -> tuple[str, ...]:
    """All words of all captions."""
    phrases = [*PHRASINGS, *PHRASINGS_HELD_OUT, "a an"]
    phrases += [f"{article} {noun}" for noun, article in chain(*GARMENTS)] + [*chain(*SHADES, *CONTRASTS)]
    return tuple(sorted({word for phrase in phrases for word in WORD.findall(SLOT.sub(" ", phrase))}))


def allowed(labels: Tensor, shades: Tensor) -> Tensor:
    """Which images training may see, bool [N]."""
    held = torch.zeros(len(GARMENTS), len(SHADES), dtype=torch.bool)
    for pair in HELD_OUT.pairs:
        held[pair] = True
    return ~held[labels, shades]


def _one(choices: Sequence[Any], at: float) -> Any:
    return choices[int(at * len(choices))]
