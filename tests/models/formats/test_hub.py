"""Names on the hub, without a hub."""

import json
import shutil

import pytest

from samplerbench import UserError
from samplerbench.models.formats import hub

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


def kept(cache, name, folder):
    """Puts a folder where the hub's client keeps what it has fetched."""
    repository = cache / f"models--{name.replace('/', '--')}"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    return shutil.copytree(folder, repository / "snapshots" / commit)


def test_a_name_offline(cache):
    with pytest.raises(UserError, match=r"^model 'hf:google/ddpm-cifar10-32' is not on this machine, and HF_HUB_OFF"):
        understand("hf:google/ddpm-cifar10-32")


def test_a_name_that_is_none(cache):
    for name in ("hf:ddpm", "hf:a/b/c", "hf:", "hf:a/b@"):
        with pytest.raises(UserError, match="a name on the hub is hf:OWNER/NAME"):
            understand(name)


@pytest.mark.parametrize("spec", ["hf:google/ddpm-ema-cifar10", "hf:google/ddpm-ema-cifar10@main"])
def test_a_copy_is_read_offline(cache, save, spec):
    snapshot = kept(cache, "google/ddpm-ema-cifar10", save(diffusers.DDPMScheduler()))
    found = understand(spec)
    assert found.dataset == "cifar10"
    assert "weights: their moving average (EMA), by its name" in found.notes
    (snapshot / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(UserError, match="is not on this machine"):
        understand(spec)


@pytest.mark.parametrize(
    "file",
    [
        "transformer/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "text_encoder_3/model.safetensors",
    ],
)
def test_all_parts_of_a_pipeline_are_fetched(cache, saved_pipeline, file):
    """One that is missing would be fetched, were there a connection."""
    pytest.importorskip("transformers")
    snapshot = kept(cache, "someone/sd3", saved_pipeline("sd3"))
    assert understand("hf:someone/sd3").sample_shape == (16, 8, 8)
    (snapshot / file).unlink()
    with pytest.raises(UserError, match="is not on this machine"):
        understand("hf:someone/sd3")


def test_what_is_fetched(monkeypatch, tmp_path, saved_pipeline):
    """JSON files and words first; then the weights that these name, and no others."""
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    asked = []

    def fetched(name, file, revision):
        asked.append(file)
        if file.endswith(".safetensors") and "unet" in file:
            raise EntryNotFoundError("it has none")

    folder = tmp_path / "0123"
    shutil.copytree(saved_pipeline("sd1"), folder, ignore=shutil.ignore_patterns("*.safetensors"))
    shards = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}}
    (folder / "text_encoder" / "model.safetensors.index.json").write_text(json.dumps(shards))
    patterns = []
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda name, **options: patterns.append(options) or str(folder)
    )
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetched)
    assert hub.snapshot("hf:someone/sd", "it") == folder
    assert patterns == [{"revision": None, "allow_patterns": ["*.json", "tokenizer*/*"]}]
    assert asked == [
        "unet/diffusion_pytorch_model.safetensors",
        "unet/diffusion_pytorch_model.bin",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model-1.safetensors",
        "text_encoder/model-2.safetensors",
    ]
