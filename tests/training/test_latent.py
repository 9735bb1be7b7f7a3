"""Training in the latents of a VAE, with captions."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from samplerbench import UserError, load_model
from samplerbench.data import Images, load_images
from samplerbench.models.networks.vae import VAE, VAEConfig
from samplerbench.models.vae import load_vae, save_vae
from samplerbench.models.words import Vocabulary
from samplerbench.training import garments
from samplerbench.training.latent import GarmentCaptions, Latents
from samplerbench.training.loop import Trainer, generator
from samplerbench.training.recipe import (
    DataConfig,
    ExpertsConfig,
    FinishConfig,
    OptimiserConfig,
    Recipe,
    TextConfig,
    find_recipe,
)
from samplerbench.training.run import train
from samplerbench.training.told import Told


@pytest.fixture
def images(tmp_path):
    path, draw = tmp_path / "images.npz", np.random.default_rng(0)
    pictures = np.clip(draw.normal(0, 30, (80, 8, 8)) + draw.uniform(0, 255, (80, 1, 1)), 0, 255).astype(np.uint8)
    labels = np.arange(80) % 10
    np.savez(path, images=pictures, labels=labels, test_images=pictures[:9], test_labels=labels[:9])
    return path


@pytest.fixture
def coder(tmp_path):
    torch.manual_seed(0)
    network = VAE(VAEConfig((1, 8, 8), latent_channels=2, patch=2, channels=(8,), blocks=(1, 1)))
    save_vae(tmp_path / "vae", network, torch.tensor([0.1, -0.3]), torch.tensor([0.8, 1.2]))
    return tmp_path / "vae"


def recipe(coder, **changes):
    base = Recipe(
        name="tiny",
        kind="diffusion",
        prediction="v",
        data=DataConfig("npz"),
        optimiser=OptimiserConfig(steps=60, batch_size=8, optimiser="muon", warmup=5, ema=0.9, precision="bfloat16"),
        network={"channels": [8], "blocks": 1, "embedding": 16},
        vae=str(coder),
        text=TextConfig(width=8, depth=1, heads=2, length=14),
        finish=FinishConfig(samples=2, mean_squares=3, reference=False),
    )
    return replace(base, **changes)


def test_what_is_measured_of_an_image():
    """Mean and deviation of what is not background, against numpy on made-up garments."""
    image = torch.zeros(3, 1, 28, 28, dtype=torch.uint8)
    image[0, :, 5:20, 5:20] = 60
    image[1, :, 5:20, 5:15], image[1, :, 5:20, 15:20] = 250, 120
    image[2, :, 5:20, 5:20] = 200
    image[2, :, 5:20, 5:20:2] = 180
    shades, contrasts = garments.measured(image)
    for i, picture in enumerate(image[:, 0].numpy()):
        seen = picture[picture > 25].astype(float)
        assert shades[i] == np.searchsorted(garments.SHADES_END, seen.mean())
        assert contrasts[i] == np.searchsorted(garments.CONTRASTS_END, seen.std())
    assert (shades.tolist(), contrasts.tolist()) == ([0, 4, 3], [0, 2, 0])


def said(garment, shade, contrast, held_out=False, count=300):
    draw = np.random.default_rng(0)
    return {garments.caption(garment, shade, contrast, draw.random(6), held_out) for _ in range(count)}


def test_captions_are_true_and_every_word_is_known():
    words = Vocabulary(garments.vocabulary(), 16)
    for garment, shade, contrast in [(g, s, c) for g in range(10) for s in range(5) for c in range(3)]:
        nouns = {noun.split()[-1] for noun, _ in garments.GARMENTS[garment]}
        for held_out in (False, True):
            for caption in said(garment, shade, contrast, held_out, 20):
                words.tokens([caption])
                told = caption.replace(",", "").split()
                assert nouns & set(told)
                for other in range(5):
                    tones = {word for tone in garments.SHADES[other] for word in tone.split()} - {"grey"}
                    assert other == shade or not tones & set(told), caption
                for other in range(3):
                    assert other == contrast or not set(garments.CONTRASTS[other]) & set(told), caption


def test_articles():
    assert {"an ankle boot", "a pair of ankle boots", "a white boot"} <= said(9, 4, 1, count=3000)
    assert not {"a ankle boot", "an boot", "a boots"} & said(9, 4, 1, count=3000)


def test_what_is_held_out_is_never_seen():
    for word, garment in garments.HELD_OUT.words:
        shade = next(i for i, tones in enumerate(garments.SHADES) if word in tones)
        assert not any(
            word in caption.replace(",", "").split() for caption in said(garment, shade, 0) if word != "light"
        )
        assert any(len(caption.split()) > 1 for caption in said(garment, shade, 0))
    seen, other = said(0, 4, 0, count=3000), said(0, 4, 0, held_out=True, count=300)
    assert not seen & other
    pairs = torch.cartesian_prod(torch.arange(10), torch.arange(5))
    kept = garments.allowed(*pairs.T)
    assert {tuple(pair) for pair in pairs[~kept].tolist()} == set(garments.HELD_OUT.pairs)


def test_latents_are_those_of_the_vae(images, coder):
    data, vae = load_images("npz", images).images, load_vae(coder)
    latents, picked = Latents(vae, data, torch.device("cpu")), torch.tensor([7, 3, 60])
    noise = torch.randn(3, *vae.latent_shape, generator=generator(0, 1))
    torch.testing.assert_close(latents(picked, generator(0, 1)), vae.encode(data[picked], noise))
    assert len(latents) == len(data)
    assert latents.first(5).shape == (5, *vae.latent_shape)


def test_captions_of_a_batch(images):
    captions = GarmentCaptions(load_images("npz", images), TextConfig(dropout=0.25))
    draw = torch.Generator().manual_seed(0)
    tokens = captions(torch.zeros(2000, dtype=torch.int64), draw)
    assert float((tokens[:, 1] == 0).float().mean()) == pytest.approx(0.25, abs=0.04)
    classes = garments.classes()
    asked = captions.prompts(30)
    labels = [classes[next(w for w in prompt.replace(",", "").split() if w in classes)] for prompt in asked]
    assert [sorted(labels[i : i + 10]) for i in range(0, 30, 10)] == [list(range(10))] * 3


def test_a_latent_model_is_trained_and_read(images, coder, tmp_path):
    summary = train(recipe(coder), tmp_path / "out", images)
    model = load_model(str(summary["folder"]))
    assert (model.sample_shape, model.image_shape) == ((2, 4, 4), (1, 8, 8))
    assert model.checkpoint.decoder.sha256 == load_vae(coder).sha256
    assert model.conditioner.label("a pair of ankle boots") == 9
    assert len(model.checkpoint.mean_squares["times"]) > 10
    assert (tmp_path / "out/samples.png").is_file()
    for prompt in model.conditioner.default:
        assert model.conditioner.label(prompt) is not None


@pytest.mark.parametrize("words", [True, False])
def test_a_killed_training_goes_on_as_if_it_had_not_been(images, coder, tmp_path, words, monkeypatch):
    plan = recipe(coder) if words else recipe(coder, text=None)

    class Killed(Exception):
        pass

    class Kill(Told):
        def step(self, done, loss):
            if done == 57:
                raise Killed

    monkeypatch.setattr(Trainer.run, "__defaults__", (Trainer.run.__defaults__[0], 0.0))
    with pytest.raises(Killed):
        train(plan, tmp_path / "killed", images, told=Kill())
    for name in ("killed", "whole"):
        train(plan, tmp_path / name, images)
    one, other = (load_model(str(tmp_path / name / "model")) for name in ("killed", "whole"))
    for part, network in one.networks().items():
        for a, b in zip(network.parameters(), other.networks()[part].parameters(), strict=True):
            assert torch.equal(a, b)


def test_a_model_may_share_a_shipped_models_reference(images, coder, tmp_path):
    plan = recipe(coder, extractor="fashion-mnist-cnn", finish=FinishConfig(0, 0, reference_of="fashion-mnist"))
    train(plan, tmp_path / "out", images)
    folder = tmp_path / "out/model"
    config = json.loads((folder / "config.json").read_text())
    assert config["reference"] == "fashion-mnist"
    assert not (folder / "reference.npz").exists()
    assert load_model(str(folder)).reference.is_file()
    assert config["training"]["recipe"]["vae"] == load_vae(coder).sha256  # and not where it was
    with pytest.raises(UserError, match="unknown model that is shipped 'fashion-mnits'; did you mean 'fashion-mnist'"):
        FinishConfig(reference_of="fashion-mnits")


def test_another_vae_is_another_training(images, coder, tmp_path):
    train(recipe(coder), tmp_path / "out", images)
    save_vae(coder, load_vae(coder).network, torch.tensor([0.0, 0.0]), torch.tensor([1.0, 1.0]))
    with pytest.raises(UserError, match="belongs to another recipe: sha256 of the VAE is"):
        train(recipe(coder), tmp_path / "out", images)


def test_the_shipped_recipe_fits_in_ten_megabytes():
    from samplerbench.training.latent import Worded, new_text_encoder
    from samplerbench.training.network import new_network

    plan, vae = find_recipe("fashion-mnist-latent"), find_recipe("fashion-mnist-vae")
    coder = VAE(VAEConfig(image_shape=(1, 28, 28), **vae.network))
    network, _ = new_network(plan.network, coder.config.latent_shape, plan.text.width)
    words = Vocabulary(garments.vocabulary(), plan.text.length)
    whole = Worded(network, new_text_encoder(plan.text, words))
    assert 2 * sum(p.numel() for module in (coder, whole) for p in module.parameters()) < 10e6
    assert max(len(caption.split()) for g in range(10) for caption in said(g, 3, 2, True)) < plan.text.length


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("text.captions=dogs", "unknown captions in .text. 'dogs'"),
        ("text.heads=5", "width 96 in .text. is not divisible by heads 5"),
        ("text.dropout=1.5", "dropout in .text. is a number from 0 to 1, got 1.5"),
        ("data.flips=true", "data.flips belongs to training in pixels"),
        ("lognormal=[0, 0]", "lognormal is .mean, deviation. of log"),
        ("lognormal=1", "lognormal is .mean, deviation. of log"),
        ("network.text=8", "unknown key 'text'"),
        ("network.kind=ddpm", "goes with a network of kind unet, not 'ddpm'"),
    ],
)
def test_bad_recipes(images, coder, tmp_path, change, message):
    changes = [change, "data.dataset=npz", "finish.reference=false", f"vae={coder}"]

    def whole():
        train(find_recipe("fashion-mnist-latent", changes), tmp_path / "out", images)

    with pytest.raises(UserError, match=message):
        whole()


def test_what_does_not_go_together(images, coder, tmp_path):
    with pytest.raises(UserError, match=r"experts are copies of a network without \[text\]"):
        recipe(coder, experts=ExpertsConfig((500,), 10))
    with pytest.raises(UserError, match=r"VAE '.*none': .* has no config\.json"):
        train(recipe(tmp_path / "none"), tmp_path / "out", images)
    np.savez(images, images=np.zeros((20, 4, 4), np.uint8), labels=np.arange(20) % 10)
    with pytest.raises(UserError, match="is of images 1×8×8, those of the data are 1×4×4"):
        train(recipe(coder), tmp_path / "out", images)
    for labels in (None, torch.arange(20)):
        with pytest.raises(UserError, match="captions 'garments' are of grey images with the labels of Fashion-MNIST"):
            GarmentCaptions(Images(torch.zeros(20, 1, 8, 8, dtype=torch.uint8), labels, ""), TextConfig())
