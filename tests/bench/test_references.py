"""What `--reference` takes: a dataset by name, a file of images, a file of statistics, others' files."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch

import samplerbench
from samplerbench import UserError, data
from samplerbench.bench.execute import Listener
from samplerbench.metrics.reference import load_reference, make_reference
from samplerbench.plugins import load_plugins


class Ears(Listener):
    def __init__(self):
        self.notices = []

    def notice(self, text):
        self.notices.append(text)


@pytest.fixture
def ears():
    return Ears()


@pytest.fixture
def go(tiny_model, tmp_path, ears):
    def run(reference, out="out", **options):
        options = {"samples": 20, "nfe": [2], "model": str(tiny_model), "device": "cpu", "listener": ears} | options
        return samplerbench.run("ddim", out=tmp_path / out, reference=reference, **options)

    return run


@pytest.fixture
def real():
    draw = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (60, 28, 28), dtype=torch.uint8, generator=draw).numpy()


def dataset(folder, images):
    """Images as torchvision keeps Fashion-MNIST."""
    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for part in ("train", "t10k"):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">iiii", 2051, *images.shape) + images.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">ii", 2049, len(images)) + bytes(len(images)))
    return folder


def fid_by_hand(go, images, tmp_path):
    np.savez(tmp_path / "hand.npz", images=images)
    return go(tmp_path / "hand.npz", "hand")["fid"][0]


@pytest.mark.parametrize("name", ["fashion-mnist", "FashionMNIST", "fashion_mnist"])
def test_a_dataset_by_its_name_is_made_once(go, ears, real, tmp_path, name):
    root = dataset(tmp_path / "data", real)
    first = go(name, data_root=root)
    assert first["reference_count"][0] == 60
    made = "reference statistics are made of 60 images of FashionMNIST, training images, with fashion-mnist-cnn"
    assert ears.notices == [made]
    again = go(name, "again", data_root=root)
    assert ears.notices == [made]
    assert again["reference_sha256"][0] == first["reference_sha256"][0]
    assert fid_by_hand(go, real, tmp_path) == first["fid"][0]


def test_it_goes_by_content_not_by_name(go, real, tmp_path):
    root = dataset(tmp_path / "data", real)
    first = go("fashion-mnist", data_root=root)
    dataset(root, real[::-1] // 2)
    second = go("fashion-mnist", "second", data_root=root)
    assert second["reference_sha256"][0] != first["reference_sha256"][0]
    assert second["fid"][0] != first["fid"][0]


def test_a_damaged_one_is_made_again(go, ears, real, tmp_path):
    root = dataset(tmp_path / "data", real)
    first = go("fashion-mnist", data_root=root)
    (kept,) = (tmp_path / "cache" / "references").glob("*.npz")
    kept.write_bytes(kept.read_bytes()[:1000])
    second = go("fashion-mnist", "second", data_root=root)
    assert "it is made again" in ears.notices[1]
    assert second["reference_sha256"][0] == first["reference_sha256"][0]


def statistics(images):
    return make_reference([torch.from_numpy(images[:, None])], load_plugins().extractor("fashion-mnist-cnn"))[0]


def test_edms_statistics(go, ears, real, tmp_path):
    known = statistics(real)
    np.savez(tmp_path / "edm.npz", mu=known.mu, sigma=known.sigma)
    assert go(tmp_path / "edm.npz")["fid"][0] == pytest.approx(fid_by_hand(go, real, tmp_path), rel=1e-9)
    assert "does not say its extractor, layer, extractor_sha256, data, data_sha256, count" in ears.notices[0]


def test_adms_statistics_beside_spatial_ones_and_images(go, ears, real, tmp_path):
    known = statistics(real)
    spatial = {"mu_s": np.ones(2023), "sigma_s": np.eye(3)}
    np.savez(tmp_path / "adm.npz", arr_0=real[:5, ..., None], mu=known.mu, sigma=known.sigma, **spatial)
    assert go(tmp_path / "adm.npz")["fid"][0] == pytest.approx(fid_by_hand(go, real, tmp_path), rel=1e-9)
    assert ears.notices[1].endswith("adm.npz: mu and sigma are used; arr_0, mu_s, sigma_s are not")


def test_adms_images(go, ears, real, tmp_path):
    expected = fid_by_hand(go, real, tmp_path)
    np.savez(tmp_path / "adm.npz", arr_0=real[..., None])
    assert go(tmp_path / "adm.npz")["fid"][0] == expected
    # statistics in another extractor's features say nothing here, the images do
    np.savez(tmp_path / "both.npz", arr_0=real[..., None], mu=np.zeros(2048), sigma=np.eye(2048))
    assert go(tmp_path / "both.npz", "both")["fid"][0] == expected


def test_a_reference_of_another_resolution_is_refused(go, tmp_path):
    np.savez(tmp_path / "large.npz", images=np.zeros((4, 32, 32), np.uint8))
    with pytest.raises(UserError, match=r"large\.npz has images of 1×32×32, the model's are 1×28×28"):
        go(tmp_path / "large.npz")


def test_a_file_says_of_which_resolution_its_images_were(tmp_path):
    plugin = tmp_path / "mean.py"
    plugin.write_text(
        "import samplerbench\n"
        "class Corners(samplerbench.Extractor):\n"
        "    name, dimension = 'corners', 2\n"
        "    def __call__(self, images):\n"
        "        return images[:, 0, :2, 0].float()\n"
        "@samplerbench.hookimpl\n"
        "def samplerbench_extractors(register):\n"
        "    register(Corners)\n"
    )
    extractor = load_plugins([str(plugin)]).extractor("corners")
    from samplerbench.metrics.reference import provenance_of, save_reference

    images = torch.randint(0, 256, (9, 1, 8, 8), dtype=torch.uint8)
    save_reference(
        tmp_path / "r.npz", *make_reference([images], extractor), provenance_of(extractor, "noise", "0", (1, 8, 8))
    )
    assert load_reference(tmp_path / "r.npz", extractor, (1, 8, 8)).unknowns == []
    with pytest.raises(UserError, match=r"r\.npz is of images of 1×8×8, the model's are 1×16×16"):
        load_reference(tmp_path / "r.npz", extractor, (1, 16, 16))


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("cifar", "unknown dataset 'cifar'; did you mean 'cifar10'"),
        ("nowhere.npz", "--reference nowhere.npz: no such file"),
        ("no/where", "--reference no/where: no such file"),
        (".", "--reference . is a folder; make a file of it with `samplerbench reference`"),
    ],
)
def test_what_is_no_reference(go, tmp_path, monkeypatch, reference, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        go(reference)
    assert "\n" not in str(error.value)


def test_names_of_datasets():
    assert [data.dataset_name(name) for name in ("cifar10", "CIFAR-100", "fashion_mnist", "MNIST")] == [
        "CIFAR10",
        "CIFAR100",
        "FashionMNIST",
        "MNIST",
    ]
