"""Classifier guidance: with the exact classifier of noisy samples a model of everything becomes one of a class."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from torch import nn

import samplerbench
from samplerbench import UserError, linear_schedule
from samplerbench.check.mixture import GaussianMixture
from samplerbench.diffusion.guidance import ClassifierGuidance
from samplerbench.models.classifier import Classifier, load_classifier, save_classifier
from samplerbench.models.condition import Classes
from samplerbench.models.formats.format import Checkpoint
from samplerbench.models.formats.own import note_parts
from samplerbench.models.guided import Guide, guided_epsilon
from samplerbench.models.model import Model, load_model
from samplerbench.models.networks.classifier import NoisyClassifier, NoisyClassifierConfig
from samplerbench.models.preconditioning import Preconditioning
from samplerbench.models.predictor import ModelEpsilon, NoisePredictor
from samplerbench.plugins import load_plugins

PATH = linear_schedule()
MEANS, DEVIATIONS, WEIGHTS = (-1.0, 0.2, 1.1), (0.2, 0.3, 0.25), (0.3, 0.5, 0.2)
OF_CLASS = [GaussianMixture(PATH, MEANS[k : k + 1], DEVIATIONS[k : k + 1], (1.0,)) for k in range(3)]
ONE = (1, 1, 1)  # a pixel, so that a sample's class is that of its one coordinate


class Everything(nn.Module):
    """The exact ε of all classes."""

    def forward(self, x, label):
        return GaussianMixture(PATH, MEANS, DEVIATIONS, WEIGHTS).exact(x, label.double() + 1)


class Posterior(nn.Module):
    """The exact log p(c|x_t), but for a constant."""

    def forward(self, x, label):
        t = (label.double() + 1).numpy()
        alpha, sigma = (torch.from_numpy(f(t))[:, None] for f in (PATH.alpha, PATH.sigma))
        means, deviations, weights = (torch.tensor(v).double() for v in (MEANS, DEVIATIONS, WEIGHTS))
        variance = (alpha * deviations) ** 2 + sigma**2
        return weights.log() - 0.5 * variance.log() - 0.5 * (x.view(-1, 1) - alpha * means) ** 2 / variance


def model_of(**said):
    network, convention = Everything(), Preconditioning("epsilon")
    given = {"conditioner": Classes(3, argument=None), "classifier": Classifier(Posterior(), ONE, 3), **said}
    checkpoint = Checkpoint(network, PATH, convention, ONE, **given)
    return Model("exact", "factory", NoisePredictor(network, convention).eval(), PATH, checkpoint, "0" * 64)


@pytest.fixture
def x():
    return torch.randn(4, *ONE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


ASKED = ["0", "1", "2", "1"]


def guided(scale, asked=ASKED, **options):
    guide = Guide(ClassifierGuidance(scale=scale, **options))
    guide.check(model_of())
    return guided_epsilon(model_of(), "float64", asked, guide)


@pytest.mark.parametrize("t", [1.0, 250.0, 700.5, 1000.0])
def test_a_scale_of_one_gives_the_class_and_others_lean(x, t):
    plain, exact = (
        Everything()(x, torch.tensor([t - 1])),
        torch.cat([OF_CLASS[int(c)].exact(one[None], t) for one, c in zip(x, ASKED, strict=True)]),
    )
    for scale in (0.5, 1.0, 3.0):
        expected = plain + scale * (exact - plain)
        found = guided(scale)
        torch.testing.assert_close(found(x, t), expected)
        alpha, sigma = float(PATH.alpha(t)), float(PATH.sigma(t))
        torch.testing.assert_close(found.x0(x, t), (x - sigma * expected) / alpha)
        assert found.passes(t) == 2
    assert isinstance(guided_epsilon(model_of(), "float64", ASKED, Guide(ClassifierGuidance(scale=0))), ModelEpsilon)


def test_rows_and_times_of_their_own(x):
    times = torch.tensor([100.0, 900.0, 5.0, 400.0], dtype=torch.float64)
    found, some = guided(2.0), torch.tensor([3, 0])
    whole = found(x, times)
    for i, t in enumerate(times.tolist()):
        torch.testing.assert_close(whole[i : i + 1], guided(2.0, ASKED[i : i + 1])(x[i : i + 1], t))
    torch.testing.assert_close(found.of_rows(some)(x[some], times[some]), whole[some])


def test_outside_its_interval_and_where_alpha_is_0_the_classifier_is_not_asked(x):
    assert guided(2.0, high=1.0).passes(900.0) == 1
    zero = samplerbench.FlowSchedule()
    assert not ClassifierGuidance(scale=2.0).inside(zero, zero.t_max)


@pytest.fixture
def folder(tiny_model, tmp_path):
    """The tiny model with a classifier beside it."""
    path = tmp_path / "classified" / "model"
    shutil.copytree(tiny_model, path)
    torch.manual_seed(0)
    network = NoisyClassifier(NoisyClassifierConfig((1, 28, 28), 10, patch=4, channels=(8,), blocks=1))
    save_classifier(path / "classifier", network)
    note_parts(path)
    return path


def test_a_folder_is_read_back(folder):
    found = load_model(str(folder))
    x, label = torch.randn(2, 1, 28, 28), torch.tensor([3.0, 700.0])
    again = load_classifier(folder / "classifier", "it")
    assert again.sha256 == found.checkpoint.classifier.sha256
    torch.testing.assert_close(found.checkpoint.classifier.network(x, label), again.network(x, label))
    assert found.conditioner.default == tuple("0123456789")


def test_a_run_counts_passes_and_weights_are_in_the_key(folder, tiny_model, tmp_path):
    run = {"nfe": 4, "samples": 6, "guidance": ["0.5", "classifier:scale=3"], "batch_size": 4}
    with pytest.raises(UserError, match="has no null condition"):
        samplerbench.run("ddim", model=folder, **run)
    run["guidance"] = ["classifier:scale=0", "classifier:scale=3", f"classifier:scale=3:model={folder / 'classifier'}"]
    found = samplerbench.run("ddim,dpm", model=folder, out=tmp_path / "out", **run, metrics="fid,class_accuracy")
    assert found["status"].tolist() == ["done"] * 6
    assert found["passes"].tolist() == [4, 4, 8, 8, 8, 8]
    assert found["guidance"].tolist()[:3] == ["", "", "classifier:scale=3"]
    assert found["fid"][2] != found["fid"][0]
    assert found["fid"].tolist()[2:4] == found["fid"].tolist()[4:]
    assert found["key"].nunique() == 6
    two = samplerbench.run("ddim", model=folder, out=tmp_path / "two", workers=1, fresh=True, **run)
    assert two["fid"].tolist() == found["fid"].tolist()[::2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classifier": None}, r"model 'exact' has no classifier of noisy samples; name one with :model=FOLDER"),
        ({"conditioner": None}, r"model 'exact' is asked for no class to lean towards"),
        (
            {"classifier": Classifier(Posterior(), (1, 2, 2), 3)},
            r"\[1, 2, 2\], samples of the model are \[1, 1, 1\]",
        ),
    ],
)
def test_models_that_cannot_be_guided(change, message):
    with pytest.raises(UserError, match=message):
        Guide(ClassifierGuidance(scale=2)).check(model_of(**change))


def test_classes_that_the_classifier_does_not_know(x):
    model = model_of(classifier=Classifier(Posterior(), ONE, 2))
    with pytest.raises(UserError, match="class 2 is asked for, and the classifier knows 0 to 1"):
        guided_epsilon(model, "float64", ASKED, Guide(ClassifierGuidance()))
    epsilon = guided_epsilon(model, "float64", ["0", "1"], Guide(ClassifierGuidance()))
    with pytest.raises(UserError, match=r"gives \[2, 3\], expected logits of shape \[2, 2\]"):
        epsilon(x[:2], 3.0)
    with pytest.raises(UserError, match="a number from 0 to 2"):
        model_of().rows(["3"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "vae"}, "expected kind 'classifier' and format 1, got 'vae' 1"),
        ({"architecture": {"image_shape": [1, 28, 28]}}, "needs 'classes'"),
        ({"architecture": {"image_shape": [1, 28, 28], "classes": 10, "patch": 5}}, "are not divisible by"),
        ({"architecture": 3}, "architecture is a JSON object, got 3"),
        ({"architecture": {"image_shape": [1, 28, 28], "classes": 10}}, "does not fit"),
    ],
)
def test_bad_folders(folder, change, message):
    path = folder / "classifier/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        load_classifier(folder / "classifier", "classifier 'x'")
    with pytest.raises(UserError, match="classifier is another than the one that the model was trained with"):
        load_model(str(folder))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("classifier:scale=-1", "classifier: scale is a number from 0 up, 0 for no guidance, got -1"),
        ("classifier:scale=nan", "scale is a number, got 'nan'"),
        ("classifier:scale=1:model=none", "classifier 'none'.*config.json"),
    ],
)
def test_bad_specs(spec, message):
    with pytest.raises(UserError, match=message):
        load_plugins().guide(spec)
