"""torch-fidelity's extractors: what they give is what torch-fidelity gives, and its silent failures are loud here.

Where no trained weights can be had, the networks have random ones, in files of the format that torch-fidelity reads.
"""

from __future__ import annotations

import os
import pickle
import warnings
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch_fidelity import calculate_metrics, feature_extractor_clip, feature_extractor_inceptionv3
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from samplerbench import UserError
from samplerbench.metrics import fidelity
from samplerbench.metrics.extractors import load_extractor
from samplerbench.metrics.fidelity import CLIP, VGG16, DINOv2
from samplerbench.metrics.frechet import frechet_distance
from samplerbench.metrics.reference import make_reference
from samplerbench.plugins import load_plugins
from tests.metrics.test_extractors import Pictures, pictures

INCEPTION = "inception-v3-compat"
REGISTRY = load_plugins()


def he(network):
    """Random weights that keep the scale of what goes through."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return network


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory):
    """torch-fidelity's Inception with random weights."""

    class Untrained(feature_extractor_inceptionv3.FeatureExtractorInceptionV3):
        def load_state_dict(self, state_dict, *_, **__):
            return None

    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save({}, path)
    network = he(Untrained(INCEPTION, ["2048"], feature_extractor_weights_path=str(path)))
    torch.save(network.state_dict(), path)
    return path


def theirs(a, b, name, weights, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return calculate_metrics(
            input1=Pictures(a),
            input2=Pictures(b),
            feature_extractor=name,
            feature_extractor_weights_path=str(weights),
            fid=True,
            cuda=False,
            cache=False,
            save_cpu_ram=True,
            verbose=False,
            **options,
        )["frechet_inception_distance"]


def ours(a, b, extractor):
    return frechet_distance(make_reference([a], extractor)[0], make_reference([b], extractor)[0])


def shifted(a):
    return a.flip(2).roll(5, 3)


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


def test_all_that_torch_fidelity_registers_is_there_with_its_layers():
    known = {r.cls.name: r.cls for r in REGISTRY.extractors if issubclass(r.cls, fidelity.TorchFidelity)}
    from_torch_fidelity = {n: c for n, c in FEATURE_EXTRACTORS_REGISTRY.items() if n != "fashion-mnist-cnn"}
    assert known.keys() == from_torch_fidelity.keys()
    for name, cls in known.items():
        their = from_torch_fidelity[name]
        assert set(cls.layers) == set(their.get_provided_features_list())
        assert cls.layers[0] == their.get_default_feature_layer_for_metric("fid")
        assert cls.classes in ("", their.get_default_feature_layer_for_metric("isc"))
    versions = REGISTRY.find("extractors", INCEPTION).code
    assert "torch-fidelity" in versions or "torch_fidelity" in versions


class TestInception:
    def test_fid_is_torch_fidelitys(self, inception_file):
        a, b = pictures(6, 3, 0, 32), shifted(pictures(6, 3, 1, 32))
        extractor = REGISTRY.extractor(f"{INCEPTION}:layer=64", inception_file)
        their = theirs(a, b, INCEPTION, inception_file, feature_layer_fid="64")
        assert their > 1e-3
        assert ours(a, b, extractor) == pytest.approx(their, rel=1e-6)

    def test_layers_logits_and_grey_images(self, inception_file):
        images = pictures(2, 1, 0, 28)
        loaded = REGISTRY.extractor(f"{INCEPTION}:channels=repeat", inception_file, image_shape=(1, 28, 28))
        assert (loaded.dimension, loaded.classes) == (2048, 1008)
        features, logits = loaded.with_logits(images)
        rgb = REGISTRY.extractor(INCEPTION, inception_file)
        assert torch.equal(features, rgb(images.repeat(1, 3, 1, 1)))
        assert torch.allclose(logits, features @ loaded.extractor.network.fc.weight.T, rtol=1e-4, atol=1e-3)
        assert loaded.sha256 != rgb.sha256  # options are in what identifies it
        alone = REGISTRY.extractor(f"{INCEPTION}:layer=logits_unbiased", inception_file)
        assert alone.dimension == 1008
        assert torch.equal(alone(images.repeat(1, 3, 1, 1)), logits)
        assert len({rgb.sha256, loaded.sha256, alone.sha256}) == 3

    def test_images_are_resized_as_tensorflow_1_did(self, inception_file):
        extractor = REGISTRY.extractor(f"{INCEPTION}:layer=64", inception_file)
        images = pictures(1, 3, 0, 32)
        at = np.arange(299) * (32 / 299)  # corners as they are, no half pixels
        low = np.floor(at).astype(int)
        high, part = np.minimum(low + 1, 31), torch.from_numpy(at - low).double()
        x = images.double()
        x = x[..., low] * (1 - part) + x[..., high] * part
        x = x[..., low, :] * (1 - part[:, None]) + x[..., high, :] * part[:, None]
        network = extractor.extractor.network
        with torch.no_grad():
            first = network.Conv2d_1a_3x3((x.float() - 128) / 128)
            for layer in (network.Conv2d_2a_3x3, network.Conv2d_2b_3x3, network.MaxPool_1):
                first = layer(first)
        assert torch.allclose(extractor(images), first.mean((2, 3)), rtol=1e-3, atol=1e-4)

    def test_the_range_of_images_is_never_guessed(self, inception_file):
        extractor = REGISTRY.extractor(INCEPTION, inception_file)
        with pytest.raises(UserError, match=r"takes uint8 images \[B, 3, H, W\], got torch.float32"):
            extractor(torch.rand(1, 3, 32, 32))
        with pytest.raises(UserError, match="takes images of 3×H×W, not of 32×32×3"):
            extractor(torch.zeros(1, 32, 32, 3, dtype=torch.uint8))

    @pytest.mark.parametrize("how", ["missing", "zero"])
    def test_weights_without_the_last_layer_give_features_and_no_classes(self, inception_file, tmp_path, how):
        state = torch.load(inception_file, weights_only=True)
        for name in ("fc.weight", "fc.bias"):
            state[name].zero_() if how == "zero" else state.pop(name)
        torch.save(state, tmp_path / "features.pth")
        loaded = REGISTRY.extractor(INCEPTION, tmp_path / "features.pth", image_shape=(3, 32, 32))
        assert loaded.classes == 0
        assert loaded(pictures(1, 3, 0, 32)).any()
        with pytest.raises(UserError, match="has no last layer, so there is no layer=logits") as error:
            REGISTRY.extractor(f"{INCEPTION}:layer=logits", tmp_path / "features.pth")
        one_line(error)

    def test_the_same_weights_are_the_same_extractor_whatever_their_file(self, inception_file, tmp_path):
        state = torch.load(inception_file, weights_only=True)
        torch.save(dict(reversed(state.items())), tmp_path / "other.pth")
        first, second = (
            REGISTRY.extractor(INCEPTION, path).sha256 for path in (inception_file, tmp_path / "other.pth")
        )
        assert first == second
        state["Conv2d_1a_3x3.conv.weight"][0, 0, 0, 0] += 1
        torch.save(state, tmp_path / "other.pth")
        assert REGISTRY.extractor(INCEPTION, tmp_path / "other.pth").sha256 != first

    def test_a_pickle_that_runs_code_is_not_run(self, tmp_path):
        class Bomb:
            def __reduce__(self):
                return (Path(tmp_path / "went off").touch, ())

        (tmp_path / "bomb.pth").write_bytes(pickle.dumps(Bomb()))
        torch.save({"fc.weight": Bomb()}, tmp_path / "bomb2.pth")
        for name in ("bomb.pth", "bomb2.pth"):
            with pytest.raises(UserError, match="extractor 'inception-v3-compat': no usable weights in") as error:
                REGISTRY.extractor(INCEPTION, tmp_path / name)
            one_line(error)
        assert not (tmp_path / "went off").exists()

    def test_weights_of_another_network_are_refused(self, tmp_path):
        torch.save(nn.Linear(3, 3).state_dict(), tmp_path / "linear.pth")
        with pytest.raises(UserError, match=r"no usable weights in .*linear\.pth \(RuntimeError") as error:
            REGISTRY.extractor(INCEPTION, tmp_path / "linear.pth")
        one_line(error)


@pytest.mark.skipif("SAMPLERBENCH_INCEPTION" not in os.environ, reason="SAMPLERBENCH_INCEPTION names no weights file")
def test_fid_is_torch_fidelitys_with_the_genuine_inception():
    a, b, weights = pictures(24, 3, 0, 32), pictures(24, 3, 1, 32), Path(os.environ["SAMPLERBENCH_INCEPTION"])
    extractor = REGISTRY.extractor(INCEPTION, weights)
    assert ours(a, b, extractor) == pytest.approx(theirs(a, b, INCEPTION, weights), rel=1e-6)


class SmallVGG(torchvision.models.VGG):
    """The layout of VGG16 with fewer channels."""

    def __init__(self, **_):
        super().__init__(torchvision.models.vgg.make_layers([4, "M", 8, "M"]), init_weights=False)
        self.classifier[0], self.classifier[3] = nn.Linear(8 * 49, 16), nn.Linear(16, 12)
        self.classifier[6] = nn.Linear(12, 5)


def test_vgg16(tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision.models, "vgg16", SmallVGG)
    monkeypatch.setattr(VGG16, "dimension", 12)
    torch.save(he(SmallVGG()).state_dict(), tmp_path / "vgg.pth")
    a, b = pictures(8, 3, 0, 32), shifted(pictures(8, 3, 1, 32))
    for layer in ("fc2_relu", "fc2"):
        loaded = REGISTRY.extractor(f"vgg16:layer={layer}", tmp_path / "vgg.pth", image_shape=(3, 32, 32))
        assert loaded.classes == 0
        their = theirs(a, b, "vgg16", tmp_path / "vgg.pth", feature_layer_fid=layer)
        assert ours(a, b, loaded) == pytest.approx(their, rel=1e-6)


class TinyCLIP(CLIP):
    name, theirs, dimension, side, patch = "tiny-clip", "clip-vit-b-32", 16, 32, 16


def clip_file(path, side=32, patch=16, dimension=16):
    """A TorchScript archive with the entries that OpenAI's have, random."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.visual = feature_extractor_clip.VisionTransformer(side, patch, 64, 2, 1, dimension)
            self.text_projection = nn.Parameter(torch.zeros(8, dimension))

        def forward(self, x):
            return self.visual(x) + self.text_projection.sum()

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and what CLIP comes in
        torch.jit.trace(Model().eval(), torch.zeros(1, 3, side, side)).save(str(path))
    return path


class TestCLIP:
    def loaded(self, weights, shape=(3, 24, 24)):
        return load_extractor(TinyCLIP(), "code", True, weights, "cpu", shape)

    def test_fid_is_torch_fidelitys(self, tmp_path):
        weights = clip_file(tmp_path / "clip.pt")
        a, b = pictures(40, 3, 0, 24), shifted(pictures(40, 3, 1, 24))
        their = theirs(a, b, "clip-vit-b-32", weights)
        assert ours(a, b, self.loaded(weights)) == pytest.approx(their, rel=1e-6)

    @pytest.mark.parametrize("other", [{"patch": 8}, {"side": 48}, {"dimension": 24}])
    def test_a_file_of_another_clip_is_refused(self, tmp_path, other):
        with pytest.raises(UserError, match="is another network, of") as error:
            self.loaded(clip_file(tmp_path / "clip.pt", **other))
        one_line(error)


HUB = """
import torch

def dinov2_vits14():
    torch.manual_seed(1)
    network = torch.nn.Sequential(torch.nn.AvgPool2d(SIDE), torch.nn.Flatten(), torch.nn.Linear(12, 8))
    return network
"""


class TinyDINO(DINOv2):
    name, theirs, dimension = "tiny-dino", "dinov2-vit-s-14", 8


class TestDINOv2:
    @pytest.fixture
    def hub(self, tmp_path, monkeypatch):
        monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
        monkeypatch.setattr(torch.hub, "urlopen", offline)
        (tmp_path / "facebookresearch_dinov2_main").mkdir()
        return tmp_path / "facebookresearch_dinov2_main" / "hubconf.py"

    def loaded(self):
        return load_extractor(TinyDINO(), "code", True, None, "cpu", (3, 32, 32))

    def test_features_are_those_of_the_hubs_network(self, hub):
        hub.write_text(HUB.replace("SIDE", "112"))
        images = pictures(3, 3, 0, 224)  # of the size that it resizes to
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        x = (images / 255 - mean[:, None, None]) / std[:, None, None]
        loaded = self.loaded()
        assert torch.allclose(loaded(images), loaded.extractor.network.model(x), atol=1e-5)

    def test_the_code_that_the_hub_brings_is_in_its_identity(self, hub):
        hub.write_text(HUB.replace("SIDE", "112"))
        first = self.loaded()
        hub.write_text(HUB.replace("SIDE", "112") + "# main has moved\n")
        assert self.loaded().sha256 != first.sha256

    def test_it_takes_no_file(self, hub, tmp_path):
        (tmp_path / "w.pth").touch()
        with pytest.raises(UserError, match=r"takes no file of its weights; .* expected are the repo") as error:
            REGISTRY.extractor("dinov2-vit-s-14", tmp_path / "w.pth")
        one_line(error)


def offline(*_, **__):
    raise URLError("no internet")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (INCEPTION, "checkpoints/weights-inception-2015-12-05-6726825d.pth, or give a file with --extractor-weights"),
        ("vgg16", "checkpoints/vgg16-397923af.pth, or give a file with --extractor-weights"),
        (
            "clip-vit-b-32",
            "checkpoints/clip-vit-b-32-40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af.pt",
        ),
        ("dinov2-vit-l-14", "checkpoints/dinov2_vitl14_pretrain.pth"),
    ],
)
def test_without_internet_it_is_said_where_the_file_is_expected(tmp_path, monkeypatch, name, expected):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", offline)
    with pytest.raises(UserError, match=r"its weights could not be loaded or downloaded .*no internet") as error:
        REGISTRY.extractor(name)
    assert f"{tmp_path}/{expected}" in one_line(error)


def test_clips_are_told_apart_by_their_shapes():
    assert len(set(fidelity.CLIPS.values())) == len(fidelity.CLIPS) == len(feature_extractor_clip.MODEL_URLS)
