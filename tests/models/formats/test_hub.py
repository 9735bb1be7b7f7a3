"""Names on the hub, without a hub."""

import shutil

import pytest

from samplerbench import UserError

from . import understand

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore")  # diffusers' own deprecations


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub, offline."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_name_offline(cache):
    with pytest.raises(UserError, match=r"^model 'hf:google/ddpm-cifar10-32' is not on this machine, and HF_HUB_OFF"):
        understand("hf:google/ddpm-cifar10-32")


def test_a_name_that_is_none(cache):
    for name in ("hf:ddpm", "hf:a/b/c", "hf:", "hf:a/b@"):
        with pytest.raises(UserError, match="a name on the hub is hf:OWNER/NAME"):
            understand(name)


@pytest.mark.parametrize("spec", ["hf:google/ddpm-ema-cifar10", "hf:google/ddpm-ema-cifar10@main"])
def test_a_copy_is_read_offline(cache, save, spec):
    repository = cache / "models--google--ddpm-ema-cifar10"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(save(diffusers.DDPMScheduler()), repository / "snapshots" / commit)
    found = understand(spec)
    assert found.dataset == "cifar10"
    assert "weights: their moving average (EMA), by its name" in found.notes
    (repository / "snapshots" / commit / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(UserError, match="is not on this machine"):
        understand(spec)
