"""Is a model drawn what it was asked for, where training has never seen that? Scored on images, of Fashion-MNIST.

The class is what the extractor's classifier sees, the shade what is measured of the pixels, as of training images. What
is asked for in full stands beside the garment's word alone, drawn from the same noise: a table of ten words, however
good, could do no better than that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..devices import resolve_device
from ..errors import UserError
from ..images import quantise
from ..registry import Registry
from ..sampling import sample
from . import garments

__all__ = ["Score", "held_out_prompts", "held_out_scores", "scores"]

MOST = 4096  # samples, which are drawn at once


@dataclass(frozen=True)
class Score:
    """Of one kind of prompt: shares of samples, each with its standard error. more: how much larger the share with both
    class and shade is than the one of the garment's word alone, paired sample by sample.
    """

    prompts: str
    samples: int
    garment: tuple[float, float]
    shade: tuple[float, float]
    both: tuple[float, float]
    word_alone: tuple[float, float]
    more: tuple[float, float]


def held_out_prompts(default: Sequence[str], count: int, seed: int = 0) -> dict[str, list[str]]:
    """Prompts with a garment and a shade, `count` of each kind: seen ones, from what a model is asked by default; the
    same in phrasings that training never saw; words for a shade that it never saw with that garment; and garments that
    it never saw in that shade. Raises UserError where the default says no garments and shades.
    """
    draw = np.random.default_rng(seed)
    seen = [prompt for prompt in default if None not in garments.facts(prompt)[:2]][:count]
    if not seen:
        raise UserError("what this model is asked by default names no garments in shades, so none are held out of it")
    seen = (seen * (1 + count // len(seen)))[:count]

    def said(garment: int, shade: int, contrast: int | None = None, **how: Any) -> str:
        choices = [0.0, 0.0, *draw.random(4)]  # both adjectives are told, where there are some
        return garments.caption(garment, shade, 1 if contrast is None else contrast, choices, **how)

    tones = {word: i for i, words in enumerate(garments.SHADES) for word in words}
    words, pairs = garments.HELD_OUT.words, garments.HELD_OUT.pairs
    told = [garments.facts(prompt) for prompt in seen]
    again = [said(one.garment, one.shade, one.contrast, held_out=True) for one in told]  # type: ignore[arg-type]
    synonyms = [words[i % len(words)] for i in range(count)]
    return {
        "seen": seen,
        "new phrasings": again,
        "new words": [said(garment, tones[word], tone=word) for word, garment in synonyms],
        "new pairs": [said(*pairs[i % len(pairs)]) for i in range(count)],
    }


def held_out_scores(
    registry: Registry, spec: str, sampler: str, nfe: int, guidance: str, count: int, seed: int, device: str
) -> list[Score]:
    """The scores of a model, drawn by a sampler with a guidance. Raises UserError where it is not asked in words, and
    where its extractor has no classifier.
    """
    if not 2 <= count <= MOST:
        raise UserError(f"samples is from 2 to {MOST}, got {count}")
    model, place = registry.model(spec), resolve_device(device)
    if model.conditioner is None or model.conditioner.kind != "prompt":
        raise UserError(f"model '{model.name}' is not asked in words, so no words are held out of its training")
    prompts = held_out_prompts(model.conditioner.default, count, seed)
    if model.extractor is None:
        raise UserError(f"model '{model.name}' names no feature extractor, whose classifier tells garments apart")
    extractor = registry.extractor(model.extractor, None, place, model.image_shape)
    if not extractor.classes:
        raise UserError(f"extractor '{extractor.spec}' has no classifier, which tells garments apart")
    for network in model.networks().values():
        network.to(place)
    guide = registry.guide(guidance)

    def drawn(asked: Sequence[str]) -> Tensor:
        made = registry.sampler(sampler)
        return quantise(sample(made, model, samples=count, nfe=nfe, seed=seed, prompts=asked, guidance=guide).images)

    return scores(prompts, drawn, lambda images: extractor.with_logits(images.to(place))[1].argmax(dim=1))


def scores(
    prompts: dict[str, list[str]],
    drawn: Callable[[Sequence[str]], Tensor],
    classified: Callable[[Tensor], Tensor],
) -> list[Score]:
    """A score a kind of prompt. drawn: prompts -> images, uint8 [N, 1, H, W], the i-th always from the same noise.
    classified: images -> their labels [N].
    """
    found = []
    for kind, lines in prompts.items():
        wanted = [garments.facts(line) for line in lines]
        garment = torch.tensor([one.garment for one in wanted])
        shade = torch.tensor([one.shade for one in wanted])

        def hits(asked: Sequence[str], garment: Tensor = garment, shade: Tensor = shade) -> tuple[Any, Any]:
            images = drawn(asked)
            return (classified(images).cpu() == garment).numpy(), (garments.measured(images)[0] == shade).numpy()

        alone = [garments.GARMENTS[label][0][0] for label in garment.tolist()]
        (of_class, of_shade), (class_alone, shade_alone) = hits(lines), hits(alone)
        both, word = of_class & of_shade, class_alone & shade_alone
        shares = map(_share, (of_class, of_shade, both, word, both.astype(float) - word))
        found.append(Score(kind, len(lines), *shares))
    return found


def _share(hits: Any) -> tuple[float, float]:
    values = np.asarray(hits, dtype=float)
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else float("nan")
