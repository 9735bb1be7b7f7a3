"""Feature extractors: the shipped one, an author's own, and what is refused."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_fidelity import calculate_metrics

import samplerbench
from samplerbench import UserError
from samplerbench.errors import PluginError
from samplerbench.metrics.cnn import ClassifierConfig, FeatureClassifier
from samplerbench.metrics.fashion_mnist import shipped_folder
from samplerbench.metrics.frechet import frechet_distance
from samplerbench.metrics.in_torch_fidelity import FashionMNISTFeatures
from samplerbench.metrics.measured import Unmeasurable
from samplerbench.metrics.reference import Provenance, load_reference, make_reference, save_reference
from samplerbench.plugins import load_plugins

SHIPPED = "fashion-mnist-cnn"
GREY = (1, 28, 28)


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


def test_fid_is_torch_fidelitys_on_the_same_images():
    assert FashionMNISTFeatures.__name__  # its module has registered it
    a, b = pictures(400, 1, 0), pictures(300, 1, 1).flip(2)
    extractor = load_plugins().extractor(SHIPPED)
    ours = frechet_distance(make_reference([a], extractor)[0], make_reference([b], extractor)[0])
    theirs = calculate_metrics(
        input1=Pictures(a),
        input2=Pictures(b),
        feature_extractor=SHIPPED,
        fid=True,
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
    )["frechet_inception_distance"]
    assert ours > 0.01
    assert ours == pytest.approx(theirs, rel=1e-6)


def test_shipped_extractor():
    extractor = load_plugins().extractor(SHIPPED)
    images = pictures(9, 1, 0)
    features = extractor(images)
    assert features.shape == (9, 224)
    assert torch.allclose(extractor(images[3:4]), features[3:4], atol=1e-5)
    assert len(extractor.sha256) == 64
    assert extractor.sha256.startswith("5299284b")  # shipped references and published rows go by it
    with pytest.raises(UserError, match="takes images of 1×28×28, not of 3×28×28"):
        extractor(images.expand(9, 3, 28, 28))
    with pytest.raises(UserError, match=r"takes uint8 images \[B, 1, 28, 28\], got torch\.float32 \[9, 1, 28, 28\]"):
        extractor(images.float())
    with pytest.raises(UserError, match=r"got torch\.uint8 \[1, 28, 28\]"):
        extractor(images[0])


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
    config = json.loads((shipped_folder() / "config.json").read_text())
    assert config["training"]["test_accuracy"] >= 0.925


def test_bad_extractors(tmp_path):
    def error(spec, *arguments, **options):
        with pytest.raises(UserError) as refusal:
            load_plugins().extractor(spec, *arguments, **options)
        assert "\n" not in str(refusal.value)
        return str(refusal.value)

    assert "unknown extractor 'fashion-mnist'; did you mean 'fashion-mnist-cnn'?" in error("fashion-mnist")
    assert "did you mean 'dinov2-vit-s-14'" in error("dinov2-s-14")
    assert "no such file" in error(SHIPPED, tmp_path / "nowhere")
    assert "has no config.json" in error(SHIPPED, tmp_path)
    assert "unknown option of fashion-mnist-cnn 'resize' (known: channels, layer)" in error(f"{SHIPPED}:resize=299")
    assert "unknown layer of inception-v3-compat '2084'; did you mean '2048'?" in error(
        "inception-v3-compat:layer=2084"
    )
    assert "unknown value of fashion-mnist-cnn:channels" in error(f"{SHIPPED}:channels=thrice")
    large = error(SHIPPED, image_shape=(3, 256, 256))
    assert (
        "extractor 'fashion-mnist-cnn' takes images of 1×28×28, not of 3×256×256; as they are, clip, clip-rn101"
        in large
    )
    assert "inception-v3-compat" in large
    grey = error("inception-v3-compat", image_shape=GREY)
    assert "takes images of 3×H×W, not of 1×28×28; to give it the grey channel 3 times, choose --extractor " in grey
    assert "inception-v3-compat:channels=repeat; as they are, fashion-mnist-cnn take" in grey
    assert "inception-v3-compat:channels=repeat is for grey images, not for 3×32×32; leave it out" in error(
        "inception-v3-compat:channels=repeat", image_shape=(3, 32, 32)
    )


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
    shipped = shipped_folder()
    config = json.loads((shipped / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({"architecture": config["architecture"] | changes}))
    (tmp_path / "model.safetensors").write_bytes((shipped / "model.safetensors").read_bytes())
    with pytest.raises(UserError, match=message):
        load_plugins().extractor(SHIPPED, tmp_path)


class TestReference:
    def made(self, folder):
        extractor = load_plugins().extractor(SHIPPED)
        made = make_reference([pictures(50, 1, 0)], extractor)
        path = folder / "reference.npz"
        save_reference(path, *made, Provenance(extractor.spec, "features", extractor.sha256, "test pictures", "0"))
        return path, made, extractor

    def test_round_trip(self, tmp_path):
        path, (statistics, features), extractor = self.made(tmp_path)
        again = load_reference(path, extractor, GREY)
        assert np.array_equal(again.statistics.sigma, statistics.sigma)
        assert torch.equal(again.some_features("kid"), features.float())
        assert again.unknowns == []
        assert again.statistics.count == 50
        assert again.provenance.data == "test pictures"
        assert again.provenance.image_shape == "1×28×28"  # the file does not say it, the extractor takes no other

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


MINE = """
import torch
from samplerbench import Extractor, hookimpl

class Bins(Extractor):
    name = "bins"
    about = "share of pixels in each of 16 bins of brightness"
    dimension = 16

    def __call__(self, images):
        bins = images.flatten(1).long() // 16
        return torch.stack([(bins == k).float().mean(1) for k in range(16)], 1)

@hookimpl
def samplerbench_extractors(register):
    register(Bins)
"""


class TestAnAuthors:
    def plugin(self, folder, *changes, file="mine.py"):
        text = MINE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        folder.mkdir(exist_ok=True)
        (folder / file).write_text(text)
        return str(folder / file)

    def loaded(self, plugin, spec="bins", weights=None, shape=GREY):
        return load_plugins([plugin]).extractor(spec, weights, "cpu", shape)

    def error(self, plugin, spec="bins", shape=GREY):
        with pytest.raises(PluginError) as error:
            self.loaded(plugin, spec, shape=shape)
        assert "\n" not in str(error.value)
        return str(error.value)

    def test_ten_lines_are_enough(self, tmp_path, tiny_model):
        plugin = self.plugin(tmp_path)
        images = pictures(5, 3, 0)
        features = self.loaded(plugin, shape=(3, 28, 28))(images)
        expected = [np.histogram(image.numpy(), 16, (0, 256))[0] / image.numel() for image in images]
        assert np.allclose(features.numpy(), expected)
        np.savez(tmp_path / "real.npz", images=pictures(40, 1, 0)[:, 0].numpy())
        frame = samplerbench.run(
            "ddim",
            nfe=[2],
            samples=20,
            model=str(tiny_model),
            device="cpu",
            out=tmp_path / "out",
            extractor="bins",
            reference=tmp_path / "real.npz",
            plugins=[plugin],
        )
        assert frame["extractor"][0] == "bins"
        assert frame["reference_count"][0] == 40
        assert np.isfinite(frame["fid"]).all()
        described = json.loads((tmp_path / "out" / "run.json").read_text())["extractor"]
        assert described["distribution"] == plugin
        assert described["sha256"] == frame["extractor_sha256"][0]

    def test_the_one_of_the_docs(self, tmp_path):
        page = (Path(__file__).parents[2] / "docs" / "extractors.md").read_text()
        (tmp_path / "bins.py").write_text(page.split("```python\n")[1].split("```")[0])
        images = pictures(5, 3, 0)
        ours = self.loaded(self.plugin(tmp_path), shape=(3, 28, 28))
        assert torch.allclose(self.loaded(str(tmp_path / "bins.py"), shape=(3, 28, 28))(images), ours(images))

    def test_it_is_known_by_code_weights_and_options(self, tmp_path):
        more = ("torch\nfrom", "torch\nfrom dataclasses import dataclass\nfrom")
        option = ("class Bins(Extractor):", "@dataclass(kw_only=True)\nclass Bins(Extractor):\n    k: float = 1.0")
        plain = self.loaded(self.plugin(tmp_path / "a"))
        same = self.loaded(self.plugin(tmp_path / "b", ("import torch", "# mine\nimport torch")))
        other = self.loaded(self.plugin(tmp_path / "c", ("mean(1)", "mean(dim=1)")))
        assert plain.sha256 == same.sha256
        assert plain.code == same.code
        assert plain.sha256 != other.sha256
        assert plain.code != other.code
        held = ("= 16", "= 16\n    def load(self, weights, device): self.w = torch.tensor(float(Path(K).read_text()))")
        (tmp_path / "w").write_text("1")
        imported = ("import torch", "import torch\nfrom pathlib import Path")
        plugin = self.plugin(tmp_path / "e", (held[0], held[1].replace("K", repr(str(tmp_path / "w")))), imported)
        ones = self.loaded(plugin)
        (tmp_path / "w").write_text("2")  # which no hash of code sees
        assert self.loaded(plugin).code == ones.code
        assert self.loaded(plugin).sha256 != ones.sha256
        optional = self.plugin(tmp_path / "d", more, option)
        assert self.loaded(optional, "bins:k=1").spec == "bins"
        assert self.loaded(optional, "bins:k=2").spec == "bins:k=2.0"
        assert self.loaded(optional, "bins:k=2").sha256 != self.loaded(optional).sha256

    def test_weights_that_the_user_names_are_hashed(self, tmp_path):
        reading = "dimension = 16\n    def load(self, weights, device): self.table = {'w': weights.read_bytes()}"
        plugin = self.plugin(tmp_path, ("dimension = 16", reading))
        hashes = []
        for content, name in ((b"1", "one"), (b"2", "two"), (b"1", "again")):
            (tmp_path / name).write_bytes(content)
            hashes.append(self.loaded(plugin, weights=tmp_path / name).sha256)
        assert hashes[0] == hashes[2] != hashes[1]
        with pytest.raises(UserError, match="extractor 'bins' takes no weights; leave out --extractor-weights"):
            self.loaded(self.plugin(tmp_path, file="none.py"), weights=tmp_path / "one")

    def test_networks_are_put_into_evaluation_mode(self, tmp_path):
        held = "dimension = 16\n    def load(self, weights, device): self.net = torch.nn.Dropout()"
        through = ("return torch", "return self.net(torch"), ("range(16)], 1)", "range(16)], 1))")
        plugin = self.plugin(tmp_path, ("dimension = 16", held), *through)
        assert not self.loaded(plugin).extractor.net.training

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            (".float().mean(1)", ".double().mean(1)", "gave torch.float64 [2, 16], expected features, float32 [2, 16]"),
            ("dimension = 16", "dimension = 15", "gave torch.float32 [2, 16], expected features, float32 [2, 15]"),
            ("return torch", "return 1; torch", "TypeError: extractor 'bins' gave int, expected features"),
            (".float().mean(1)", ".float().mean(1) / 0", "the features of two images of noise are not finite"),
            (".float().mean(1)", ".float().mean()[None].expand(len(bins))", "depend on the others of its batch"),
            ("bins = images", "raise SystemExit(0); bins = images", "fails on images of 1×28×28: Escaped: bins raised"),
            ("dimension = 16", "dimension = 16\n    def load(self, weights, device): 1 / 0", "cannot be loaded: Zero"),
            ("dimension = 16", "pass", "Bins does not define dimension"),
            ("dimension = 16", "dimension = '16'", "Bins.dimension is how many features an image has, got '16'"),
            ("dimension = 16", "dimension = 16; takes = (1, 28)", "Bins.takes is (C, H, W)"),
            ("dimension = 16", "dimension = 16; layers = 'abc'", "Bins.layers is a tuple of names"),
            ("dimension = 16", "dimension = 16; k: int = 1", "write @dataclass(kw_only=True) above it"),
            ("register(Bins)", "register(Bins())", "takes a subclass of samplerbench.Extractor"),
            ("samplerbench_extractors", "samplerbench_extractor", "unknown hook 'samplerbench_extractor'"),
        ],
    )
    def test_what_is_wrong_is_said_in_one_line(self, tmp_path, old, new, message):
        assert message in self.error(self.plugin(tmp_path, (old, new)))

    def test_it_replaces_a_shipped_one_by_name_and_says_so(self, tmp_path, command):
        plugin = self.plugin(tmp_path, ('"bins"', '"vgg16"'))
        registry = load_plugins([plugin])
        assert registry.find("extractors", "vgg16").distribution == plugin
        assert any(
            re.match("extractor 'vgg16' of .*mine.py replaces that of samp", note) for note in registry.notices()
        )
        assert "share of pixels" in command("list", "extractors", "--plugin", plugin)[1]

    def test_inception_score_without_classes_is_refused_before_anything_is_drawn(self, tmp_path, tiny_model):
        with pytest.raises(UserError, match="isc needs classes, and extractor 'bins' has no classifier"):
            samplerbench.run(
                "ddim", model=str(tiny_model), extractor="bins", metrics="isc", plugins=[self.plugin(tmp_path)]
            )
