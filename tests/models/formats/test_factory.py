"""`FILE.py:function` and `package.module:function`: what is accepted, what is refused in one line."""

from __future__ import annotations

import pytest

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
        ("import torch", "import torhc", "torhc"),
    ],
)  # fmt: skip
def test_what_is_refused(write, old, new, message):
    assert old in GOOD
    with pytest.raises(UserError, match=message) as error:
        load_model(write(GOOD.replace(old, new)))
    assert "\n" not in str(error.value)


def test_what_fails_keeps_its_traceback(write):
    with pytest.raises(PluginError) as error:
        load_model(write(GOOD.replace("return x / 2", "return x @ label")))
    assert "in forward" in error.value.details


def test_a_file_that_is_not_there():
    with pytest.raises(UserError, match=r"nowhere\.py"):
        load_model("nowhere.py:model")
