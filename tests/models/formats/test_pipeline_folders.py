"""Pipelines' folders in other shapes than diffusers writes today, and what is done with what they hold."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from samplerbench import UserError, load_model

from . import understand
from .tiny_pipelines import edited, pipeline

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # diffusers' and transformers' own deprecations


@pytest.mark.parametrize("half", [False, True])
def test_weights_in_several_files(own_pipeline, half):
    """Shards give the network that one file gives; float16 is widened, and said."""
    folder = own_pipeline("sd1")
    whole = load_model(str(folder))
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    state = {name: value.half() if half else value for name, value in load_file(path).items()}
    path.unlink()
    names, shards = sorted(state), ("a.safetensors", "b.safetensors")
    table = {name: shards[i % 2] for i, name in enumerate(names)}
    for shard in shards:
        save_file({name: state[name] for name in names if table[name] == shard}, folder / "unet" / shard)
    index = folder / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": table}))
    model = load_model(str(folder))
    for one, other in zip(model.predictor.parameters(), whole.predictor.parameters(), strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=2e-3 if half else 0, atol=1e-6 if half else 0)
    assert ("weights in float16 are widened to float32" in model.checkpoint.notes) == half
    assert {file.name for file in model.checkpoint.files} >= {*shards, index.name}
    (folder / "unet" / "b.safetensors").unlink()
    with pytest.raises(UserError, match=rf"unet has no b\.safetensors, which {index.name} names"):
        understand(str(folder))


def test_folders_of_before(own_pipeline, saved_pipeline, tmp_path):
    """Attention of a VAE by its old names and as convolutions, words in two files, and DiT by its old class."""
    folder, model = own_pipeline("sd1"), load_model(str(saved_pipeline("sd1")))
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = {}
    for name, value in load_file(path).items():
        new = next((name.replace(a, b) for a, b in old.items() if f".{a}." in name), name)
        state[new] = value[..., None, None].contiguous() if new != name and value.ndim == 2 else value
    assert len(state.keys() - load_file(path).keys()) == 16
    save_file(state, path)
    words = pipeline("sd1").tokenizer
    shutil.rmtree(folder / "tokenizer")
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps(words.get_vocab()))
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 12}))
    again, z = load_model(str(folder)), torch.randn(1, 4, 8, 8)
    torch.testing.assert_close(again.decode(z), model.decode(z), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(again.rows(["a red cab"]), model.rows(["a red cab"]))

    dit = shutil.copytree(saved_pipeline("dit"), tmp_path / "dit")
    edited(dit, "model_index.json", transformer=["diffusers", "Transformer2DModel"])
    fields = {"_class_name": "Transformer2DModel", "only_cross_attention": False, "use_linear_projection": False}
    edited(dit, "transformer/config.json", **fields)
    one, other = (load_model(str(place)).predictor.network for place in (dit, saved_pipeline("dit")))
    with torch.no_grad():
        given = torch.randn(1, 4, 8, 8), torch.tensor([500.0]), torch.tensor([7])
        assert torch.equal(one(*given), other(*given))


def test_images_through_encoder_and_decoder(saved_pipeline):
    """As floors ask for it: diffusers' own moments, scaled."""
    from samplerbench.models.formats.format import Coder

    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    model, vae, noise = load_model(str(saved_pipeline("sd3"))), pipeline("sd3").vae, torch.randn(2, 16, 8, 8)
    coder = model.checkpoint.decoder
    assert isinstance(coder, Coder)
    with torch.no_grad():
        posterior = vae.encode(images / 127.5 - 1).latent_dist
    expected = (posterior.mean + posterior.std * noise - 0.0609) * 1.5305
    torch.testing.assert_close(coder.encode(images, noise), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(coder.encode(images), (posterior.mean - 0.0609) * 1.5305, rtol=1e-4, atol=1e-5)
    vq = load_model(str(saved_pipeline("ldm"))).checkpoint.decoder
    assert torch.equal(vq.encode(images, torch.randn(2, 3, 8, 8)), vq.encode(images))
    with pytest.raises(UserError, match=r"takes uint8 images \[B, 3, 16, 16\], got torch.float32 \[2, 3, 16, 16\]"):
        coder.encode(images / 255)


def test_a_pipeline_is_not_exported(saved_pipeline, tmp_path):
    from samplerbench.models.export import export_model

    for kind in ("ldm", "sd1", "dit"):
        with pytest.raises(UserError, match="cannot be exported: its decoder or what it is asked by is of another for"):
            export_model(load_model(str(saved_pipeline(kind))), tmp_path / "out")


def test_a_run_from_prompts_to_a_row(saved_pipeline, tmp_path):
    """Encoders, network and decoder are as they were after it, or the run would say so; a cut prompt is told of."""
    import samplerbench
    from samplerbench.models.formats.own import _shipped

    (tmp_path / "prompts.txt").write_text("a red cab\na very long prompt of bees\n")
    frame = samplerbench.run(
        "ddim,dpm", nfe=2, guidance=[1, "cfg:scale=3:negative=old bees"], model=saved_pipeline("grey"), samples=6,
        prompts=tmp_path / "prompts.txt", extractor="fashion-mnist-cnn", device="cpu", out=tmp_path / "out",
        reference=_shipped() / "fashion-mnist" / "reference.npz", cache=tmp_path / "cache",
        log_json=tmp_path / "log.json",
    )  # fmt: skip
    assert frame["status"].tolist() == ["done"] * 4
    assert frame["passes"].tolist() == [2, 2, 4, 4]
    assert "1 of 2 prompts are longer than the 12 tokens that tokenizer takes" in (tmp_path / "log.json").read_text()


def test_a_picture_of_a_cut_prompt(saved_pipeline, tmp_path):
    from click.testing import CliRunner

    from samplerbench.cli import cli

    out = tmp_path / "x.png"
    prompt = "a very long prompt of bees"
    arguments = ["--model", str(saved_pipeline("sd1")), "--prompt", prompt, "--nfe", "2", "--out", str(out)]
    result = CliRunner().invoke(cli, ["sample", *arguments, "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert "Note: 1 of 1 prompts are longer than the 12 tokens that tokenizer takes" in result.stderr
    assert "UserWarning" not in result.stderr
    assert out.is_file()
