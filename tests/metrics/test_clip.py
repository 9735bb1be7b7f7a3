"""CLIP score and CMMD, with a tiny random CLIP in the layout of transformers, against transformers and the formulas."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import samplerbench
from samplerbench import UserError
from samplerbench.images import quantise
from samplerbench.metrics.clip_score import clip_score, cmmd
from samplerbench.plugins import load_plugins

transformers = pytest.importorskip("transformers")
WORDS = ["a", "boot", "dress", "white"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A folder as `save_pretrained` writes it: a network of 16 × 16 pixels, and a tokenizer of single words."""
    folder = tmp_path_factory.mktemp("clip")
    shared = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={**shared, "vocab_size": 8, "max_position_embeddings": 6, "eos_token_id": 5, "bos_token_id": 4},
        vision_config={**shared, "image_size": 16, "patch_size": 4},
        projection_dim=12,
    )
    torch.manual_seed(0)
    network = transformers.CLIPModel(config)
    network.text_projection.weight.data.neg_()  # so that what prompts and images have in common is not cut at 0
    network.save_pretrained(folder)
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    known = {word: i for i, word in enumerate([*WORDS, "<start>", "<end>", "<pad>", "<unknown>"])}
    made = Tokenizer(models.WordLevel(known, unk_token="<unknown>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing("<start> $A <end>", None, [("<start>", 4), ("<end>", 5)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<start>", eos_token="<end>", pad_token="<pad>", unk_token="<unknown>"
    ).save_pretrained(folder)
    return folder


def loaded(folder, shape=(3, 20, 16)):
    return load_plugins().extractor("clip", folder, image_shape=shape)


def test_embeddings_are_those_of_transformers(clip):
    """Images are resized by torch, not by PIL: they differ by rounding to grey levels in between."""
    extractor, network = loaded(clip), transformers.CLIPModel.from_pretrained(clip)
    draw = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (5, 3, 20, 16), dtype=torch.uint8, generator=draw)
    processor = transformers.CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    tokens, mask = torch.tensor([[4, 0, 1, 5, 6]]), torch.tensor([[1, 1, 1, 1, 0]])
    with torch.no_grad():
        pixels = processor(list(images), return_tensors="pt")["pixel_values"]
        whole = network(input_ids=tokens, attention_mask=mask, pixel_values=pixels)
    ours = torch.nn.functional.normalize(extractor(images), dim=1)
    torch.testing.assert_close(ours, whole.image_embeds, atol=5e-3, rtol=0)
    assert extractor.dimension == 12
    text, cut = extractor.text(["a boot", "a white white white white boot"])
    assert cut == 1
    torch.testing.assert_close(torch.nn.functional.normalize(text[:1], dim=1), whole.text_embeds, atol=1e-5, rtol=0)
    alone, _ = extractor.text(["a boot"])
    torch.testing.assert_close(text[:1], alone)  # whatever it is padded to


def test_clip_score_is_a_mean_of_cosines():
    draw = torch.Generator().manual_seed(0)
    images, prompts = torch.randn(600, 6, generator=draw), torch.randn(600, 6, generator=draw)
    found = clip_score(images, prompts)
    each = [max(0.0, 100 * float(a @ b) / float(a.norm() * b.norm())) for a, b in zip(images, prompts, strict=True)]
    assert found.value == pytest.approx(np.mean(each), rel=1e-5)
    assert found.se == pytest.approx(np.std(each, ddof=1) / 600**0.5, rel=0.01)
    assert found.influences == pytest.approx(np.array(each) - np.mean(each), rel=1e-4, abs=1e-4)
    assert clip_score(images, 3 * images).value == pytest.approx(100)


def test_cmmd_is_the_unbiased_distance_of_directions():
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(30, 5, generator=draw) + 0.5, 4 * torch.randn(40, 5, generator=draw)
    unit = [(one / one.norm(dim=1, keepdim=True)).double().numpy() for one in (x, y)]

    def kernel(a, b):
        return np.exp(-((a[:, None] - b[None]) ** 2).sum(-1) / (2 * 10**2))

    xx, yy, xy = kernel(unit[0], unit[0]), kernel(unit[1], unit[1]), kernel(*unit)
    expected = (xx.sum() - 30) / (30 * 29) + (yy.sum() - 40) / (40 * 39) - 2 * xy.mean()
    found = cmmd(x, y)
    assert found.value == pytest.approx(1000 * expected, rel=1e-6)
    same = [cmmd(torch.randn(40, 5, generator=draw), torch.randn(1500, 5, generator=draw)) for _ in range(60)]
    values = np.array([one.value for one in same])
    assert abs(values.mean()) < 4 * values.std() / 60**0.5
    assert np.sqrt(np.mean([one.se**2 for one in same])) == pytest.approx(values.std(), rel=0.3)


@pytest.fixture
def real(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (60, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "real.npz", images=images, test_images=images)
    return tmp_path / "real.npz"


def test_a_run(tiny_latent, clip, real, tmp_path):
    found = samplerbench.run(
        "ddim,dpm", model=tiny_latent, nfe=3, samples=12, guidance=[1, 3], metrics="clip_score,cmmd,fid",
        extractor="clip:channels=repeat", extractor_weights=clip, reference=str(real), out=tmp_path / "out",
    )  # fmt: skip
    assert found["status"].tolist() == ["done"] * 4, found["reason"].tolist()
    assert found["clip_score"].nunique() == found["cmmd"].nunique() == 4
    assert (found["clip_score_se"] > 0).all()
    extractor, drawn = loaded(clip, (3, 28, 28)), samplerbench.sample("ddim", str(tiny_latent), samples=12, nfe=3)
    text, _ = extractor.text(["a boot", "a white dress", "boot"] * 4)
    expected = clip_score(extractor(quantise(drawn.images).expand(-1, 3, -1, -1)), text)
    assert found["clip_score"][0] == pytest.approx(expected.value, rel=1e-4)


def test_metrics_that_the_extractor_cannot_give(tiny_latent, tiny_model, clip, real):
    with pytest.raises(UserError, match="clip_score needs embeddings of prompts; choose --extractor clip"):
        samplerbench.run("ddim", model=tiny_latent, metrics="clip_score")
    with pytest.raises(UserError, match="cmmd is of CLIP's embeddings; choose --extractor clip"):
        samplerbench.run("ddim", model=tiny_latent, metrics="cmmd")
    given = {"extractor": "clip:channels=repeat", "extractor_weights": clip, "reference": str(real)}
    with pytest.raises(UserError, match="clip_score is of models that are asked in words; 'tiny' is not"):
        samplerbench.run("ddim", model=tiny_model, metrics="clip_score", **given)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("config.json", lambda said: said["vision_config"].update(hidden_act="relu")),
        ("config.json", lambda said: said["text_config"].update(num_attention_heads=4)),
        ("tokenizer.json", lambda said: said["model"]["vocab"].update(boot=2, dress=1)),
    ],
)
def test_what_embeddings_hang_on_besides_the_weights_is_in_the_hash(clip, tmp_path, name, change):
    folder, before = without(clip, tmp_path / "clip", ""), loaded(clip)
    said = json.loads((clip / name).read_text())
    change(said)
    (folder / name).write_text(json.dumps(said))
    after, images = loaded(folder), torch.randint(0, 256, (2, 3, 20, 16), dtype=torch.uint8)
    found = [(one(images), one.text(["boot"])[0]) for one in (before, after)]
    assert not all(map(torch.equal, *found))
    assert after.sha256 != before.sha256


def without(clip, folder, name):
    folder.mkdir()
    for file in clip.iterdir():
        if file.name != name:
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_bad_folders(clip, tmp_path):
    with pytest.raises(UserError, match="comes without weights; name a folder of a CLIPModel"):
        load_plugins().extractor("clip")
    with pytest.raises(UserError, match=r"config\.json"):
        loaded(without(clip, tmp_path / "a", "config.json"))
    with pytest.raises(UserError, match=r"no model\.safetensors; pickled weights are not read"):
        loaded(without(clip, tmp_path / "b", "model.safetensors"))
    folder, config = tmp_path / "a", json.loads((clip / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "siglip"}))
    with pytest.raises(UserError, match="model_type is 'clip', got 'siglip'"):
        loaded(folder)
    (folder / "config.json").write_text(json.dumps(config | {"projection_dim": 13}))
    with pytest.raises(UserError, match=r"cannot be read as a CLIPModel"):
        loaded(folder)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0, 0, 0], "image_std": [1, 0, 1]}))
    with pytest.raises(UserError, match="image_mean and image_std are three numbers each, the latter above 0"):
        loaded(folder)


def test_without_transformers(clip, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(UserError, match=r"needs transformers; install samplerbench\[clip\]"):
        loaded(clip)
