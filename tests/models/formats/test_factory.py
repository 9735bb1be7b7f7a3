"""`FILE.py:function` and `package.module:function`: what is accepted, what is refused in one line."""

from __future__ import annotations

import pytest
import torch

import samplerbench
from samplerbench import UserError
from samplerbench.errors import PluginError
from samplerbench.models.model import load_model

GOOD = """
import torch
from samplerbench import Checkpoint, Label, Preconditioning, VPSchedule

class Half(torch.nn.Module):
    def forward(self, x, label):
        return x / 2

def model():
    return Checkpoint(Half(), VPSchedule(), Preconditioning("v", label=Label("time")), (1, 4, 4))
"""


@pytest.fixture
def write(tmp_path):
    def of(text, name="net.py"):
        (tmp_path / name).write_text(text)
        return f"{tmp_path / name}:model"

    return of


def test_its_hash_is_that_of_its_code_and_files(write, tmp_path, monkeypatch):
    model = load_model(write(GOOD))
    assert (model.format, model.name.rpartition("/")[2]) == ("factory", "net.py:model")
    assert load_model(write(GOOD + "# a comment\n")).sha256 == model.sha256
    assert load_model(write(GOOD.replace("x / 2", "x / 3"))).sha256 != model.sha256
    helped = GOOD.replace("return x / 2", "return x / by.TWO").replace("import torch", "import torch\nimport by")
    (tmp_path / "by.py").write_text("TWO = 2")
    monkeypatch.syspath_prepend(tmp_path)
    assert "by" in load_model(write(helped, "helped.py")).checkpoint.code
    (tmp_path / "w.bin").write_bytes(b"1")
    filed = GOOD.replace("(1, 4, 4))", "(1, 4, 4), files=('w.bin',))")
    one = load_model(write(filed)).sha256
    (tmp_path / "w.bin").write_bytes(b"2")
    assert load_model(write(filed)).sha256 != one


def test_two_functions_of_a_file_and_other_weights_are_other_models(write, tmp_path):
    """Without `files`, and with one file that holds both: 248.05 was served for 499.70."""
    weighed = GOOD.replace("def forward", "def __init__(self, by):\n        super().__init__()\n"
                           "        self.register_buffer('by', torch.tensor(by), persistent=False)\n"
                           "    def forward").replace("x / 2", "x / self.by")  # fmt: skip
    place = write(
        "import pathlib\n"
        + weighed.replace("Half()", "Half(float(pathlib.Path(__file__ + '.txt').read_text()))")
        + "\nother = model\n"
    )
    found = []
    for value in ("2.0", "3.0", "2.0"):
        (tmp_path / "net.py.txt").write_text(value)
        found.append(load_model(place).sha256)
    assert found[0] == found[2] != found[1]
    assert load_model(place.replace(":model", ":other")).sha256 != found[0]


def test_a_module_on_the_path(write, tmp_path, monkeypatch):
    write(GOOD, "a_network_of_mine.py")
    monkeypatch.syspath_prepend(tmp_path)
    assert load_model("a_network_of_mine:model").sample_shape == (1, 4, 4)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("return Checkpoint(", "return list(map(str, (1,))) or (", r"model\(\) returns list, expected a samp"),
        ("return Checkpoint(", "raise SystemExit(3)\n    return Checkpoint(", "SystemExit"),
        ("return Checkpoint(", "return Missing(", "name 'Missing' is not defined"),
        ("return x / 2", "return x[:, :, :2]", r"gives \[1, 1, 2, 4\] for x \[1, 1, 4, 4\], expected \[1, 1, 4, 4\]"),
        ("return x / 2", "return (x, x)", "its network gives tuple for x"),
        ("return x / 2", "return x @ label", r"network\(x \[1, 1, 4, 4\], label \[1\]\) fails: "),
        ("return x / 2", "return torch.cat([x, x], 1)", r"its network gives \[1, 2, 4, 4\]"),
        ("def model", "def network", r"unknown function of .*net\.py 'model' \(known: .*network\)"),
        ('"v"', '"velocity"', "belongs to a flow"),
        ('"v"', '"eps"', "unknown prediction 'eps'; did you mean"),
        ('Label("time")', 'Label("index")', "label 'index' belongs to a discrete schedule"),
        ("(1, 4, 4))", "(1, 4, 4), files=('gone.pt',))", r"its files name .*gone\.pt, which is not there"),
        ("import torch", "import torhc", "it imports torhc, which is not installed; where it is .*PYTH"),
        ("import torch", "import torch.nnn", "it imports torch.nnn, and torch has no such module"),
        ("    return Ch", "    import torhc\n    return Ch", "it imports torhc, which is not installed"),
        ("(1, 4, 4))", "(1, 4, 4), reference='gone.npz')", r"its reference is /.*gone\.npz, which is not there"),
        ('Preconditioning("v", label=Label("time"))', '"v"', "preconditioning of a Checkpoint is a Precond.*, got 'v'"),
        ("VPSchedule()", '"linear"', "schedule of a Checkpoint is a NoiseSchedule, or a mapping .*, got 'linear'"),
        ("VPSchedule()", "None", "schedule of a Checkpoint is .*, got None"),
        ("VPSchedule()", '{"kind": "vpp"}', "unknown schedule 'vpp'; did you mean 'vp'"),
        ("Half()", "Half", "network of a Checkpoint is a torch.nn.Module, got <class "),
        *(
            ("(1, 4, 4)", shape, "sample_shape of a Checkpoint is a tuple .C, H, W. of whole numbers above 0, got ")
            for shape in ("(28, 28)", "(1, 0, 28)", "[1, 4, 4]", "(1, 4, True)", "(1, 4.0, 4)", "28", "None")
        ),
        *(
            ("(1, 4, 4))", f"(1, 4, 4), {name}={value})", f"{name} of a Checkpoint is .*, got {value}")
            for name, value in {
                "extractor": 5, "dataset": 5, "reference": 5, "files": "'w.bin'", "notes": "'a'", "code": 5,
                "learned_range": 1, "training": 5, "architecture": 5, "other_weights": 5,
            }.items()
        ),
        *(
            ("(1, 4, 4))", f"(1, 4, 4), mean_squares={table})", message)
            for table, message in {
                "3": "mean_squares is a JSON object, got 3",
                "{'times': [1, 2]}": "mean_squares lacks 'values'",
                "{'times': [2, 1], 'values': [1, 1]}": "mean_squares: times is a list of increasing numbers",
                "{'times': [1, 2], 'values': [1]}": "mean_squares: values is a list .* as long as times",
            }.items()
        ),
        ("(1, 4, 4))", "(1, 4, 4), files=(5,))", "files of a Checkpoint is a tuple of paths, got 5 in it"),
        ("x / 2", "x / 0", "its network gives values that are not finite for standard normal x and label 0.5005"),
        ("x / 2", "x * torch.log(label - 1)", "its network gives values that are not finite"),
    ],
)  # fmt: skip
def test_what_is_refused(write, old, new, message):
    assert old in GOOD
    with pytest.raises(UserError, match=message) as error:
        load_model(write(GOOD.replace(old, new)))
    assert "\n" not in str(error.value)


def test_code_that_no_hash_holds_is_refused_unless_it_is_named(write, tmp_path):
    (tmp_path / "aside.py").write_text("TWO = 2")
    text = GOOD.replace(
        "class Half", "import runpy\nTWO = runpy.run_path(__file__[:-6] + 'aside.py')['TWO']\n\nclass Half"
    )
    with pytest.raises(PluginError, match=r"line \d+: runpy.* runs code that its hash would not hold; import it, or"):
        load_model(write(text, "net.py"))
    named = text.replace("(1, 4, 4))", "(1, 4, 4), files=('aside.py',))")
    before = load_model(write(named, "net.py")).sha256
    (tmp_path / "aside.py").write_text("TWO = 3")
    assert load_model(write(named, "net.py")).sha256 != before


def test_what_it_says_is_in_the_hash_wherever_it_has_it_from(write, tmp_path):
    (tmp_path / "beta.txt").write_text("20")
    text = GOOD.replace("VPSchedule()", "VPSchedule(beta_1=float(Path(__file__[:-6] + 'beta.txt').read_text()))")
    text = text.replace("import torch", "from pathlib import Path\nimport torch")
    before = load_model(write(text)).sha256
    (tmp_path / "beta.txt").write_text("2")
    assert load_model(write(text)).sha256 != before


def test_a_path_of_its_own_is_checked(write):
    path = """
import numpy as np
from samplerbench import NoiseSchedule

class Falling(NoiseSchedule):
    name, t_min, t_max = "falling", 0.01, 0.99

    def half_log_snr(self, t):
        return -np.log(np.asarray(t, dtype=np.float64))

    def time(self, half_log_snr):
        return np.exp(-np.asarray(half_log_snr))

    def config(self):
        return {"kind": "falling"}

class Half"""
    text = GOOD.replace("class Half", path).replace("VPSchedule()", "Falling()")
    assert load_model(write(text)).schedule.t_max == 0.99
    with pytest.raises(UserError, match=r"half_log_snr is \+inf at time 0 and decreases"):
        load_model(write(text.replace("-np.log", "np.log")))
    with pytest.raises(UserError, match=r"Falling\.time is not the inverse"):
        load_model(write(text.replace("np.exp(-np", "np.exp(+np")))


def test_the_convention_is_judged_before_the_output(write):
    """The label that no path of this kind has is what makes the output NaN."""
    text = GOOD.replace("x / 2", "torch.log(label - 499) * x").replace('label=Label("time")', "")
    with pytest.raises(UserError, match="label 'index' belongs to a discrete schedule"):
        load_model(write(text))


def test_what_fails_keeps_its_traceback(write):
    with pytest.raises(PluginError) as error:
        load_model(write(GOOD.replace("return x / 2", "return x @ label")))
    assert "in forward" in error.value.details


def test_a_module_beside_it_is_found_by_pythonpath(write, tmp_path):
    (tmp_path / "a_helper_beside.py").write_text("TWO = 2")
    text = GOOD.replace("import torch", "import a_helper_beside\nimport torch")
    with pytest.raises(PluginError) as error:
        load_model(write(text))
    line = f"it imports a_helper_beside, which lies beside it; call samplerbench with PYTHONPATH={tmp_path}"
    assert str(error.value).endswith(line)
    assert error.value.details == ""


def test_files_and_reference_lie_beside_the_module(write, tmp_path, monkeypatch):
    for name in ("w.bin", "r.npz"):
        (tmp_path / name).write_bytes(b"1")
    monkeypatch.chdir("/")
    for reference in ("'r.npz'", f"Path({str(tmp_path / 'r.npz')!r})"):
        text = GOOD.replace("(1, 4, 4))", f"(1, 4, 4), files=('w.bin',), reference={reference})")
        model = load_model(write(text.replace("import torch", "from pathlib import Path\nimport torch")))
        assert model.reference == tmp_path / "r.npz"
        assert model.checkpoint.files == (tmp_path / "w.bin",)


def test_a_file_that_is_not_there():
    with pytest.raises(UserError, match=r"nowhere\.py"):
        load_model("nowhere.py:model")


LATENT = """
from pathlib import Path

import torch
from samplerbench import Checkpoint, linear_schedule
from samplerbench.models.condition import Classes
from samplerbench.models.preconditioning import Preconditioning


class Network(torch.nn.Module):
    def forward(self, x, label, labels):
        return x * labels.view(-1, 1, 1, 1)


class Decoder:
    def __init__(self, factor, scale):
        self.module, self.image_shape, self.scale = torch.nn.Conv2d(1, 1, 1), (1, 4, 4), torch.tensor([scale])
        torch.nn.init.constant_(self.module.weight, factor)
        torch.nn.init.zeros_(self.module.bias)

    def decode(self, latents):
        return self.module(latents * self.scale)


def made():
    factor, scale = map(float, Path("weights.txt").read_text().split())
    return Checkpoint(
        network=Network(), schedule=linear_schedule(), preconditioning=Preconditioning("epsilon"),
        sample_shape=(1, 4, 4), decoder=Decoder(factor, scale), conditioner=Classes(3),
    )
"""


def test_a_conditional_latent_model_from_a_function(tmp_path, monkeypatch):
    """What a decoder holds counts in the hash, be it from a file that nobody names, and be it changed in memory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(LATENT)
    hashes = []
    for text in ("2 1", "3 1", "2 1.5"):
        (tmp_path / "weights.txt").write_text(text)
        model = load_model("mine.py:made")
        hashes.append(model.sha256)
    assert len({*hashes}) == 3
    assert model.current() is model
    model.checkpoint.decoder.scale += 1
    assert model.current().sha256 != model.sha256
    drawn = samplerbench.sample("ddim", model, samples=3, steps=2, prompts=["0", "2"])
    torch.testing.assert_close(drawn.images, drawn.x0 * 5)
