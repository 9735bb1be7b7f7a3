"""guided-diffusion's noisy classifiers, against one laid out as theirs."""

import json

import pytest
import torch

import samplerbench
from samplerbench import UserError
from samplerbench.models.classifier import load_classifier
from samplerbench.models.guided import guided_epsilon
from samplerbench.plugins import load_plugins

from ..originals import difference, filled
from ..originals.guided import GuidedClassifier, GuidedUNet

pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore")  # diffusers' own deprecations

X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([7.0, 901.0])
FLAGS = {
    "image_size": 16,
    "classifier_width": 64,
    "classifier_attention_resolutions": "8,4",
    "classifier_depth": 1,
    "channel_mult": "1,1,2",
}
SHAPE = {"channels": 64, "multipliers": (1, 1, 2), "attention": (1, 2), "layers": 1}


def saved(path, state, **flags):
    torch.save(state, path)
    path.with_suffix(".json").write_text(json.dumps(FLAGS | flags))
    return path


@pytest.fixture(scope="module")
def original():
    return filled(GuidedClassifier(**SHAPE))


@pytest.mark.parametrize(("resblock_updown", "scale_shift", "depth"), [(True, True, 1), (False, False, 2)])
def test_the_classifier_is_the_original(tmp_path, resblock_updown, scale_shift, depth):
    original = filled(
        GuidedClassifier(resblock_updown=resblock_updown, scale_shift=scale_shift, **SHAPE | {"layers": depth})
    )
    flags = {"classifier_resblock_updown": resblock_updown, "classifier_use_scale_shift_norm": scale_shift}
    path = saved(tmp_path / "classifier.pt", original.state_dict(), classifier_depth=depth, **flags)
    found = load_classifier(path, "it")
    assert (found.classes, found.shape) == (10, (3, 16, 16))
    assert difference(original, found.network, X, LABELS) < 1e-5
    assert not any(module.training for module in found.network.modules())


def test_its_gradient_is_the_originals(original, tmp_path):
    """Which is what guidance takes of it."""
    found = load_classifier(saved(tmp_path / "classifier.pt", original.state_dict()), "it")
    gradients = []
    for network in (original, found.network):
        x = X.clone().requires_grad_()
        chosen = network(x, LABELS).log_softmax(-1)[[0, 1], [3, 9]]
        gradients.append(torch.autograd.grad(chosen.sum(), x)[0])
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)
    assert gradients[0].abs().max() > 1e-4


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"classifier_pool": "adaptive"}, "classifier_pool is 'adaptive', expected 'attention'"),
        ({"clasifier_depth": 2}, "'clasifier_depth'; did you mean 'classifier_depth'?"),
        ({"classifier_width": 0}, "classifier_width is a whole number above 0, got 0"),
        ({"image_size": None}, "image_size is a whole number above 0, got None"),
        ({"classifier_depth": 3}, "classifier.pt does not fit classifier.json: it lacks input_blocks."),
        ({"image_size": 32}, "out.2.positional_embedding is [128, 17], expected [128, 65]"),
    ],
)
def test_flags_that_do_not_fit(original, tmp_path, flags, expected):
    path = saved(tmp_path / "classifier.pt", original.state_dict(), **flags)
    if flags == {"image_size": 32}:
        path = saved(path, original.state_dict(), image_size=32, classifier_attention_resolutions="16,8")
    with pytest.raises(UserError) as caught:
        load_classifier(path, "it")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_none(original, tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        load_classifier(tmp_path / "classifier.pt", "it")
    path = saved(tmp_path / "classifier.pt", {n: v for n, v in original.state_dict().items() if "c_proj" not in n})
    with pytest.raises(UserError, match=r"is no classifier of guided-diffusion: it lacks out\.2\.c_proj\.weight"):
        load_classifier(path, "it")
    path.with_suffix(".json").unlink()
    with pytest.raises(UserError, match=r"has no classifier\.json, which holds the flags"):
        load_classifier(path, "it")


@pytest.mark.parametrize("classes", [0, 10])
def test_it_guides(original, tmp_path, classes):
    """A model with classes and one without, towards the class: ε - s σ ∇ log p(c|x_t), written anew."""
    network = filled(GuidedUNet(classes=classes))
    torch.save(network.state_dict(), tmp_path / "model.pt")
    flags = {"image_size": 16, "num_channels": 32, "channel_mult": "1,2,3", "attention_resolutions": "8"}
    flags |= {"num_head_channels": 16, "class_cond": bool(classes), "classifier_path": "classifier.pt"}
    (tmp_path / "model.json").write_text(json.dumps(flags))
    path = saved(tmp_path / "classifier.pt", original.state_dict())
    model = samplerbench.load_model(str(tmp_path / "model.pt"))
    assert path in model.checkpoint.files
    asked, chosen, t = ["3", "9"], torch.tensor([3, 9]), 500.0
    found = guided_epsilon(model, "float32", asked, load_plugins().guide("classifier:scale=2"))(X, t)
    label, x = torch.full((2,), t - 1), X.clone().requires_grad_()
    score = torch.autograd.grad(original(x, label).log_softmax(-1)[[0, 1], chosen].sum(), x)[0]
    with torch.no_grad():
        plain = network(X, label, chosen) if classes else network(X, label)
    expected = plain - 2 * float(model.schedule.sigma(t)) * score
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    drawn = samplerbench.sample("ddim", model, samples=2, steps=2, prompts=asked, guidance="classifier:scale=2")
    assert (drawn.nfe, drawn.passes) == (2, 4)
    saved(path, original.state_dict(), classifier_depth=3)
    with pytest.raises(UserError, match=r"classifier 'classifier\.pt': classifier\.pt does not fit classifier\.json"):
        samplerbench.load_model(str(tmp_path / "model.pt"))
