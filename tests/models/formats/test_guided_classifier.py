"""guided-diffusion's noisy classifiers, against one laid out as theirs."""

import json

import pytest
import torch

from samplerbench import UserError
from samplerbench.models.formats.guided_classifier import load_classifier

from ..originals import difference, filled
from ..originals.guided import GuidedClassifier

pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore")  # diffusers' own deprecations

X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([7.0, 901.0])
FLAGS = {"image_size": 16, "classifier_width": 64, "classifier_attention_resolutions": "8,4", "classifier_depth": 1}
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
    found = load_classifier(path, "1,1,2")
    assert (found.classes, found.sample_shape) == (10, (3, 16, 16))
    assert difference(original, found, X, LABELS) < 1e-5
    assert not any(module.training for module in found.modules())


def test_its_gradient_is_the_originals(original, tmp_path):
    """Which is what guidance takes of it."""
    found = load_classifier(saved(tmp_path / "classifier.pt", original.state_dict()), "1,1,2")
    gradients = []
    for network in (original, found):
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
        load_classifier(path, "1,1,2")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_none(original, tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        load_classifier(tmp_path / "classifier.pt")
    path = saved(tmp_path / "classifier.pt", {n: v for n, v in original.state_dict().items() if "c_proj" not in n})
    with pytest.raises(UserError, match=r"is no classifier of guided-diffusion: it lacks out\.2\.c_proj\.weight"):
        load_classifier(path, "1,1,2")
    path.with_suffix(".json").unlink()
    with pytest.raises(UserError, match=r"has no classifier\.json, which holds the flags"):
        load_classifier(path)
