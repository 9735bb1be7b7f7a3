import json
import os
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_fidelity import calculate_metrics

from samplerbench import UserError
from samplerbench.metrics.cnn import ClassifierConfig, FeatureClassifier
from samplerbench.metrics.extractors import load_extractor
from samplerbench.metrics.frechet import frechet_distance
from samplerbench.metrics.measured import Unmeasurable
from samplerbench.metrics.names import INCEPTION, SHIPPED
from samplerbench.metrics.reference import Provenance, load_reference, make_reference, save_reference

INCEPTION_WEIGHTS = os.environ.get("SAMPLERBENCH_INCEPTION")  # torch-fidelity's weights file, where there is one
needs_inception = pytest.mark.skipif(not INCEPTION_WEIGHTS, reason="SAMPLERBENCH_INCEPTION names no weights file")


def pictures(n, channels, seed, side=28):
    """Smooth random pictures, uint8."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, channels, 4, 4, generator=draw)
    return (torch.nn.functional.interpolate(coarse, side, mode="bicubic").clamp(0, 1) * 255).to(torch.uint8)


class Pictures(torch.utils.data.Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


def both_fids(name, a, b, weights=None):
    extractor = load_extractor(name, weights and Path(weights))
    ours = frechet_distance(make_reference([a], extractor)[0], make_reference([b], extractor)[0])
    theirs = calculate_metrics(
        input1=Pictures(a),
        input2=Pictures(b),
        feature_extractor=name,
        feature_extractor_weights_path=weights,
        fid=True,
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
    )["frechet_inception_distance"]
    return ours, theirs


def test_fid_is_torch_fidelitys_on_the_same_images():
    ours, theirs = both_fids(SHIPPED, pictures(400, 1, 0), pictures(300, 1, 1).flip(2))
    assert ours > 0.01
    assert ours == pytest.approx(theirs, rel=1e-6)


@needs_inception
def test_fid_is_torch_fidelitys_with_the_genuine_inception():
    ours, theirs = both_fids(INCEPTION, pictures(24, 3, 0, 32), pictures(24, 3, 1, 32), INCEPTION_WEIGHTS)
    assert ours == pytest.approx(theirs, rel=1e-6)


def test_shipped_extractor():
    extractor = load_extractor(SHIPPED)
    images = pictures(9, 1, 0)
    features = extractor(images)
    assert features.shape == (9, 224)
    assert torch.allclose(extractor(images[3:4]), features[3:4], atol=1e-5)
    assert len(extractor.sha256) == 64
    with pytest.raises(UserError, match=r"takes uint8 images \[N, 1, 28, 28\], got torch.uint8 \[9, 3, 28, 28\]"):
        extractor(images.expand(9, 3, 28, 28))
    with pytest.raises(UserError, match=r"got torch\.float32"):
        extractor(images.float())


def test_features_are_standardised_channel_means_of_every_stage():
    torch.manual_seed(0)
    network = FeatureClassifier(ClassifierConfig(image_shape=(1, 28, 28), widths=(8, 16))).eval()
    images = pictures(60, 1, 0)
    network.standardise(images)
    features = network.features(images)
    assert features.shape == (60, 24)
    assert torch.allclose(features.mean(0), torch.zeros(24), atol=1e-4)
    assert torch.allclose(features.std(0), torch.ones(24), atol=1e-3)
    x = images.float() / 127.5 - 1
    first = network.trunk[:6](x).mean(dim=(2, 3))
    expected = (first - first.mean(0)) / first.std(0)
    assert torch.allclose(features[:, :8], expected, atol=1e-3)


def test_shipped_extractor_classifies_as_its_record_says():
    folder = resources.files("samplerbench.metrics").joinpath("shipped").joinpath(SHIPPED)
    config = json.loads(folder.joinpath("config.json").read_text())
    assert config["training"]["test_accuracy"] >= 0.925


def test_bad_extractors(tmp_path):
    with pytest.raises(UserError, match="did you mean 'fashion-mnist-cnn'"):
        load_extractor("fashion-mnist")
    with pytest.raises(UserError, match="no such file"):
        load_extractor(SHIPPED, tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"has no config\.json"):
        load_extractor(SHIPPED, tmp_path)
    bad = tmp_path / "weights.pth"
    bad.write_bytes(b"not weights")
    with pytest.raises(UserError, match="extractor 'inception-v3-compat': no usable weights in"):
        load_extractor(INCEPTION, bad)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": [0]}, "widths holds whole numbers from 1"),
        ({"widths": [True]}, "widths holds whole numbers from 1"),
        ({"widths": []}, "widths has one for each of 1 stage or more"),
        ({"widths": [8] * 9}, "widths has one for each of 1 stage or more"),
        ({"widths": 5}, "widths holds whole numbers"),
        ({"widths": [2**16] * 3}, r"does not fit config\.json"),  # 800 GB, were the network made first
        ({"classes": 0}, "classes holds whole numbers from 1"),
        ({"image_shape": [28, 28]}, r"image_shape is \[C, H, W\]"),
        ({"dropout": "0.3"}, "dropout is a number from 0 to 1"),
        ({"colour": 1}, "config.json in .* is not a classifier's: TypeError: .*colour"),
    ],
)
def test_architectures_of_classifiers_that_cannot_be(tmp_path, changes, message):
    shipped = resources.files("samplerbench.metrics").joinpath("shipped").joinpath(SHIPPED)
    config = json.loads(shipped.joinpath("config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({"architecture": config["architecture"] | changes}))
    (tmp_path / "model.safetensors").write_bytes(shipped.joinpath("model.safetensors").read_bytes())
    with pytest.raises(UserError, match=message):
        load_extractor(SHIPPED, tmp_path)


GREY = (1, 28, 28)


class TestReference:
    def made(self, folder):
        extractor = load_extractor(SHIPPED)
        made = make_reference([pictures(50, 1, 0)], extractor)
        path = folder / "reference.npz"
        save_reference(path, *made, Provenance(extractor.name, "features", extractor.sha256, "test pictures", "0"))
        return path, made, extractor

    def test_round_trip(self, tmp_path):
        path, (statistics, features), extractor = self.made(tmp_path)
        again = load_reference(path, extractor, GREY)
        assert np.array_equal(again.statistics.sigma, statistics.sigma)
        assert torch.equal(again.some_features("kid"), features.float())
        assert again.unknowns == []
        assert again.statistics.count == 50
        assert again.provenance.data == "test pictures"

    def test_of_another_extractor(self, tmp_path):
        path, made, extractor = self.made(tmp_path)
        save_reference(path, *made, Provenance("inception-v3-compat", "2048", "abc", "x", "0"))
        with pytest.raises(UserError, match="was made with extractor 'inception-v3-compat'"):
            load_reference(path, extractor, GREY)

    def test_damaged(self, tmp_path):
        path, _, extractor = self.made(tmp_path)
        path.write_bytes(path.read_bytes()[:500])
        with pytest.raises(UserError, match="is not a reference statistics file"):
            load_reference(path, extractor, GREY)
        np.savez(path, mu=np.zeros(3))
        with pytest.raises(UserError, match="is not a reference statistics file"):
            load_reference(path, extractor, GREY)
        np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
        with pytest.raises(UserError, match="is not a reference statistics file"):
            load_reference(tmp_path / "pickled.npy", extractor, GREY)

    def test_of_another_project(self, tmp_path):
        path, (statistics, _), extractor = self.made(tmp_path)
        np.savez(path, mu=statistics.mu, sigma=statistics.sigma)
        foreign = load_reference(path, extractor, GREY)
        assert foreign.statistics.count is None
        assert foreign.unknowns == ["extractor", "layer", "extractor_sha256", "data", "data_sha256", "count"]
        with pytest.raises(Unmeasurable, match="kid needs features of real images"):
            foreign.some_features("kid")
        np.savez(path, mu=np.zeros(64), sigma=np.eye(64))
        with pytest.raises(UserError, match="has 64 features, extractor 'fashion-mnist-cnn' 224"):
            load_reference(path, extractor, GREY)

    def test_features_are_kept_of_few_images_chosen_at_random(self):
        class Numbers:
            def __call__(self, images):
                return images[:, :1, 0, 0].float()

        batches = [torch.full((100, 1, 1, 1), k, dtype=torch.uint8) for k in range(100)]
        statistics, features = make_reference(batches, Numbers())
        assert statistics.count == 10_000
        assert features.shape == (4096, 1)
        assert abs(float(features.float().mean()) - 49.5) < 4 * 29 / 64
        assert torch.equal(features, make_reference(batches, Numbers())[1])
