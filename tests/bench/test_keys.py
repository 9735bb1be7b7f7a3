"""Keys: whatever a number depends on is in its key, and nothing else is."""

from __future__ import annotations

import ast
import importlib
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

import samplerbench
from samplerbench import UserError, code, modules, syntax
from samplerbench.bench.cell import Cell, plain_options
from samplerbench.errors import PluginError
from samplerbench.plugins import load_plugins

SAMPLER = """
from dataclasses import dataclass
from samplerbench import Sampler, hookimpl
{imports}
@dataclass(frozen=True, kw_only=True{more})
class Mine(Sampler):
    name = "mine"
    k: float = 1.0
    {member}
    def sample(self, eps, grid, x, noise):
        {first}
        return ({returned}).clamp(-1, 1)

@hookimpl
def samplerbench_samplers(register):
    register(Mine)
"""


def write(folder, name="mine.py", imports="", more="", member="", first="pass", returned="x * self.k"):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(SAMPLER.format(imports=imports, more=more, member=member, first=first, returned=returned))
    return str(path)


CACHED = (modules._sites, modules._prefixes, modules.is_installed, modules.distribution_of, modules.version_of)


@pytest.fixture
def anew(monkeypatch):
    """Forgets modules and what is known of code, as a new process has."""

    def forget(*names):
        for name in names:
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        for cached in CACHED:
            cached.cache_clear()
        monkeypatch.setattr(code, "_seen", {})
        monkeypatch.setattr("samplerbench.plugins._brought", {})

    forget(*(name for name in sys.modules if "_of_mine" in name or name.startswith(code.NAMED)))
    yield forget
    for cached in CACHED:
        cached.cache_clear()


@pytest.fixture
def go(tiny_model, tmp_path):
    def run(samplers, out="out", **options):
        options = {"samples": 20, "nfe": [2], "model": str(tiny_model), "device": "cpu"} | options
        return samplerbench.run(samplers, out=tmp_path / out, **options)

    return run


def hashed(plugin, name="mine"):
    return load_plugins([plugin]).entry(name).code_sha256


def test_our_samplers_are_all_their_files():
    found = load_plugins().entry("dpm-solver").code
    assert {"samplerbench_plugins.dpm_solver", "samplerbench_plugins.dpm_solver_steps"} <= set(found)


def test_every_field_of_a_cell_is_in_its_key():
    values = {
        "model": "a",
        "sampler": "ddim",
        "options": (("eta", "0.0"),),
        "code": "b",
        "axis": "nfe",
        "value": 5,
        "times": (9.0, 0.0),
        "seed": 0,
        "asked": "h",
        "guidance": ("2", "", ""),
        "dtype": "float32",
        "compiled": "no",
        "device": "cpu",
        "extractor": ("c", "d", "e", "f"),
        "core": "f",
        "torch": "2",
    }
    assert list(values) == [f.name for f in fields(Cell)]
    cell = Cell(**values)
    other = {
        "options": (("eta", "0"),),
        "axis": "steps",
        "times": None,
        "guidance": (),
        "extractor": ("c", "d", "e", "g"),
    }
    for name, value in values.items():
        change = other.get(name, value + 1 if isinstance(value, int) else f"{value}!")
        assert replace(cell, **{name: change}).key != cell.key, name
    assert Cell(**values).key == cell.key


def test_options_are_told_apart_by_type():
    samplers = [load_plugins().sampler(spec) for spec in ("ddim", "ddim:eta=0.5", "ddim:clip=x0")]
    assert len({plain_options(sampler) for sampler in samplers}) == 3
    assert ("eta", "0.5") in plain_options(samplers[1])


@pytest.mark.parametrize("more", ["", ", slots=True"])
def test_options_of_a_class_with_slots_count(go, tmp_path, more):
    plugin = write(tmp_path / "plugin", more=more)
    frame = go("mine:k=0.5,mine:k=2", plugins=[plugin])
    assert frame["key"].nunique() == 2
    assert frame["fid"][0] != frame["fid"][1]
    alone = go("mine:k=2", "alone", plugins=[plugin], fresh=True)
    assert alone["fid"][0] == frame["fid"][1]


def test_what_a_sampler_keeps_of_itself_changes_no_key_and_no_row(go, tmp_path):
    """A cached property, a tensor and a list kept on the instance are no options: in no key, and in nobody's way."""
    plugin = write(
        tmp_path / "plugin",
        imports="from functools import cached_property",
        member="@cached_property\n    def doubled(self):\n        return 2 * self.k",
        first="object.__setattr__(self, '_x', x); object.__setattr__(self, '_all', [x])",
        returned="x * self.doubled",
    )
    first = go("mine", plugins=[plugin])
    again = go("mine", plugins=[plugin])
    assert first["key"].tolist() == again["key"].tolist()
    assert len(go("mine,ddim", plugins=[plugin])) == 2


def test_an_option_that_is_a_list_is_one_line(tmp_path):
    plugin = write(
        tmp_path / "plugin",
        imports="from dataclasses import field",
        member="these: list = field(default_factory=list)",
    )
    with pytest.raises(PluginError, match=r"Mine\.these is of type list; an option is int, float, bool, str"):
        load_plugins([plugin])


class TestPluginCode:
    HELPER = "def scale():\n    return 0.5\n"

    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.syspath_prepend(str(tmp_path / "lib"))
        (tmp_path / "lib").mkdir()
        return tmp_path / "lib"

    @pytest.mark.parametrize(
        ("imports", "first"),
        [
            ("import helper_of_mine", "pass"),
            ("from helper_of_mine import scale", "pass"),
            ("from helper_of_mine import *", "pass"),
            ("import importlib\nhelper = importlib.import_module('helper' + '_of_mine')", "pass"),
            ("", "import helper_of_mine"),
            ("", "from helper_of_mine import scale"),
        ],
    )
    def test_a_helper_module_counts_however_it_is_imported(self, folder, tmp_path, anew, imports, first):
        plugin = write(tmp_path / "plugin", imports=imports, first=first)
        helper = folder / "helper_of_mine.py"
        helper.write_text(self.HELPER)
        before = hashed(plugin)
        anew("helper_of_mine")
        helper.write_text(self.HELPER.replace("0.5", "0.4"))
        changed = hashed(plugin)
        assert changed != before
        anew("helper_of_mine")
        helper.write_text('"""Half."""\n' + self.HELPER + "# no change\n")
        assert hashed(plugin) == before

    @pytest.mark.parametrize("name", ["calendar", "this", "mine"])
    def test_a_helper_counts_that_has_the_name_of_another_module(self, folder, tmp_path, anew, monkeypatch, name):
        """Of one of the standard library's, which it comes before, or of the plugin's own file."""
        monkeypatch.delitem(sys.modules, name, raising=False)
        plugin = write(tmp_path / "plugin", imports=f"from {name} import scale")
        helper = folder / f"{name}.py"
        helper.write_text(self.HELPER)
        before = hashed(plugin)
        anew(name)
        helper.write_text(self.HELPER.replace("0.5", "0.4"))
        assert hashed(plugin) != before
        anew(name)

    def test_a_helper_counts_that_puts_another_object_in_its_place(self, folder, tmp_path, anew):
        plugin = write(tmp_path / "plugin", imports="import helper_of_mine")
        text = "import sys\nclass It:\n    k = 0.5\nsys.modules[__name__] = It()\n"
        (folder / "helper_of_mine.py").write_text(text)
        before = hashed(plugin)
        anew("helper_of_mine")
        (folder / "helper_of_mine.py").write_text(text.replace("0.5", "0.4"))
        assert hashed(plugin) != before

    def test_a_module_that_was_not_there_is_not_part_of_the_code(self, tmp_path, anew, go):
        (tmp_path / "late").mkdir()
        (tmp_path / "late" / "late_of_mine.py").write_text(self.HELPER)
        first = f"import sys; sys.path.insert(0, {str(tmp_path / 'late')!r}); import late_of_mine; sys.path.pop(0)"
        frame = go("mine", plugins=[write(tmp_path / "plugin", first=first)])
        assert "loaded the module late_of_mine while it sampled" in frame["reason"][0]

    def test_a_base_class_in_another_module_of_a_package_counts(self, folder, tmp_path, anew):
        package = folder / "package_of_mine"
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "deep.py").write_text("K = 1\n")
        (package / "base.py").write_text("from . import deep\nclass Base:\n    pass\n")
        plugin = write(tmp_path / "plugin", imports="from package_of_mine.base import Base")
        before, names = hashed(plugin), ["package_of_mine", "package_of_mine.base", "package_of_mine.deep"]
        assert set(names) <= set(load_plugins([plugin]).entry("mine").code)
        anew(*names)
        (package / "deep.py").write_text("K = 2\n")
        assert hashed(plugin) != before

    def test_a_module_that_was_changed_after_its_import_is_refused(self, folder, tmp_path, anew):
        plugin = write(tmp_path / "plugin", imports="import helper_of_mine")
        (folder / "helper_of_mine.py").write_text(self.HELPER)
        hashed(plugin)
        (folder / "helper_of_mine.py").write_text(self.HELPER.replace("0.5", "0.4"))
        with pytest.raises(UserError, match=r"helper_of_mine\.py was changed after it had been imported; start Python"):
            hashed(plugin)
        sys.modules.pop("helper_of_mine")

    def test_a_loaded_file_that_is_gone_is_refused(self, tmp_path, anew, command):
        plugin = Path(write(tmp_path / "plugin"))
        registry, away = load_plugins([str(plugin)]), plugin.rename(tmp_path / "away")
        said = r"/mine\.py is gone, and this process has loaded it, so no key can say what ran; put it back, or start"
        with pytest.raises(UserError, match=said):
            registry.entry("mine").code_sha256  # noqa: B018
        other = write(tmp_path / "other", first="importlib.import_module('js' + 'on')", imports="import importlib")
        with pytest.raises(UserError, match=said):  # it may use any module that is loaded
            hashed(other)
        away.rename(plugin)
        assert hashed(other)

    def test_a_module_that_is_loaded_while_sampling_fails_the_cell(self, folder, tmp_path, anew, go):
        (folder / "late_of_mine.py").write_text(self.HELPER)
        dynamic = "__import__('late' + '_of_mine')"
        frame = go("mine,ddim", plugins=[write(tmp_path / "plugin", first=dynamic)])
        assert frame["status"].tolist() == ["failed", "done"]
        assert "loaded the module late_of_mine while it sampled" in frame["reason"][0]
        anew("late_of_mine")
        named = f"depends_on = ({str(folder / 'late_of_mine.py')!r},)"
        frame = go("mine", "named", plugins=[write(tmp_path / "plugin", first=dynamic, member=named)])
        assert frame["status"].tolist() == ["done"]

    def test_files_that_it_says_it_depends_on_count(self, tmp_path):
        plugin = write(tmp_path / "plugin", member="depends_on = ('table.csv', 'tables')")
        (tmp_path / "plugin" / "tables").mkdir()
        with pytest.raises(PluginError, match=r"Mine\.depends_on names .*table\.csv, which is not there"):
            load_plugins([plugin])
        (tmp_path / "plugin" / "table.csv").write_text("1")
        before = hashed(plugin)
        (tmp_path / "plugin" / "tables" / "more.csv").write_text("2")
        more = hashed(plugin)
        (tmp_path / "plugin" / "table.csv").write_text("3")
        assert len({before, more, hashed(plugin)}) == 3

    def test_files_of_one_name_in_two_folders_both_count(self, tmp_path):
        plugin = write(tmp_path / "plugin", member="depends_on = ('a/t.txt', 'b/t.txt')")
        for folder in "ab":
            (tmp_path / "plugin" / folder).mkdir()
            (tmp_path / "plugin" / folder / "t.txt").write_text("1")
        before = hashed(plugin)
        (tmp_path / "plugin" / "a" / "t.txt").write_text("2")
        assert hashed(plugin) != before

    def test_files_that_a_base_class_depends_on_count(self, folder, tmp_path, anew):
        (folder / "base_of_mine.py").write_text(
            "from dataclasses import dataclass\nfrom samplerbench import Sampler\n"
            "@dataclass(frozen=True, kw_only=True)\nclass Base(Sampler):\n    depends_on = 'theirs.txt'\n"
        )
        plugin = write(tmp_path / "plugin", imports="from base_of_mine import Base", member="depends_on = 'ours.txt'")
        text = (tmp_path / "plugin" / "mine.py").read_text()
        (tmp_path / "plugin" / "mine.py").write_text(text.replace("class Mine(Sampler)", "class Mine(Base)"))
        (tmp_path / "plugin" / "ours.txt").write_text("1")
        (folder / "theirs.txt").write_text("1")
        before = hashed(plugin)
        (folder / "theirs.txt").write_text("2")
        assert hashed(plugin) != before

    def test_a_file_that_changes_during_the_run_fails_the_cell(self, tmp_path, go):
        plugin = write(
            tmp_path / "plugin",
            imports="from pathlib import Path\nTABLE = Path(__file__).parent / 'table.txt'",
            member="depends_on = 'table.txt'",
            first="TABLE.write_text(TABLE.read_text() + '1')",
        )
        (tmp_path / "plugin" / "table.txt").write_text("1")
        frame = go("mine,ddim", plugins=[plugin])
        assert frame["status"].tolist() == ["failed", "done"]
        assert frame["reason"][0] == "CodeChanged: table.txt, which mine depends on, was changed during the run"

    def test_so_does_a_metrics_and_costs_its_column_alone(self, tmp_path, go):
        (tmp_path / "table.txt").write_text("1")
        (tmp_path / "mine.py").write_text(
            "from pathlib import Path\nfrom samplerbench import Measured, Metric, hookimpl\n"
            "TABLE = Path(__file__).parent / 'table.txt'\nclass Mine(Metric):\n    name = 'mine'\n"
            "    depends_on = 'table.txt'\n    def measure(self, drawn):\n"
            "        TABLE.write_text('2')\n        return Measured(1.0)\n"
            "@hookimpl\ndef samplerbench_metrics(register):\n    register(Mine)\n"
        )
        frame = go("ddim", plugins=[str(tmp_path / "mine.py")], metrics="mine,fid")
        assert frame[["mine", "fid"]].notna().to_numpy().tolist() == [[False, True]]
        assert "table.txt, which mine depends on, was changed during the run" in frame["reason"][0]

    def test_two_modules_of_one_file_name_both_count(self, tmp_path, anew):
        """Files that were named have the names of their files in a key, wherever they lie."""
        imports = "import sys; OTHER = sys.modules"
        files = [write(tmp_path / name, imports=imports) for name in ("one", "two")]
        (tmp_path / "one" / "mine.py").write_text((tmp_path / "one" / "mine.py").read_text().replace('"mine"', '"one"'))
        before = load_plugins(files).entry("mine").code_sha256
        with open(files[0], "a") as file:
            file.write("K = 1\n")
        assert load_plugins(files).entry("mine").code_sha256 != before

    @pytest.mark.parametrize(
        "call",
        [
            "from samplerbench.plugins import load_plugins",
            "from samplerbench import sample",
            "import samplerbench as s; s.sample",
        ],
    )
    def test_what_can_have_any_sampler_by_name_holds_them_all(self, tmp_path, anew, call):
        found = load_plugins([write(tmp_path / "plugin", first=call)]).entry("mine").code
        assert {"file mine", "samplerbench_plugins.ddim", "samplerbench_plugins.dpm_solver"} <= set(found)
        assert ("samplerbench.sampling" in found) == ("sample" in call.split()[-1].split("."))
        assert "samplerbench_plugins.ddim" not in load_plugins([write(tmp_path / "plugin")]).entry("mine").code

    def test_a_module_changed_between_its_import_and_its_first_hash_is_refused(
        self, folder, tmp_path, anew, monkeypatch
    ):
        monkeypatch.setattr(sys, "dont_write_bytecode", False)
        (folder / "helper_of_mine.py").write_text("K = 0.5\n")
        importlib.import_module("helper" + "_of_mine")
        (folder / "helper_of_mine.py").write_text("K = 0.25\n")
        with pytest.raises(UserError, match=r"helper_of_mine\.py was changed after it had been imported; start Python"):
            hashed(write(tmp_path / "plugin", imports="import helper_of_mine"))

    def test_a_module_that_a_plugin_has_loaded_is_known_from_then_on(self, folder, tmp_path, anew, monkeypatch):
        monkeypatch.setattr(modules, "fits_bytecode", lambda name, path: True)
        (folder / "helper_of_mine.py").write_text("K = 0.5\n")
        registry = load_plugins([write(tmp_path / "plugin", imports="import helper_of_mine")])
        (folder / "helper_of_mine.py").write_text("K = 0.25\n")
        with pytest.raises(UserError, match=r"helper_of_mine\.py was changed after it had been imported"):
            registry.entry("mine").code_sha256  # noqa: B018

    def test_an_installed_distribution_counts_by_its_files_others_by_version(self, tmp_path, monkeypatch, anew):
        site = tmp_path / "site-packages"

        def install(name, version, modules, entry=""):
            for module, text in modules.items():
                (site / module).parent.mkdir(parents=True, exist_ok=True)
                (site / module).write_text(text)
            info = site / f"{name.replace(chr(45), chr(95))}-{version}.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            (info / "RECORD").write_text("".join(f"{module},,\n" for module in modules))
            (info / "entry_points.txt").write_text(f"[samplerbench]\n{name} = {entry}\n" if entry else "")
            return info

        body = SAMPLER.format(
            imports="import mine_other\nimport mine_part", more="", member="", first="pass", returned="x"
        )
        modules = {"mine_plugin.py": body, "mine_part/__init__.py": "K = 1\n"}
        install("mine-dist", "1.0", modules, "mine_plugin")
        other = install("mine-other", "1.0", {"mine_other.py": "K = 1\n"})
        monkeypatch.syspath_prepend(str(site))
        names = ("mine_plugin", "mine_part", "mine_other")
        anew(*names)
        registry = load_plugins()
        assert [str(problem) for problem in registry.problems] == []
        entry = registry.entry("mine")
        assert entry.code["mine-other"] == "1.0"
        assert {"mine_plugin", "mine_part"} <= set(entry.code)
        before = entry.code_sha256
        (site / "mine_other.py").write_text("K = 2\n")  # of the same version: as documented, not seen
        anew(*names)
        assert load_plugins().entry("mine").code_sha256 == before
        (site / "mine_part" / "__init__.py").write_text("K = 2\n")
        anew(*names)
        changed = load_plugins().entry("mine").code_sha256
        assert changed != before
        (other / "METADATA").write_text("Metadata-Version: 2.1\nName: mine-other\nVersion: 1.1\n")
        anew(*names)
        assert load_plugins().entry("mine").code_sha256 not in (before, changed)


class TestComputedImports:
    """Code whose imports no statement names."""

    LOADED = "importlib.import_module('helper' + '_of_mine')"
    USED = "x * self.k * sys.modules['helper_of_mine'].K"

    @pytest.fixture
    def helper(self, tmp_path, monkeypatch):
        monkeypatch.syspath_prepend(str(tmp_path / "lib"))
        (tmp_path / "lib").mkdir()
        path = tmp_path / "lib" / "helper_of_mine.py"
        path.write_text("K = 0.5\n")
        return path

    def changed(self, helper, anew):
        helper.write_text("K = 0.25\n")
        anew("helper_of_mine", *(name for name in sys.modules if name.startswith(code.NAMED)))

    @pytest.mark.parametrize(
        "member",
        [
            f"def evaluations(self, steps):\n        {LOADED}\n        return steps",
            f"def __post_init__(self):\n        {LOADED}\n        super().__post_init__()",
        ],
    )
    def test_what_is_loaded_before_it_samples_counts(self, go, helper, tmp_path, anew, member):
        plugin = write(tmp_path / "plugin", imports="import importlib, sys", member=member, returned=self.USED)
        before = go("mine", "before", plugins=[plugin])
        self.changed(helper, anew)
        after = go("mine", "after", plugins=[plugin])
        assert before["status"].tolist() == after["status"].tolist() == ["done"]
        assert before["fid"][0] != after["fid"][0]

    def test_what_the_hook_loads_counts(self, helper, tmp_path, anew):
        plugin = write(tmp_path / "plugin", imports="import importlib")
        text = (tmp_path / "plugin" / "mine.py").read_text()
        (tmp_path / "plugin" / "mine.py").write_text(
            text.replace("    register(Mine)", f"    {self.LOADED}; register(Mine)")
        )
        before = hashed(plugin)
        self.changed(helper, anew)
        assert hashed(plugin) != before

    def test_what_another_plugin_has_loaded_first_counts(self, helper, tmp_path, anew):
        imports = f"import importlib\nhelper = {self.LOADED}"
        first = write(tmp_path / "first", imports=imports)
        other = write(tmp_path / "second", imports=imports)
        (tmp_path / "first" / "mine.py").write_text(
            (tmp_path / "first" / "mine.py").read_text().replace('"mine"', '"first"')
        )

        def key():
            return load_plugins([first, other]).entry("mine").code_sha256

        before = key()
        self.changed(helper, anew)
        assert key() != before

    def test_a_module_that_comes_after_the_key_fails_the_cell(self, go, helper, tmp_path, anew):
        """Loaded by somebody else, it may be used by whoever computes names."""
        loads = write(tmp_path / "loads", imports="import importlib", first=self.LOADED)
        text = (tmp_path / "loads" / "mine.py").read_text()
        (tmp_path / "loads" / "mine.py").write_text(text.replace('"mine"', '"loads"'))
        uses = write(tmp_path / "uses", imports="import sys", returned=self.USED)
        frame = go("loads,mine,ddim", plugins=[loads, uses])
        assert frame["status"].tolist() == ["failed", "failed", "done"]
        assert "the module helper_of_mine was loaded after the key of mine was made" in frame["reason"][1]

    @pytest.mark.parametrize(
        ("imports", "what"),
        [
            ("import importlib.util as u\ns = u.spec_from_file_location('h', FILE)", "spec_from_file_location"),
            ("from importlib.util import spec_from_file_location as load", "spec_from_file_location"),
            ("from pathlib import Path\nexec(Path(FILE).read_text(), {})", "exec"),
            ("import runpy\nhelper = runpy.run_path(FILE)", "runpy"),
        ],
    )
    def test_what_no_module_holds_is_refused_unless_it_is_named(self, helper, tmp_path, anew, imports, what):
        imports = f"FILE = {str(helper)!r}\n{imports}"
        with pytest.raises(
            PluginError, match=rf"mine\.py, line \d+: {what} runs code that no key would hold; import it by"
        ):
            load_plugins([write(tmp_path / "plugin", imports=imports)])
        plugin = write(tmp_path / "plugin", imports=imports, member=f"depends_on = {str(helper)!r}")
        before = hashed(plugin)
        helper.write_text("K = 0.25\n")
        assert hashed(plugin) != before

    def test_so_is_that_of_a_helper(self, helper, tmp_path, anew):
        helper.write_text("K = {}\nexec('k = 1', K)\n")
        with pytest.raises(PluginError, match=r"helper_of_mine\.py, line 2: exec runs code that no key would hold"):
            load_plugins([write(tmp_path / "plugin", first="import helper_of_mine")])

    def test_names_that_are_written_out_and_methods_are_no_computed_imports(self):
        plain = "import importlib\nimportlib.import_module('a.b')\nmodel.eval()\nmodel.modules()\nre.compile('')\n"
        assert syntax.computed_imports(ast.parse(plain)) == []
        text = "from importlib import import_module as i\nimport_module('.a')\nsys.modules['a']\n"
        text += "f = __import__\neval('')\n"
        assert [line for line, _ in syntax.computed_imports(ast.parse(text))] == [1, 2, 3, 4, 5]


class TestOurCode:
    def test_a_shard_hangs_on_all_that_draws_it(self):
        found = code.code_of("samplerbench.bench.worker")
        through = ["bench.worker", "bench.shards", "bench.cell", "files", "sampler", "drawing", "images"]
        through += ["diffusion.denoiser", "diffusion.grid", "diffusion.noise", "diffusion.schedule"]
        through += [
            "metrics.extractors",
            "metrics.extractor",
            "models.model",
            "models.predictor",
            "models.networks.unet",
        ]
        assert {f"samplerbench.{name}" for name in through} <= set(found)
        assert {"torch", "numpy", "safetensors"} <= set(found)
        # and on nothing that prints, compares or keeps rows
        idle = ("cli", "report", "stats", "check", "training", "bench.run", "bench.store", "bench.record")
        assert not [name for name in found if name.removeprefix("samplerbench.").startswith(idle)]

    @pytest.mark.parametrize(
        ("metric", "module", "apart"),
        [("fid", "frechet", "kernel"), ("kid", "kernel", "manifold"), ("recall", "manifold", "inception_score")],
    )
    def test_a_metric_hangs_on_what_computes_it(self, metric, module, apart):
        found = load_plugins().metric_entry(metric).code
        assert f"samplerbench.metrics.{module}" in found
        assert f"samplerbench.metrics.{apart}" not in found
        assert "samplerbench.bench.measure" in found

    def test_each_shipped_metric_has_its_own(self):
        registry = load_plugins()
        hashes = [r.code_sha256 for r in registry.current_metrics()]
        assert len(set(hashes)) == len(hashes)

    def test_comments_docstrings_and_layout_cost_nothing(self):
        plain = "def f(a, b=2):\n    return a + b\n"
        same = '"""About."""\n\n\ndef f(a,  # first\n      b=2):\n    """Adds."""\n\n    return (a + b)\n'
        others = ["def f(a, b=2.0):\n    return a + b\n", "def f(a, b=2):\n    return b + a\n", plain + "f.x = True\n"]
        hashes = [syntax.syntax_sha256(ast.parse(text)) for text in (plain, same, *others)]
        assert hashes[0] == hashes[1]
        assert len(set(hashes)) == 4

    def test_imports_inside_functions_count_those_for_type_checkers_do_not(self):
        text = (
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a\nelse:\n    import b\n"
            "def f():\n    from .c import d\n    import e.f\n    try:\n        import g\n    except ImportError:\n"
            "        g = None\n"
        )
        found = set(syntax.imports_of(ast.parse(text), "package"))
        assert found == {"typing", "typing.TYPE_CHECKING", "b", "package.c", "package.c.d", "e.f", "g"}
