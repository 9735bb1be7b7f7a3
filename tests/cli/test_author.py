"""What an author of a sampler does at the command line: new, run --config, --baseline and --watch, list, cite."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch

import samplerbench
from samplerbench.bench.run import BenchmarkRun
from samplerbench.check.checks import check_sampler
from samplerbench.check.mixture import GaussianMixture
from samplerbench.check.rig import DISCRETE, noise_of
from samplerbench.describing import described
from samplerbench.plugins import load_plugins
from samplerbench.sampler import options_of


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def small(tiny_model, here):
    return ["--model", tiny_model, "--samples", 20, "--nfe", "2,4", "--device", "cpu", "--out", here / "out"]


class TestNew:
    def test_a_plugin_that_runs_and_passes_the_check(self, command, here, tiny_model):
        code, out, _ = command("new", "my-method")
        assert not code
        assert "wrote my_method.py" in out
        assert "samplerbench check my-method --plugin my_method.py" in out
        assert len((here / "my_method.py").read_text().splitlines()) < 60
        sampler = load_plugins(["my_method.py"]).sampler("my-method")
        findings = check_sampler(sampler)
        assert not [one for one in findings if one.verdict == "failed"]
        assert [one.verdict for one in findings if one.check == "order"] == ["passed"]
        frame = samplerbench.run(
            "my-method", plugins="my_method.py", model=str(tiny_model), samples=4, nfe=2, device="cpu"
        )
        assert frame["status"].tolist() == ["done"]

    def test_it_is_the_method_whose_figures_it_tells(self, command, here):
        """The figures in its docstring are dpm-solver's, of README's first table."""
        command("new", "mine")
        mine = load_plugins(["mine.py"]).sampler("mine")
        truth, x = GaussianMixture(DISCRETE), noise_of(3).x_T()
        for nfe in (5, 10, 12):
            got, known = (samplerbench.sample(one, truth, DISCRETE, x, nfe=nfe) for one in (mine, "dpm-solver"))
            assert torch.allclose(got.x0, known.x0, rtol=0, atol=1e-12)
        ddim = samplerbench.sample("ddim:spacing=logsnr:final=none", truth, DISCRETE, x, nfe=5).x0
        flat = load_plugins(["mine.py"]).sampler("mine:weight=0")
        assert torch.allclose(samplerbench.sample(flat, truth, DISCRETE, x, nfe=5).x0, ddim, rtol=0, atol=1e-12)

    def test_an_installable_project(self, command, here):
        code, out, _ = command("new", "my-method", "--package")
        assert not code
        assert "pip install -e 'my-method[test]'" in out
        folder = here / "my-method"
        files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        assert files == ["my_method.py", "pyproject.toml", "tests/test_my_method.py"]
        # as pip would install it: the module on the path, and the entry point beside it
        info = folder / "my_method-0.1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-method\nVersion: 0.1.0\n")
        (info / "RECORD").write_text("my_method.py,,\n")
        entry = re.search(r"\[project\.entry-points\.samplerbench\]\n(.*)\n", (folder / "pyproject.toml").read_text())
        (info / "entry_points.txt").write_text("[samplerbench]\n" + entry[1].replace('"', "") + "\n")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        assert "1 passed" in done.stdout

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("ddim", "sampler 'ddim' is there already, from samplerbench"),
            ("dpm", "'dpm', another name of dpm-solver, is there already, from samplerbench"),
            ("my method", "like my-method, got 'my method'; did you mean 'my-method'?"),
            ("MyMethod", "got 'MyMethod'; did you mean 'my-method'?"),
            ("../mine", "got '../mine'; did you mean 'mine'?"),
            ("7", "a name is a word of small letters, digits and dashes, like my-method, got '7'"),
            ("class", "'class' is a word of Python; choose another name, like my-class"),
            ("torch", "'torch' is a module of Python's already"),
            ("json", "'json' is a module of Python's already"),
        ],
    )
    def test_bad_names(self, command, here, name, message):
        code, out, err = command("new", name)
        assert (code, out) == (2, "")
        assert message in err
        assert not list(here.iterdir())

    def test_nothing_is_overwritten(self, command, here):
        (here / "mine.py").write_text("# my work\n")
        code, _, err = command("new", "mine")
        assert (code, err) == (2, "Error: mine.py is there already; choose another name, or move it away\n")
        assert (here / "mine.py").read_text() == "# my work\n"
        (here / "other").mkdir()
        assert "other is there already" in command("new", "other", "--package")[2]
        assert not list((here / "other").iterdir())


class TestBaseline:
    def test_the_run_ends_with_the_verdict(self, command, small):
        small[3] = 900
        code, out, _ = command("run", "--samplers", "dpm,ddim", *small, "--baseline", "ddim")
        assert not code
        table, _, compared = out.partition("ΔFID of")
        assert "results: " in table
        assert "paired" in compared
        last = out.rstrip().splitlines()[-1]
        assert re.fullmatch(r"dpm-solver \(logsnr\) is .* ddim \(quadratic\) at .*\.", last)

    def test_that_there_are_no_errors_is_said_once(self, command, small):
        code, out, _ = command("run", "--samplers", "dpm,ddim", *small, "--baseline", "ddim")
        assert not code
        assert out.count("no error below 336 samples") == 1
        assert out.count("No difference has a standard error") == 1
        assert "(logsnr) is" not in out

    def test_a_run_that_ends_before_its_first_cell(self, command, small, monkeypatch):
        def interrupted(run):
            raise KeyboardInterrupt

        monkeypatch.setattr(BenchmarkRun, "execute", interrupted)
        arguments = ["--samplers", "dpm,ddim", *small, "--metrics", "fid,kid", "--baseline", "ddim"]
        code, out, _ = command("run", *arguments)
        assert code == 130
        assert out.count("Nothing was measured, so there is nothing to compare with ddim.") == 1
        assert "only others" not in out

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--baseline", "heun"], "--baseline heun is none of the samplers of this run: dpm-solver, ddim"),
            (["--baseline", "ddmi"], "unknown sampler 'ddmi'"),
            (["--baseline", "ddim", "--json"], "leave out --json"),
        ],
    )
    def test_one_that_is_not_there(self, command, small, here, arguments, message):
        code, out, err = command("run", "--samplers", "dpm,ddim", *small, *arguments)
        assert (code, out) == (2, "")
        assert message in err
        assert not (here / "out").exists()

    def test_an_alias_will_do(self, command, small):
        code, out, _ = command("run", "--samplers", "dpm,ddim", *small, "--baseline", "dpm")
        assert not code
        assert "against dpm-solver (logsnr)" in out


class TestConfig:
    def test_a_file_gives_what_options_would(self, command, small, here, tiny_model):
        (here / "run.toml").write_text(
            f'samplers = ["ddim:eta=0.5", "dpm"]\nnfe = [2, 3]\nmodel = "{tiny_model}"\nsamples = 8\nbatch-size = 4\n'
            'device = "cpu"\nmetrics = "fid,kid"\nbaseline = "dpm"\nout = "a"\nfresh = true\n'
        )
        code, out, _ = command("run", "--config", "run.toml")
        assert not code
        assert "against dpm-solver (logsnr); below 0 is better" in out
        config = json.loads((here / "a" / "run.json").read_text())["config"]
        assert config["values"] == [2, 3]
        assert (config["batch_size"], config["fresh"], config["metrics"]) == (4, True, ["fid", "kid"])

    def test_what_is_typed_comes_first(self, command, small, here):
        (here / "run.toml").write_text('samplers = "dpm"\nnfe = 7\nseed = 3\n')
        arguments = [str(a) for a in small]
        del arguments[arguments.index("--nfe") : arguments.index("--nfe") + 2]
        assert not command("run", "--config", "run.toml", "--samplers", "ddim", "--steps", "2", *arguments)[0]
        config = json.loads((here / "out" / "run.json").read_text())["config"]
        assert config["samplers"] == ["ddim"]
        assert (config["axis"], config["values"], config["seed"]) == ("steps", [2], 3)

    def test_an_earlier_run_is_repeated(self, command, small, here):
        command("new", "mine")
        arguments = ["--samplers", "mine,ddim@2", "--plugin", "mine.py", "--seed", 5, "--batch-size", 7]
        command("run", *arguments, *small, "--metrics", "fid,precision")
        code, _, err = command("run", "--config", here / "out" / "run.json", "--out", here / "again", "--fresh")
        assert not code
        assert "Note" not in err.replace("Note: no", "")
        runs = [json.loads((here / name / "run.json").read_text()) for name in ("out", "again")]
        for run in runs:
            del run["config"]["fresh"]
        assert runs[0]["config"] == runs[1]["config"]
        rows = [(here / name / "results.csv").read_text().splitlines() for name in ("out", "again")]
        keys = rows[0][0].split(",")
        for name in ("sampler", "budget", "fid", "precision", "key", "seed", "batch_size"):
            at = keys.index(name)
            assert [row.split(",")[at] for row in rows[0]] == [row.split(",")[at] for row in rows[1]], name
        (here / "mine.py").write_text((here / "mine.py").read_text().replace("0.5  #", "0.25  #"))
        _, _, err = command("run", "--config", here / "out" / "run.json", "--out", here / "third")
        assert "Note: the code of mine is another" in err

    def test_an_earlier_run_is_repeated_from_another_folder(self, command, small, here, monkeypatch):
        command("new", "mine")
        (here / "cache").mkdir()
        assert not command("run", "--samplers", "mine@2", "--plugin", "mine.py", *small, "--cache", "cache")[0]
        (here / "elsewhere").mkdir()
        monkeypatch.chdir(here / "elsewhere")
        code, _, err = command("run", "--config", here / "out" / "run.json", "--out", "again")
        assert not code, err
        runs = here / "out", here / "elsewhere" / "again"
        configs = [json.loads((folder / "run.json").read_text())["config"] for folder in runs]
        assert configs[1]["plugins"] == [str(here / "mine.py")]
        assert configs[1]["cache"] == str(here / "cache")
        assert {**configs[1], "plugins": ["mine.py"], "cache": "cache"} == configs[0]
        (here / "gone.json").write_text((here / "out" / "run.json").read_text().replace('"mine.py"', '"gone.py"'))
        code, _, err = command("run", "--config", here / "gone.json", "--out", "third")
        assert code == 2
        assert f"--plugin {here / 'gone.py'}: no such file" in err

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("sampels = 3", "unknown key 'sampels'; did you mean 'samples'"),
            ("samples = true", "samples is text or a number, got True"),
            ("samples = 12.5", "'12.5' is not a valid integer"),
            ("samples = [3]", "samples is one value, got a list"),
            ("fresh = 1", "fresh is true or false, got 1"),
            ("batch-size = 1\nbatch_size = 2", "batch-size is there twice"),
            ("samplers = []", "samplers is empty"),
            ("nfe = 5\nsteps = 5", "not --nfe and --steps"),
            ("[model]\nname = 'x'", "model is text or a number"),
            ("samplers = ", "is no TOML file"),
            ("watch = true", "unknown key 'watch'"),
        ],
    )
    def test_bad_files(self, command, here, text, message):
        (here / "run.toml").write_text(text + ("" if "samplers" in text or "[" in text[:1] else '\nsamplers = "ddim"'))
        code, out, err = command("run", "--config", "run.toml", *([] if "samplers" in text else ["--samplers", "ddim"]))
        assert (code, out) == (2, "")
        assert message in err
        assert "Traceback" not in err

    @pytest.mark.parametrize("text", ["{", "[]", "{}", '{"config": {"samplers": ["ddim"]}}'])
    def test_what_is_no_run(self, command, here, text):
        (here / "run.json").write_text(text)
        code, _, err = command("run", "--config", "run.json")
        assert code == 2
        assert "--config run.json is no run.json of a run" in err

    def test_one_that_is_not_there(self, command, here):
        assert "--config no.toml cannot be read: No such file" in command("run", "--config", "no.toml")[2]


def test_lines_of_json_for_machines(command, small, here):
    command("run", "--samplers", "ddim", *small, "--quiet", "--log-json", "log.jsonl")
    events = [json.loads(line)["event"] for line in (here / "log.jsonl").read_text().splitlines()]
    assert (events[0], events[-1], events.count("finish")) == ("plan", "end", 2)


PLUGIN = """
from dataclasses import dataclass
from helper import factor
from samplerbench import Sampler, hookimpl

@dataclass(frozen=True, kw_only=True)
class Mine(Sampler):
    name = "mine"

    def sample(self, eps, grid, x, noise):
        for i in range(grid.steps):
            x = x - factor() * eps(x, grid.times[i])
        return x

@hookimpl
def samplerbench_samplers(register):
    register(Mine)
"""


def test_watch_runs_again_with_the_saved_helper_and_ends_with_the_verdict(small, here):
    (here / "mine.py").write_text(PLUGIN)
    (here / "helper.py").write_text("def factor():\n    return 0.1\n")
    command = [sys.executable, "-m", "samplerbench", "run", "--plugin", "mine.py", "--samplers", "mine,ddim"]
    command += ["--baseline", "ddim", "--watch", *map(str, small)]
    log = here / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=os.environ | {"PYTHONPATH": str(here)}
        )

    def wait(count, text="Ctrl-C ends it"):
        until = time.monotonic() + 120
        while log.read_text().count(text) < count:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        return log.read_text()

    try:
        first = wait(1)
        values = [re.findall(r"mine nfe=4: FID (\S+)", first)[-1]]
        assert re.search(r"│ mine \(uniform\) +│ +2 ", first)
        assert "watching 2 files" in first
        (here / "helper.py").write_text("def factor():\n    return 0.2\n")
        second = wait(2)
        values.append(re.findall(r"mine nfe=4: FID (\S+)", second)[-1])
        assert "── helper.py was saved ──" in second
        assert "s from the save to the table" in second
        assert second.count("ddim nfe=4: FID") == 2
        assert "was there already" in second  # of ddim nothing had to be drawn
        (here / "mine.py").write_text("syntax error\n")
        assert "mine.py: line 1: invalid syntax" in wait(3)
        (here / "helper.py").write_text("def factor():\n    return 0.1\n")
        wait(4)
        (here / "mine.py").write_text(PLUGIN)
        values.append(re.findall(r"mine nfe=4: FID (\S+)", wait(5))[-1])
        os.utime(here / "mine.py")
        time.sleep(0.5)
        assert log.read_text().count("was saved") == 4  # its time alone is no change
    finally:
        process.send_signal(signal.SIGINT)
        status = process.wait(30)
    assert values[0] == values[2] != values[1]
    assert status == 0
    assert "stopped watching" in log.read_text()


class TestList:
    def test_a_sampler_by_name_tells_what_its_options_do(self, command):
        code, out, _ = command("list", "samplers", "dpm", "ddim")
        assert not code
        assert [line for line in out.splitlines() if not line.startswith(" ")] == ["dpm-solver  (also dpm)", "ddim"]
        assert "how much of DDPM's noise is added, 0 to 1" in out
        assert "did you mean 'ddim'" in command("list", "samplers", "dimd")[2]
        assert "only samplers are listed by name" in command("list", "metrics", "fid")[2]

    @pytest.mark.parametrize("registered", load_plugins().current(), ids=lambda registered: registered.cls.name)
    def test_every_option_of_ours_says_what_it_does(self, registered):
        told = described(registered.cls)
        assert [option.name for option in options_of(registered.cls) if not told.get(option.name)] == []


class TestCite:
    def test_samplers(self, command):
        code, out, _ = command("cite", "ddim", "dpm:order=3@5", "ddim:eta=1")
        assert not code
        assert re.findall(r"@\w+\{(\w+),", out) == ["song2021denoising", "lu2022dpm", "lu2022dpmpp"]
        assert out.count("{") == out.count("}")

    def test_every_source_of_ours_is_known(self, command):
        registry = load_plugins()
        for kind in ("samplers", "metrics", "extractors", "guiders"):
            for registered in registry.all(kind):
                for number in re.findall(r"arXiv:([\d.]+\d)", registered.cls.paper):
                    from samplerbench.report.cite import _known

                    assert number in _known(), registered.cls.name

    def test_a_run(self, command, small, here):
        command("run", "--samplers", "ddim", *small, "--metrics", "fid,kid")
        code, out, _ = command("cite", here / "out")
        assert not code
        keys = re.findall(r"@\w+\{([\w-]+),", out)
        expected = {"song2021denoising", "heusel2017gans", "binkowski2018demystifying", "obukhov2020torchfidelity"}
        assert expected <= set(keys)
        assert keys[-1] == "samplerbench"
        assert len(keys) == len(set(keys))

    def test_a_plugin_with_a_source_of_its_own(self, command, here):
        command("new", "mine")
        code, paper = (here / "mine.py").read_text(), "Lu et al. 2022, arXiv:2211.01095"
        (here / "mine.py").write_text(
            code.replace("Lu et al. 2022, arXiv:2211.01095", "Me & you 2026, arXiv:2601.00001")
        )
        _, out, _ = command("cite", "mine", "--plugin", "mine.py")
        assert "@misc{mine," in out
        assert "eprint = {2601.00001}" in out
        assert r"note = {Me \& you 2026, arXiv:2601.00001}" in out
        (here / "mine.py").write_text(code.replace(paper, ""))
        assert command("cite", "mine", "--plugin", "mine.py") == (1, "", "sampler mine names no paper\n")

    def test_what_is_neither(self, command, here):
        assert "unknown sampler 'ddimm'; did you mean 'ddim'" in command("cite", "ddimm")[2]
        (here / "empty").mkdir()
        assert command("cite", here / "empty")[0] == 2


class TestHelp:
    def test_no_summary_is_cut(self, command):
        _, out, _ = command("--help")
        assert "..." not in out.partition("Commands:")[2]
        told = " ".join(out.split())
        assert (
            "A figure of finished runs for a paper: a metric against evaluations or seconds, with 95 % intervals."
            in told
        )

    @pytest.mark.parametrize(
        "name", ["run", "check", "table", "compare", "report", "plot", "new", "cite", "list", "train"]
    )
    def test_examples(self, command, name):
        _, out, _ = command(name, "--help")
        _, _, examples = out.partition("Example")
        lines = [line.strip() for line in examples.splitlines()[1:] if line.strip()]
        assert lines
        assert all(line.startswith("samplerbench ") for line in lines)

    def test_options_are_in_groups_and_none_is_lost(self, command):
        from samplerbench.cli.run import run

        _, out, _ = command("run", "--help")
        heads = [line for line in out.splitlines() if re.fullmatch(r"[A-Z][\w ]+:", line)]
        assert heads[:4] == ["What is run:", "How samples are drawn:", "What is measured:", "Where it goes:"]
        for parameter in run.params:
            assert out.count(f"  {max(parameter.opts, key=len)}") >= 1

    def test_python_m(self):
        done = subprocess.run(
            [sys.executable, "-m", "samplerbench", "--version"], capture_output=True, text=True, check=True
        )
        assert "samplerbench" in done.stdout


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["run", "--samplers", "ddim,dp"], ["ddim,dpm", "ddim,dpm-solver"]),
        (["run", "--samplers", "dpm:pre"], ["dpm:prediction="]),
        (["run", "--samplers", "dpm:order=3:prediction="], ["dpm:order=3:prediction=eps", "dpm:order=3:prediction=x0"]),
        (["run", "--samplers", "ddim:spacing=lo"], ["ddim:spacing=logsnr"]),
        (["run", "--samplers", "nosuch:"], []),
        (["run", "--metrics", "fid,ki"], ["fid,kid"]),
        (["run", "--baseline", "un"], ["unipc"]),
        (["check", "he"], ["heun"]),
        (["list", "sam"], ["samplers"]),
        (["list", "samplers", "dd"], ["ddim", "ddpm"]),
        (["cite", "dei"], ["deis"]),
        (["ne"], ["new"]),
    ],
)
def test_the_shell_is_told_names_and_options(words, offered):
    from click.shell_completion import ShellComplete

    from samplerbench.cli import cli

    found = ShellComplete(cli, {}, "samplerbench", "_C").get_completions(words[:-1], words[-1])
    assert sorted(item.value for item in found) == sorted(offered)
