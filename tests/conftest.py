"""What several test files share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# before numpy is imported: a process with another number of threads has other last digits, and more threads than one
# only get in each other's way where tensors are small
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch

from samplerbench.cli import main
from samplerbench.metrics.reference import make_reference, provenance_of, save_reference
from samplerbench.models.formats.own import save_model
from samplerbench.models.networks.unet import UNet, UNetConfig
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
