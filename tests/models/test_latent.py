"""Models that are asked for something, and whose samples are latents."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

import samplerbench
from samplerbench import UserError, load_model
from samplerbench.diffusion.noise import NoiseSource
from samplerbench.drawing import BadSample
from samplerbench.models.condition import Asked, Classes, read_prompts
from samplerbench.models.guided import Guide, guided_epsilon
from samplerbench.models.vae import load_vae
from samplerbench.models.words import Vocabulary
from samplerbench.plugins import load_plugins


def test_a_prompt_is_a_token_a_word():
    words = Vocabulary(("boot", "t-shirt", "white"), 5)
    assert words.tokens(["A white Boot!"[2:], "", "t-shirt, white"]).tolist() == [
        [1, 4, 2, 0, 0], [1, 0, 0, 0, 0], [1, 3, 4, 0, 0],
    ]  # fmt: skip
    with pytest.raises(UserError, match="unknown word in prompt 'white boots': 'boots'; did you mean 'boot'"):
        words.tokens(["boot", "white boots"])
    with pytest.raises(UserError, match="has 5 words, this model takes 4"):
        words.tokens(["boot boot boot boot boot"])


def test_a_prompt_does_not_hang_on_how_far_it_is_padded(tiny_latent):
    text = load_model(str(tiny_latent)).conditioner.text
    tokens = text.vocabulary.tokens(["white boot"])
    torch.testing.assert_close(text.network(tokens), text.network(tokens[:, :3]))
    one, other = text.encode(["white boot", "boot white"])
    assert not torch.allclose(one, other, atol=1e-3)  # the order of words counts


def test_samples_are_asked_for_lines_in_turn():
    asked = Asked(("x", "y", "z"))
    assert asked.of(range(2, 6)) == ["z", "x", "y", "z"]
    assert asked.sha256 != Asked(("x", "z", "y")).sha256
    assert Asked().sha256 == ""


def test_classes_are_balanced_by_default():
    classes = Classes(4, null=4, names=("tee", "trousers", "pullover", "dress"))
    asked = Asked(classes.default).of(range(8))
    assert classes.rows([*asked, "dress", ""])["labels"].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 3, 4]
    for bad in ("4", "-1", "hat", "1.0", "²"):
        with pytest.raises(UserError, match=f"class '{bad}' is not among this model's: a number from 0 to 3 or one of"):
            classes.check([bad])
    with pytest.raises(UserError, match="class '' is not among"):
        Classes(4).check([""])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty; it has a prompt a line"),
        (b" \n\n", "is empty"),
        (b"\x89PNG\xff", "is not text in UTF-8"),
        (b"boot\x00", "is not text in UTF-8"),
    ],
)
def test_files_that_hold_no_prompts(tmp_path, data, message):
    (tmp_path / "prompts.txt").write_bytes(data)
    with pytest.raises(UserError, match=message):
        read_prompts(tmp_path / "prompts.txt")


def test_a_file_of_prompts(tmp_path):
    (tmp_path / "prompts.txt").write_text("a boot \n\n a  white dress\r\n")
    assert read_prompts(tmp_path / "prompts.txt") == ("a boot", "a white dress")
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_prompts(tmp_path / "none.txt")


def test_what_a_latent_model_is(tiny_latent):
    model = load_model(str(tiny_latent))
    assert (model.sample_shape, model.image_shape) == ((2, 7, 7), (1, 28, 28))
    assert model.conditioner.default == ("a boot", "a white dress", "boot")
    assert [model.conditioner.label(p) for p in ("a white dress", "white", "", "boot dress")] == [3, None, None, None]
    z = torch.randn(3, 2, 7, 7)
    torch.testing.assert_close(model.decode(z), load_vae(tiny_latent / "vae").decode(z))


def test_samples_are_decoded_and_are_what_was_asked_for(tiny_latent):
    model = load_model(str(tiny_latent))
    drawn = samplerbench.sample("ddim", model, samples=3, steps=4, prompts=["a boot", "white dress"])
    assert drawn.x0.shape == (3, 2, 7, 7)
    torch.testing.assert_close(drawn.images, model.decode(drawn.x0))
    asked = model.epsilon(asked=["a boot", "white dress", "a boot"])
    x = NoiseSource(0, range(3), (2, 7, 7)).x_T()
    again = samplerbench.sample("ddim", asked, model.schedule, x, steps=4)
    torch.testing.assert_close(drawn.x0, again.x0)
    others = samplerbench.sample("ddim", model, samples=3, steps=4, prompts="a boot")
    assert torch.equal(others.x0[0], drawn.x0[0])
    assert not torch.allclose(others.x0[1], drawn.x0[1], atol=1e-4)


@pytest.mark.parametrize("spec", ["3", "cfg:scale=3:rescale=0.7"])
def test_guidance_of_a_network_is_one_batch_through_it(tiny_latent, spec):
    """The hand-written formula on what the network gives, v, which is where Lin et al. rescale."""
    model, guide = load_model(str(tiny_latent)), load_plugins().guide(spec)
    asked, sizes = ["a boot", "white dress"], []
    model.predictor.network.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])))
    epsilon, x, t = guided_epsilon(model, "float32", asked, guide), torch.randn(2, 2, 7, 7), 700.0
    found, found_x0 = epsilon(x, t), epsilon.x0(x, t)
    assert sizes == [4, 4]
    alpha, sigma = float(model.schedule.alpha(t)), float(model.schedule.sigma(t))
    one, nothing = (
        model.predictor.network(x, torch.full((2,), t - 1), text=model.conditioner.text.encode(p))
        for p in (asked, ["", ""])
    )
    v = nothing + 3 * (one - nothing)
    if "rescale" in spec:
        deviation = one.flatten(1).std(dim=1) / v.flatten(1).std(dim=1)
        v = v * (0.7 * deviation + 0.3).view(-1, 1, 1, 1)
    torch.testing.assert_close(found, alpha * v + sigma * x, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found_x0, alpha * x - sigma * v, rtol=1e-4, atol=1e-5)


def test_autoguidance_by_a_second_model(tiny_latent):
    model, guide = load_model(str(tiny_latent)), load_plugins().guide(f"auto:scale=2:model={tiny_latent}")
    guide.check(model)
    drawn = samplerbench.sample("ddim", model, samples=2, steps=3, guidance=f"auto:scale=2:model={tiny_latent}")
    plain = samplerbench.sample("ddim", model, samples=2, steps=3)
    torch.testing.assert_close(drawn.x0, plain.x0, rtol=1e-4, atol=1e-4)  # by itself it is not guided
    assert (drawn.passes, plain.passes) == (6, 3)


def test_what_cannot_be_guided(tiny_model, tiny_latent):
    plain, latent, registry = load_model(str(tiny_model)), load_model(str(tiny_latent)), load_plugins()
    for spec, model, message in (
        ("2", plain, "is asked for nothing, so there is nothing to lean away from"),
        ("auto:scale=2", latent, "model names the worse model"),
        (f"auto:scale=2:model={tiny_model}", latent, r"sample_shape of the second model is \[1, 28, 28\]"),
    ):
        with pytest.raises(UserError, match=message):
            registry.guide(spec).check(model)
    latent.conditioner.nothing = None
    with pytest.raises(UserError, match="has no null condition"):
        Guide(registry.guider("2")).check(latent)
    with pytest.raises(UserError, match="cannot be asked for anything"):
        samplerbench.sample("ddim", plain, samples=1, steps=2, prompts="boot")


def test_a_decoder_that_gives_no_numbers(tiny_latent):
    model = load_model(str(tiny_latent))
    with pytest.raises(BadSample, match="the decoder gives NaN or infinite values in 1 of 2 images"):
        model.decode(torch.stack([torch.zeros(2, 7, 7), torch.full((2, 7, 7), torch.inf)]))


def _edited(folder, tmp_path, change):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text())
    change(copy, config)
    (copy / "config.json").write_text(json.dumps(config))
    return str(copy)


def _other_vae(copy, config):
    said = json.loads((copy / "vae/config.json").read_text())
    (copy / "vae/config.json").write_text(json.dumps(said | {"dataset": "another"}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_other_vae, "vae is another than the one that the model was trained with"),
        (lambda copy, config: shutil.rmtree(copy / "text"), "has no text, which config.json names"),
        (lambda copy, config: config["parts"].update(clip={}), "parts names some of vae, text, prompts.txt"),
        (lambda copy, config: config["parts"].pop("text"), "a network with text needs the part text"),
        (lambda copy, config: config["parts"].pop("prompts.txt"), "has prompts.txt, what it is asked by default"),
    ],
)
def test_folders_whose_parts_do_not_fit(tiny_latent, tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        load_model(_edited(tiny_latent, tmp_path, change))
