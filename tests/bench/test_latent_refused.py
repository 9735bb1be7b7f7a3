"""What a latent or conditional model cannot be run with: a line each, before anything is drawn where that can be."""

from __future__ import annotations

import re
import shutil

import pytest
import torch

import samplerbench
from samplerbench import UserError, load_model
from samplerbench.metrics.reference import make_reference, provenance_of, save_reference
from samplerbench.models.formats.own import note_parts
from samplerbench.models.networks.vae import VAE, VAEConfig
from samplerbench.models.vae import save_vae
from samplerbench.plugins import load_plugins


@pytest.fixture
def folder(tiny_latent, tmp_path):
    path = tmp_path / "mine" / "model"
    shutil.copytree(tiny_latent, path)
    return path


def with_vae(folder, network, latents=2):
    shutil.rmtree(folder / "vae")
    save_vae(folder / "vae", network, torch.zeros(latents), torch.ones(latents))
    note_parts(folder)
    return folder


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        (
            (1, 28, 28),
            {"latent_channels": 3, "patch": 4},
            r"its VAE has latents \[3, 7, 7\], and its ε_θ takes \[2, 7, 7\]",
        ),
        ((1, 28, 28), {"latent_channels": 2, "patch": 2}, r"its VAE has latents \[2, 14, 14\]"),
    ],
)
def test_a_vae_whose_latents_do_not_fit(folder, shape, options, message):
    with_vae(folder, VAE(VAEConfig(shape, channels=(8,), blocks=(1, 1), **options)), options["latent_channels"])
    with pytest.raises(UserError, match=message):
        load_model(str(folder))


def test_reference_statistics_of_another_resolution(folder):
    """Latents are 7 × 7, images 28 × 28: a reference is of images."""
    extractor = load_plugins().extractor("fashion-mnist-cnn")
    images = torch.randint(0, 256, (300, 1, 28, 28), dtype=torch.uint8)
    said = provenance_of(extractor, "small ones", "none", (1, 7, 7))
    save_reference(folder / "reference.npz", *make_reference([images], extractor), said)
    with pytest.raises(UserError, match="is of images of 1×7×7, the model's are 1×28×28"):
        samplerbench.run("ddim", model=folder, nfe=3, samples=4)


@pytest.fixture
def overflowing(folder):
    """A decoder that leaves the range of its numbers, as VAEs in float16 do."""
    network = VAE(VAEConfig((1, 28, 28), latent_channels=2, patch=4, channels=(8,), blocks=(1, 1)))
    torch.nn.init.constant_(network.decoder["head"].bias, 3e38)
    torch.nn.init.constant_(network.decoder["head"].weight, 3e38)
    return with_vae(folder, network)


def test_a_decoder_that_gives_what_is_not_finite(overflowing, tmp_path, command):
    found = samplerbench.run("ddim", model=overflowing, nfe=3, samples=4, out=tmp_path / "out")
    assert found["status"].tolist() == ["failed"]
    assert found["reason"][0] == "BadSample: the decoder gives NaN or infinite values in 4 of 4 images"
    code, _, errors = command("sample", "--model", overflowing, "--nfe", 3, "--count", 2, "--out", tmp_path / "x.png")
    assert (code, errors) == (2, "Error: the decoder gives NaN or infinite values in 2 of 2 images\n")
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (b"", "--prompts .* is empty; it has a prompt a line"),
        (b"\x89PNG\r\n\x1a\n\xff", "--prompts .* is not text in UTF-8; it has a prompt a line"),
        (b"a boot\na a a a a a", "prompt 'a a a a a a' has 6 words, this model takes 4"),
        (b"a boat", "unknown word in prompt 'a boat': 'boat'; did you mean 'boot'"),
    ],
)
def test_files_of_prompts(tiny_latent, tmp_path, command, lines, message):
    (tmp_path / "prompts.txt").write_bytes(lines)
    for arguments in (["run", "--samplers", "ddim"], ["sample"]):
        code, _, errors = command(*arguments, "--model", tiny_latent, "--prompts", tmp_path / "prompts.txt")
        assert code == 2
        assert errors.count("\n") == 1
        assert re.search(message, errors), errors


def test_classes_out_of_range(tiny_model, tmp_path, command):
    """Of a model with a classifier of ten classes."""
    from samplerbench.models.classifier import save_classifier
    from samplerbench.models.networks.classifier import NoisyClassifier, NoisyClassifierConfig

    path = tmp_path / "model"
    shutil.copytree(tiny_model, path)
    save_classifier(
        path / "classifier", NoisyClassifier(NoisyClassifierConfig((1, 28, 28), 10, patch=4, channels=(8,), blocks=1))
    )
    note_parts(path)
    (tmp_path / "prompts.txt").write_text("3\n10\n")
    with pytest.raises(UserError, match="class '10' is not among this model's: a number from 0 to 9"):
        samplerbench.run("ddim", model=path, nfe=3, samples=4, prompts=tmp_path / "prompts.txt")
    code, _, errors = command("sample", "--model", path, "--prompt", "trousers")
    assert (code, errors) == (2, "Error: class 'trousers' is not among this model's: a number from 0 to 9\n")
