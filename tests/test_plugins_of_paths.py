"""Plugins that register spacings, paths and model formats."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import torch

import samplerbench
from samplerbench import Label, Preconditioning, TimeGrid, UserError
from samplerbench.check.mixture import GaussianMixture
from samplerbench.diffusion.paths import PATHS
from samplerbench.diffusion.spacing import SPACINGS
from samplerbench.errors import PluginError
from samplerbench.models.formats.own import save_model
from samplerbench.models.networks.unet import UNet, UNetConfig
from samplerbench.plugins import load_plugins

SINE = """
import numpy as np
from samplerbench import Spacing, hookimpl

class Sine(Spacing):
    name = "sine"

    def times(self, schedule, count, start):
        part = np.sin(np.linspace(0, np.pi / 2, count))
        return start + (schedule.t_min - start) * part

@hookimpl
def samplerbench_spacings(register):
    register(Sine)
"""
LAPLACE = """
from dataclasses import dataclass
import numpy as np
from samplerbench import NoiseSchedule, hookimpl

@dataclass(frozen=True)
class Logistic(NoiseSchedule):
    name = "logistic"
    width: float = 2.0
    t_min: float = 1e-3
    t_max: float = 0.999

    def half_log_snr(self, t):
        t = np.asarray(t, dtype=np.float64)
        with np.errstate(divide="ignore"):
            return self.width * (np.log1p(-t) - np.log(t))

    def time(self, half_log_snr):
        return 1 / (1 + np.exp(np.asarray(half_log_snr, dtype=np.float64) / self.width))

@hookimpl
def samplerbench_paths(register):
    register(Logistic)
"""
FORMAT = """
import json
from pathlib import Path
import torch
from samplerbench import Checkpoint, ModelFormat, Preconditioning, VPSchedule, hookimpl

class Linear(ModelFormat):
    name, about = "linear", "one number in a NAME.one"

    def recognises(self, spec):
        return spec.endswith(".one")

    def load(self, spec):
        if not Path(spec).is_file():
            raise FileNotFoundError(spec)

        class Net(torch.nn.Module):
            def forward(self, x, label):
                return FACTOR * x

        return Checkpoint(Net(), VPSchedule(), Preconditioning("epsilon", label={"kind": "time"}), (1, 4, 4),
                          files=(Path(spec),))

@hookimpl
def samplerbench_models(register):
    register(Linear)
"""


@pytest.fixture(autouse=True)
def _forgotten():
    """What the plugins of a test add is known in that test alone."""
    before = dict(SPACINGS), dict(PATHS)
    yield
    for table, entries in zip((SPACINGS, PATHS), before, strict=True):
        table.clear()
        table.update(entries)


@pytest.fixture
def plugin(tmp_path):
    """Writes a plugin and gives its file's name."""

    def write(text, name="mine.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return str(path)

    return write


def test_a_spacing_of_ones_own(plugin, command):
    registry = load_plugins([plugin(SINE)])
    assert [r.cls.name for r in registry.spacings] == ["sine"]
    schedule = samplerbench.VPSchedule()
    grid = TimeGrid.make(schedule, 6, "sine", "none")
    span = schedule.t_min - 1.0
    assert grid.times == pytest.approx([1 + span * np.sin(np.pi / 12 * i) for i in range(7)], rel=1e-12)
    assert (grid.times[0], grid.times[-1]) == (1.0, schedule.t_min)
    sampler = registry.sampler("ddim:spacing=sine")
    assert sampler.spec() == "ddim:spacing=sine"
    _, out, _ = command("list", "spacings", "--plugin", plugin(SINE))
    assert "sine" in out
    assert "mine.py" in out


def test_the_code_of_a_spacing_is_in_the_key(plugin, tmp_path, command, tiny_model):
    """A comment costs nothing; other code does, though the times are the same."""

    def key(text, folder):
        named = plugin(text, f"{folder}/mine.py")
        run = ["--model", tiny_model, "--samplers", "ddim:spacing=sine", "--nfe", 2, "--samples", 4]
        code, _, err = command("run", *run, "--plugin", named, "--out", tmp_path / folder / "out")
        assert code == 0, err
        return pd.read_csv(tmp_path / folder / "out" / "results.csv").key[0]

    one, commented, other = key(SINE, "a"), key(SINE + "# a comment", "b"), key(SINE + "MORE = 1", "c")
    assert one == commented
    assert one != other


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SINE.replace("return start +", "return None and start +"), r"Sine\.times gives float64 \[7\] where 7"),
        (SINE.replace("* part", "* part[::-1]"), r"Sine\.times gives decreasing times from t_max down"),
        (SINE.replace('"sine"', '"karras"'), "spacing 'karras' is samplerbench's own; choose another name"),
        (SINE.replace("Spacing, h", "h").replace("(Spacing)", ""), "subclass of samplerbench.Spacing"),
        (SINE.replace("def times", "def time"), "Sine does not define times"),
        (LAPLACE.replace("log1p(-t) - np.log(t)", "log(t) - np.log1p(-t)"), "half_log_snr is .inf at time 0"),
        (LAPLACE.replace("/ self.width))", "/ 3))"), r"Logistic\.time is not the inverse of half_log_snr"),
        (LAPLACE.replace('"logistic"', '"flow"'), "path 'flow' is samplerbench's own"),
        (LAPLACE.replace("t_max: float = 0.999", "t_max: float = 0"), "times go from t_min > 0 up to t_max"),
        (FORMAT.replace("def load", "def read"), "Linear does not define load"),
    ],
)  # fmt: skip
def test_what_is_none_is_refused_by_name(plugin, text, message):
    tables = dict(SPACINGS), dict(PATHS)
    with pytest.raises(PluginError, match=message):
        load_plugins([plugin(text)])
    assert tables == (SPACINGS, PATHS)


def test_a_path_of_ones_own(plugin, tmp_path):
    """A model's config.json names it, samplers are right on it, and its code counts in the model's hash."""
    registry = load_plugins([plugin(LAPLACE)])
    path = PATHS["logistic"](width=1.5)
    truth = GaussianMixture(path)
    x = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    exact = truth.solution(x, path.t_max, path.t_min)
    errors = [
        float((samplerbench.sample("dpm-solver:order=2", truth, path, x, steps=n).x0 - exact).abs().max())
        for n in (40, 80)
    ]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.25)

    network = UNet(UNetConfig((1, 8, 8), channels=(8,), blocks=1))
    save_model(tmp_path / "model", network, Preconditioning("epsilon", label=Label("time", 1000.0)), path)
    folder = tmp_path / "model"
    model = registry.model(str(folder))
    assert model.schedule == path
    assert registry.model(str(folder)).sha256 == model.sha256
    other = load_plugins([plugin(LAPLACE + "MORE = 1", "other.py")])
    assert other.model(str(folder)).sha256 != model.sha256


def test_a_format_of_ones_own(plugin, tmp_path, command):
    (tmp_path / "net.one").write_text("0.5")
    text = FORMAT.replace("FACTOR", "0.5").replace('label={"kind": "time"}', 'label=Label("time")')
    text = text.replace("Checkpoint, M", "Checkpoint, Label, M")
    model = samplerbench.load_model(str(tmp_path / "net.one"), [plugin(text)])
    assert model.format == "linear"
    epsilon = model.epsilon()
    x = torch.ones(2, 1, 4, 4)
    assert torch.equal(epsilon(x, 0.5), 0.5 * x)
    # its code counts in the hash
    other = samplerbench.load_model(str(tmp_path / "net.one"), [plugin(text.replace("0.5 * x", "0.25 * x"), "b.py")])
    assert other.sha256 != model.sha256
    with pytest.raises(PluginError, match=r"model 'no\.one': format 'linear' fails: .*no\.one"):
        samplerbench.load_model("no.one", [plugin(text)])
    wrong = text.replace("return Checkpoint(", "return dict(a=")
    wrong = wrong[: wrong.index("return dict(a=")] + "return 3\n" + wrong[wrong.index("\n@hookimpl") :]
    with pytest.raises(PluginError, match=r"format 'linear' gives int, expected a samplerbench\.Checkpoint"):
        samplerbench.load_model(str(tmp_path / "net.one"), [plugin(wrong, "c.py")])


@pytest.mark.parametrize(("text", "kind"), [(SINE, "spacing 'sine'"), (LAPLACE, "path 'logistic'")])
def test_two_of_one_name_are_an_error_at_once(plugin, command, text, kind):
    """Whoever of the two came last would win otherwise."""
    two = [word for name in ("one.py", "two.py") for word in ("--plugin", plugin(text, name))]
    code, _, err = command("list", "paths", *two)
    assert code == 2
    assert re.search(rf"two\.py: {kind} is registered by .*one\.py, too; choose another name", err)


def test_what_a_failing_plugin_registered_is_taken_back(plugin):
    load_plugins([plugin(LAPLACE, "good.py")])
    before = dict(SPACINGS), dict(PATHS)
    broken = SINE.replace("    register(Sine)", "    register(Sine)\n    raise ValueError('later')")
    with pytest.raises(PluginError, match="later"):
        load_plugins([plugin(broken, "broken.py")])
    rival = LAPLACE.replace("/ self.width))", "/ 3))")  # of the good one's name, and none
    with pytest.raises(PluginError, match="is not the inverse"):
        load_plugins([plugin(rival, "rival.py")])
    assert before == (SPACINGS, PATHS)


def test_a_spacing_that_gives_more_times_than_asked_for(plugin):
    load_plugins([plugin(SINE.replace("count))", "count if count == 7 else count + 2))"))])
    with pytest.raises(UserError, match=r"spacing 'sine' gives \[7\] times where 5 are asked for"):
        TimeGrid.make(samplerbench.VPSchedule(), 4, "sine", "none")


def test_files_that_a_path_depends_on_are_in_the_hash(plugin, tmp_path):
    """As far as they change the path."""
    text = LAPLACE.replace('name = "logistic"', 'name = "logistic"\n    depends_on = ("w.txt",)')
    text = text.replace("return self.width *", 'return float((Path(__file__).parent / "w.txt").read_text()) *')
    text = text.replace("/ self.width))", '/ float((Path(__file__).parent / "w.txt").read_text())))')
    text = "from pathlib import Path\n" + text
    network = UNet(UNetConfig((1, 8, 8), channels=(8,), blocks=1))
    (tmp_path / "w.txt").write_text("2")
    registry = load_plugins([plugin(text)])
    save_model(tmp_path / "m", network, Preconditioning("epsilon", label=Label("time")), PATHS["logistic"]())
    before = registry.model(str(tmp_path / "m")).sha256
    (tmp_path / "w.txt").write_text("1")
    assert registry.model(str(tmp_path / "m")).sha256 != before
