"""Finding and loading plugins."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from samplerbench import UserError, plugins
from samplerbench.errors import PluginError
from samplerbench.plugins import load_plugins

GOOD = """
from dataclasses import dataclass
from samplerbench import Sampler, hookimpl

@dataclass(frozen=True, kw_only=True)
class Mine(Sampler):
    name = "NAME"

    def sample(self, eps, grid, x, noise):
        return x

@hookimpl
def samplerbench_samplers(register):
    register(Mine)
"""


def write(folder, name="mine", file="mine.py", text=GOOD):
    path = folder / file
    path.write_text(text.replace("NAME", name))
    return path


def test_the_shipped_samplers_come_through_the_entry_point():
    found = {r.cls.name: r for r in load_plugins().samplers}
    assert {"ddpm", "ddim", "dpm-solver"} <= found.keys()
    assert found["ddim"].distribution.startswith("samplerbench ")
    assert found["ddim"].cls.__module__ == "samplerbench_plugins.ddim"


def test_a_file_a_folder_and_a_module(tmp_path, monkeypatch):
    write(tmp_path, "one", "one.py")
    write(tmp_path, "two", "two.py")
    write(tmp_path, "hidden", "_helper.py", "raise RuntimeError('not a plugin')")
    assert load_plugins([str(tmp_path / "one.py")]).sampler("one").name == "one"
    registry = load_plugins([str(tmp_path)])
    assert {"one", "two"} <= {r.cls.name for r in registry.current()}
    monkeypatch.syspath_prepend(tmp_path)
    assert load_plugins(["two"]).sampler("two").name == "two"


def test_a_named_plugin_replaces_a_shipped_sampler_and_says_so(tmp_path):
    path = write(tmp_path, "ddim")
    registry = load_plugins([str(path)])
    assert registry.entry("ddim").distribution == str(path)
    assert any(
        "sampler 'ddim'" in notice and "replaces that of samplerbench" in notice for notice in registry.notices()
    )


def test_two_at_one_level_are_an_error_when_used(tmp_path):
    first, second = write(tmp_path, "mine", "a.py"), write(tmp_path, "mine", "b.py")
    registry = load_plugins([str(first), str(second)])
    assert registry.sampler("ddim").name == "ddim"
    with pytest.raises(UserError, match=r"'mine' is registered by .*a\.py and .*b\.py; uninstall one"):
        registry.entry("mine")


def test_a_name_beats_an_alias(tmp_path):
    registry = load_plugins([str(write(tmp_path, "dpm"))])
    assert registry.sampler("dpm").name == "dpm"
    assert registry.sampler("dpm-solver").name == "dpm-solver"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def broken(:\n", "line 1: invalid syntax"),
        ("x = 1\n", "registers nothing: its function samplerbench_samplers is missing"),
        (GOOD.replace("@hookimpl", ""), "samplerbench_samplers lacks @hookimpl"),
        (GOOD.replace("samplerbench_samplers", "samplerbench_sampler"), "did you mean 'samplerbench_samplers'? ("),
        (
            GOOD.replace("@hookimpl", "").replace("samplerbench_samplers", "samplerbench_sampler"),
            "samplerbench_samplers is missing, or never calls register(cls); unknown hook 'samplerbench_sampler'; did",
        ),
        (GOOD.replace("name =", "nmae ="), "Mine has no name, by which it would be called; write name ="),
        (GOOD.replace("register)", "regsiter)"), "regsiter"),
        (GOOD.replace("register(Mine)", "register(Mine())"), "takes a subclass of samplerbench.Sampler"),
        (GOOD.replace("def sample(", "def smaple("), "Mine does not define sample"),
        (GOOD.replace("NAME", "a b"), "must be a word"),
        (GOOD.replace("register(Mine)", "1 / 0"), "registering failed: ZeroDivisionError"),
        ("raise ValueError('no licence')\n", "ValueError: no licence"),
        ("import torhc\n", "it imports torhc, which is not installed"),
    ],
)
def test_broken_named_plugins(tmp_path, text, message):
    path = write(tmp_path, text=text)
    with pytest.raises(PluginError) as error:
        load_plugins([str(path)])
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert load_plugins().problems == []


def test_a_syntax_error_of_a_helper_is_the_helpers(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    helper = tmp_path / "helper_in_pieces.py"
    helper.write_text("x = 1\ndef broken(:\n")
    path = write(tmp_path, text="import helper_in_pieces\n")
    with pytest.raises(PluginError, match=rf"{path}: it imports {helper}, line 2: invalid syntax"):
        load_plugins([str(path)])


def test_two_classes_of_one_file_are_told_apart(tmp_path):
    path = write(tmp_path, "mine")
    text = path.read_text()
    path.write_text(
        text
        + text.replace("Mine", "Other").split("@hookimpl")[0]
        + """
@hookimpl
def samplerbench_samplers(register):
    register(Mine)
    register(Other)
"""
    )
    with pytest.raises(
        UserError, match=r"sampler 'mine' is Mine of .*\.py and Other of .*\.py; give one of them another"
    ):
        load_plugins([str(path)]).entry("mine")


def test_the_traceback_of_a_plugins_own_error_is_kept(tmp_path):
    path = write(tmp_path, text="def f():\n    raise ValueError('no licence')\nf()\n")
    with pytest.raises(PluginError) as error:
        load_plugins([str(path)])
    assert f'File "{path}", line 2, in f' in error.value.details


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.py", "no such file"),
        ("no_such_module", "expected FILE.py, a FOLDER or a module"),
        (".relative", "expected FILE.py, a FOLDER or a module"),
        ("empty", "the folder has no .py files"),
    ],
)
def test_plugins_that_are_not_there(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(PluginError, match=message):
        load_plugins([name])


def test_a_broken_installed_plugin_is_reported_and_the_others_load(tmp_path, monkeypatch):
    write(tmp_path, text="import torhc\n", file="broken_plugin.py")
    write(tmp_path, "fine", "fine_plugin.py")
    monkeypatch.syspath_prepend(tmp_path)
    own = plugins._entry_points()
    extra = [EntryPoint(n, f"{n}_plugin", "samplerbench") for n in ("broken", "fine")]
    monkeypatch.setattr(plugins, "_entry_points", lambda: [*extra, *own])
    registry = load_plugins()
    assert registry.sampler("fine").name == "fine"
    assert registry.sampler("ddim").name == "ddim"
    (problem,) = registry.problems
    assert "plugin 'broken'" in str(problem)
    assert "No module named 'torhc'" in str(problem)
    assert "Traceback" in problem.details


def test_the_hash_of_its_code_changes_with_the_code_and_with_nothing_else(tmp_path):
    def hashed(folder, text):
        (tmp_path / folder).mkdir()
        return load_plugins([str(write(tmp_path / folder, text=text))]).entry("mine").code_sha256

    before = hashed("a", GOOD)
    assert hashed("b", GOOD) == before
    assert hashed("c", '"""A docstring."""\n' + GOOD + "# a comment\n") == before
    assert hashed("d", GOOD + "K = 1\n") != before


def test_loading_plugins_does_not_import_torch():
    code = "import sys; from samplerbench.plugins import load_plugins; load_plugins().sampler('ddim'); "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
