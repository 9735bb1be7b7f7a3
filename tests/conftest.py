"""What several test files share."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

# before numpy is imported: a process with another number of threads has other last digits, and more threads than one
# only get in each other's way where tensors are small
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch

from samplerbench.cli import main
from samplerbench.metrics.reference import make_reference, provenance_of, save_reference
from samplerbench.models.formats.own import note_parts, save_model
from samplerbench.models.networks.text import TextEncoder, TextEncoderConfig
from samplerbench.models.networks.unet import UNet, UNetConfig
from samplerbench.models.networks.vae import VAE, VAEConfig
from samplerbench.models.text import save_text
from samplerbench.models.vae import save_vae
from samplerbench.plugins import load_plugins

os.environ["COLUMNS"] = "160"
torch.set_num_threads(1)


def pytest_configure(config: pytest.Config) -> None:
    """Many a test has cells that fail; what it expects of them it says itself."""
    config.addinivalue_line("filterwarnings", "ignore::samplerbench.errors.FailedCells")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds the shards of another, or of the person who runs it."""
    monkeypatch.setenv("SAMPLERBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with an untrained network of the shipped model's image shape, fast enough for any test."""
    from samplerbench import linear_schedule

    folder = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(0)
    network = UNet(UNetConfig(image_shape=(1, 28, 28), patch=4, channels=(8,), blocks=1))
    save_model(folder, network, "v", linear_schedule(), "fashion-mnist-cnn", training={})
    images = torch.randint(0, 256, (300, 1, 28, 28), dtype=torch.uint8)
    extractor = load_plugins().extractor("fashion-mnist-cnn")
    provenance = provenance_of(extractor, "random pixels", "none", (1, 28, 28))
    save_reference(folder / "reference.npz", *make_reference(images.split(256), extractor), provenance)
    return folder


@pytest.fixture(scope="session")
def tiny_latent(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A model folder with an untrained VAE, ε_θ and text encoder, of images as the shipped models have them."""
    from samplerbench import linear_schedule

    folder = tmp_path_factory.mktemp("models") / "latent"
    torch.manual_seed(0)
    network = UNet(UNetConfig(image_shape=(2, 7, 7), channels=(8,), blocks=1, text=8))
    for parameter in network.parameters():  # layers that begin as 0 would make all that is asked for the same
        torch.nn.init.normal_(parameter, std=0.2)
    save_model(folder, network, "v", linear_schedule(), "fashion-mnist-cnn", training={})
    coder = VAE(VAEConfig((1, 28, 28), latent_channels=2, patch=4, channels=(8,), blocks=(1, 1)))
    save_vae(folder / "vae", coder, torch.tensor([0.1, -0.2]), torch.tensor([0.9, 1.1]))
    words = ("a", "boot", "dress", "white")
    text = TextEncoder(TextEncoderConfig(words=6, length=5, width=8, depth=1, heads=2))
    save_text(folder / "text", text, words, {"boot": 9, "dress": 3})
    (folder / "prompts.txt").write_text("a boot\na white dress\nboot\n")
    shutil.copyfile(tiny_model / "reference.npz", folder / "reference.npz")
    note_parts(folder)
    return folder


@pytest.fixture
def command(monkeypatch, capsys):
    """Calls the command line; gives its exit code, output and errors."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["samplerbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return call
