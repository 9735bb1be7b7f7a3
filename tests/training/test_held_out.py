"""Scores of prompts that training never saw: who draws what was asked passes, and a lookup of ten words does not."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from samplerbench import UserError
from samplerbench.models.formats.own import note_parts
from samplerbench.models.networks.text import TextEncoder, TextEncoderConfig
from samplerbench.models.text import save_text
from samplerbench.training import garments
from samplerbench.training.held_out import held_out_prompts, scores

LEVELS = (45, 90, 130, 170, 220)  # one inside of each shade
DEFAULT = ["a black dress", "boots", "a plain dark grey coat", "a sandal in white", "an image of a shirt"]


def painted(label, shade):
    """An image whose first pixel says its class, and whose others have a shade."""
    image = torch.zeros(1, 28, 28, dtype=torch.uint8)
    image[:, 4:24, 4:24] = LEVELS[shade]
    image[:, 0, 0] = label
    return image


def classified(images):
    return images[:, 0, 0, 0].long()


def oracle(asked):
    told = [garments.facts(prompt) for prompt in asked]
    return torch.stack([painted(one.garment, 0 if one.shade is None else one.shade) for one in told])


def lookup(asked):
    """Ten words, each with one shade."""
    return torch.stack([painted(garments.facts(prompt).garment, 4) for prompt in asked])


@pytest.fixture
def words_model(tiny_latent, tmp_path):
    """The tiny model with a text encoder of all garment words."""
    folder = tmp_path / "words"
    shutil.copytree(tiny_latent, folder)
    words = garments.vocabulary()
    encoder = TextEncoder(TextEncoderConfig(words=len(words) + 2, length=16, width=8, depth=1, heads=2))
    save_text(folder / "text", encoder, words, garments.classes())
    (folder / "prompts.txt").write_text("\n".join(DEFAULT))
    note_parts(folder)
    return folder


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a pair of dark grey ankle boots", (9, 1, None)),
        ("Charcoal, a plain T-shirt", (0, 1, 0)),
        ("an image of a light grey handbag, contrasting", (8, 3, 2)),
        ("a dark shirt", (6, 1, None)),
        ("trousers", (1, None, None)),
        ("gray", (None, 2, None)),
    ],
)
def test_what_a_prompt_says(prompt, expected):
    assert garments.facts(prompt) == expected


def test_facts_are_what_a_caption_was_made_of():
    draw = torch.Generator().manual_seed(0)
    for garment, shade, contrast in torch.cartesian_prod(*map(torch.arange, (10, 5, 3))).tolist():
        for held_out in (False, True):
            choices = [0.0, 0.0, *torch.rand(4, generator=draw).tolist()]
            told = garments.facts(garments.caption(garment, shade, contrast, choices, held_out))
            assert (told.garment, told.shade) == (garment, shade)
            assert told.contrast == (None if contrast == 1 else contrast)


def test_each_kind_of_prompt_is_what_it_says():
    found = held_out_prompts(DEFAULT, 30)
    assert [len(lines) for lines in found.values()] == [30] * 4
    assert found["seen"][:3] == [DEFAULT[0], DEFAULT[2], DEFAULT[3]]
    told = {kind: [garments.facts(line) for line in lines] for kind, lines in found.items()}
    assert told["new phrasings"] == told["seen"]
    assert not set(found["new phrasings"]) & set(found["seen"])
    assert {one[:2] for one in told["new pairs"]} == set(garments.HELD_OUT.pairs)
    assert {one.garment for one in told["new words"]} == {garment for _, garment in garments.HELD_OUT.words}
    for line, (word, _) in zip(found["new words"], garments.HELD_OUT.words * 6, strict=True):
        assert word in line.replace(",", "").split()
    with pytest.raises(UserError, match="names no garments in shades"):
        held_out_prompts(["boots", "white"], 4)


def test_who_draws_what_is_asked_has_all_and_a_lookup_fails():
    prompts = held_out_prompts(DEFAULT, 30)
    known = scores(prompts, oracle, classified)
    assert {(one.garment[0], one.shade[0], one.both[0]) for one in known} == {(1, 1, 1)}
    assert known[-1].more[0] == 1 - known[-1].word_alone[0] > 4 * known[-1].more[1]
    pairs = scores(prompts, lookup, classified)[-1]
    assert pairs.prompts == "new pairs"
    assert pairs.garment == (1, 0)
    assert pairs.both[0] == pytest.approx(0.2)  # one pair of the five is white
    assert pairs.more == (0, 0)


def test_the_command(tiny_latent, tiny_model, command):
    code, _, errors = command("models", "held-out", tiny_model)
    assert (code, errors) == (
        2,
        "Error: model 'tiny' is not asked in words, so no words are held out of its training\n",
    )
    code, _, errors = command("models", "held-out", tiny_latent, "--samples", 1)
    assert (code, errors) == (2, "Error: samples is from 2 to 4096, got 1\n")
    code, _, errors = command("models", "held-out", tiny_latent, "--samples", 4)  # whose vocabulary is four words
    assert code == 2
    assert "unknown word in prompt" in errors


def test_the_command_on_a_model_of_these_words(words_model, command):
    asked = ["models", "held-out", words_model, "--samples", 4, "--nfe", 3]
    code, out, errors = command(*asked, "--json")
    assert code == 0, errors
    found = json.loads(out)
    assert [one["prompts"] for one in found] == ["seen", "new phrasings", "new words", "new pairs"]
    code, out, errors = command(*asked)
    assert code == 0, errors
    assert "word alone" in out
    share, error = found[-1]["garment"]
    assert f"{100 * share:.1f} ±{100 * error:.1f}" in out
