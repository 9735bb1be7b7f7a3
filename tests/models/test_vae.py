"""A VAE's folder: written, read, refused."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch

from samplerbench import UserError, load_model
from samplerbench.models.networks.vae import VAE, VAEConfig
from samplerbench.models.vae import load_vae, save_vae

CONFIG = VAEConfig((1, 8, 8), latent_channels=2, channels=(8, 8), blocks=(1, 1))
SHIFT, SCALE = torch.tensor([0.5, -1.0]), torch.tensor([2.0, 0.3])


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = VAE(CONFIG)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network.eval()


@pytest.fixture
def folder(network, tmp_path):
    save_vae(tmp_path / "vae", network, SHIFT, SCALE, {"seconds": 3}, dataset="FashionMNIST")
    return tmp_path / "vae"


IMAGES = torch.randint(0, 256, (3, 1, 8, 8), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def test_a_round_trip_keeps_every_bit(network, folder):
    coder = load_vae(folder)
    for name, value in network.state_dict().items():
        assert torch.equal(coder.network.state_dict()[name], value)
    assert torch.equal(coder.shift, SHIFT)
    assert torch.equal(coder.scale, SCALE)
    assert asdict(coder.network.config) == asdict(CONFIG)
    assert (coder.dataset, coder.training) == ("FashionMNIST", {"seconds": 3})
    with torch.no_grad():
        z, _ = network.to(memory_format=torch.channels_last).encode(IMAGES.float() / 127.5 - 1)
        assert torch.equal(coder.network.encode(IMAGES.float() / 127.5 - 1)[0], z)


def test_latents_are_shifted_and_scaled_and_back(network, folder):
    coder, noise = load_vae(folder), torch.randn(3, 2, 2, 2, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        mean, log_variance = network.encode(IMAGES.float() / 127.5 - 1)
        z = mean + (log_variance / 2).exp() * noise
        expected = (z - SHIFT.view(2, 1, 1)) / SCALE.view(2, 1, 1)
        assert torch.allclose(coder.encode(IMAGES, noise), expected, atol=1e-5)
        assert torch.allclose(coder.decode(expected), network.decode(z)[0], atol=1e-5)
        assert torch.allclose(coder.encode(IMAGES) * SCALE.view(2, 1, 1) + SHIFT.view(2, 1, 1), mean, atol=1e-5)


def test_its_hash_is_of_its_files(network, folder, tmp_path):
    save_vae(tmp_path / "same", network, SHIFT, SCALE, {"seconds": 3}, dataset="FashionMNIST")
    save_vae(tmp_path / "other", network, SHIFT, SCALE * 2, {"seconds": 3}, dataset="FashionMNIST")
    hashes = [load_vae(path).sha256 for path in (folder, tmp_path / "same", tmp_path / "other")]
    assert hashes[0] == hashes[1] != hashes[2]


def test_float16_weights(network, tmp_path):
    save_vae(tmp_path, network, SHIFT, SCALE, weights="float16")
    found = load_vae(tmp_path).network.state_dict()
    assert all(torch.equal(found[name], value.half().float()) for name, value in network.state_dict().items())


def test_other_images_and_latents_are_refused(folder):
    coder = load_vae(folder)
    with pytest.raises(UserError, match=r"takes uint8 images \[B, 1, 8, 8\], got torch.float32 \[3, 1, 8, 8\]"):
        coder.encode(IMAGES.float())
    with pytest.raises(UserError, match=r"takes latents \[B, 2, 2, 2\], got \[3, 1, 8, 8\]"):
        coder.decode(IMAGES.float())


def test_it_is_no_model_to_sample_from(folder):
    with pytest.raises(UserError, match="is a VAE, which has images and latents but no ε_θ"):
        load_model(str(folder))


def test_a_diffusion_model_is_no_vae(tiny_model):
    with pytest.raises(UserError, match="expected kind 'vae', got None: it is of something else"):
        load_vae(tiny_model)


def _without(key):
    return lambda said: said.pop(key)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda said: said.update(latent=1), "unknown key of config.json 'latent'; did you mean 'latents'"),
        (lambda said: said.update(format=3), "format of a VAE is 2, got 3"),
        (lambda said: said.update(dataset=1), "dataset is a name or null"),
        (_without("latents"), "latents is a JSON object with shift and scale, got None"),
        (_without("architecture"), "architecture is a JSON object of kind 'vae', got None"),
        (lambda said: said["architecture"].update(width=1), "unknown key of the architecture 'width'"),
        (lambda said: said["architecture"].update(patch=3), "not divisible by 6"),
        (lambda said: said["architecture"].pop("image_shape"), "architecture: .* 'image_shape'"),
        (lambda said: said["latents"].update(scale=[1.0, 0]), r"scale of the latents is above 0, got \[1.0, 0\]"),
        (lambda said: said["latents"].update(shift=[1.0, float("nan")]), "shift of the latents is a list of finite"),
        (lambda said: said["latents"].update(shift=[1.0]), "a number for each of 2 channels, got 1"),
        (lambda said: said["architecture"].update(latent_channels=3), "shift of .* each of 3 channels, got 2"),
        (lambda said: said["architecture"].update(channels=[8, 16]), "does not fit"),
    ],
)
def test_bad_folders(folder, change, message):
    path = folder / "config.json"
    said = json.loads(path.read_text())
    change(said)
    path.write_text(json.dumps(said))
    with pytest.raises(UserError, match=message) as caught:
        load_vae(folder)
    assert "\n" not in str(caught.value)


def test_a_folder_without_weights(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no model\.safetensors"):
        load_vae(folder)
