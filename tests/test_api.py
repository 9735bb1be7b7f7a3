"""`samplerbench.run` and `samplerbench.sample` as a script or a notebook calls them."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import types
from dataclasses import dataclass, replace

import pandas as pd
import pytest
import torch

import samplerbench
from samplerbench import Evaluation, FailedCells, Sampler, UserError, cosine_schedule
from samplerbench.bench.execute import Listener
from samplerbench.check.mixture import GaussianMixture
from samplerbench.diffusion.vp import linear_schedule

LINEAR = linear_schedule()


@dataclass(frozen=True, kw_only=True)
class Plain(Sampler):
    name = "plain"
    scale: float = 1.0

    def sample(self, eps, grid, x, noise):
        for i in range(grid.steps):
            ratio = grid.alpha[i + 1] / grid.alpha[i]
            x = ratio * x + (grid.sigma[i + 1] - ratio * grid.sigma[i]) * self.scale * eps(x, grid.times[i])
        return x


@dataclass(frozen=True, kw_only=True)
class Broken(Plain):
    name = "broken"

    def sample(self, eps, grid, x, noise):
        raise ValueError("inner trouble")


@pytest.fixture
def go(tiny_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a run without a folder makes one

    def run(samplers, **options):
        options = {
            "model": str(tiny_model),
            "samples": 12,
            "nfe": 2,
            "device": "cpu",
            "out": tmp_path / "out",
        } | options
        return samplerbench.run(samplers, **options)

    return run


class TestObjects:
    def test_samplers_stand_beside_names(self, go):
        frame = go([Plain(spacing="quadratic"), "ddim"])
        assert frame["sampler"].tolist() == ["plain:spacing=quadratic", "ddim"]
        assert frame["fid"][0] == frame["fid"][1]  # both are Euler's method
        assert go(Plain(scale=0.5))["sampler"].tolist() == ["plain:scale=0.5"]

    def test_the_code_of_a_class_is_in_the_key_by_its_module(self, go):
        first, again = go(Plain()), go(Plain(), out=None)
        assert first["key"][0] == again["key"][0]
        assert again["cached"][0] == 12

    def test_one_of_a_registered_class_is_the_registered(self, go):
        from samplerbench.plugins import load_plugins

        ddim = load_plugins().sampler("ddim:eta=0.5")
        assert go(ddim)["key"].tolist() == go("ddim:eta=0.5")["key"].tolist()

    def test_a_model_is_copied(self, go, tiny_model):
        model = samplerbench.load_model(str(tiny_model))
        assert go("ddim", model=model)["key"].tolist() == go("ddim")["key"].tolist()
        weights = next(model.predictor.parameters())
        assert weights.device.type == "cpu"
        assert not model.predictor.network._forward_pre_hooks

    def test_a_model_that_was_changed_is_another(self, go, tiny_model, tmp_path):
        cache = {"cache": tmp_path / "one", "out": None}
        kept = go("ddim", **cache)
        model = samplerbench.load_model(str(tiny_model))
        model.epsilon()(torch.zeros(1, 1, 28, 28), 5.0)  # use is no change
        same = go("ddim", model=model, **cache)
        assert (same["key"][0], same["cached"][0]) == (kept["key"][0], 12)
        with torch.no_grad():
            for weights in model.predictor.parameters():
                weights.add_(0.01)
        moved = go("ddim", model=model, **cache)
        assert moved["cached"][0] == 0
        other = go("ddim", model=replace(samplerbench.load_model(str(tiny_model)), schedule=cosine_schedule()), **cache)
        assert other["cached"][0] == 0
        assert len({frame["model_sha256"][0] for frame in (kept, moved, other)}) == 3
        assert len({frame["fid"][0] for frame in (kept, moved, other)}) == 3
        again = samplerbench.load_model(str(tiny_model))
        with torch.no_grad():
            for weights in again.predictor.parameters():
                weights.add_(0.01)
        assert go("ddim", model=again, **cache)["key"][0] == moved["key"][0]

    def test_runs_of_one_second_have_their_own_folders(self, go, tmp_path):
        for _ in range(3):
            go("ddim", out=None)
        assert len(list((tmp_path / "results").iterdir())) == 3

    def test_a_model_with_other_code_is_refused(self, go, tiny_model):
        model = samplerbench.load_model(str(tiny_model))
        model.predictor.network.register_forward_hook(lambda module, given, out: out / 2)
        with pytest.raises(UserError, match="model 'tiny' has other modules or hooks than when it was loaded"):
            go("ddim", model=model)

    def test_what_is_set_on_a_sampler_is_not_lost_silently(self, go):
        sampler = Plain()
        object.__setattr__(sampler, "sample", lambda eps, grid, x, noise: x)
        with pytest.raises(UserError, match="sample was set on a Plain, and is none of its options"):
            go(sampler)

    def test_two_of_one_name(self, go):
        other = dataclass(frozen=True, kw_only=True)(type("Other", (Plain,), {"__module__": __name__}))
        with pytest.raises(
            UserError, match=r"sampler 'plain' is Plain of .*test_api.py and Other of .*; give one of them another name"
        ):
            go([Plain(), other()])

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (Plain, r"Plain is a class; give a sampler, Plain\(\)"),
            ([3], "a sampler is a name like 'ddim:eta=0.5' or a samplerbench.Sampler, got 3"),
            (["unipcc"], "unknown sampler 'unipcc'; did you mean 'unipc'"),
        ],
    )
    def test_what_is_no_sampler(self, go, given, message):
        with pytest.raises(UserError, match=message):
            go(given)


def test_a_forgotten_dataclass_says_so(go):
    class Forgotten(Plain):
        spacing: str = "logsnr"

    for call in (lambda: go(Forgotten()), lambda: samplerbench.sample(Forgotten(), "fashion-mnist", nfe=1, samples=1)):
        with pytest.raises(UserError, match=r"Forgotten has options \(spacing\) and is no dataclass; write @dataclass"):
            call()


SCRIPT = """
import sys
from dataclasses import dataclass, replace
import samplerbench
@dataclass(frozen=True, kw_only=True)
class Mine(samplerbench.Sampler):
    name = "mine"
    def sample(self, eps, grid, x, noise):
        return x.clamp(-1, 1) * HALF
HALF = 0.5
frame = samplerbench.run(Mine(), model=sys.argv[1], nfe=1, samples=4, device="cpu", out=sys.argv[2])
print(frame["cached"][0], frame["fid"][0])
"""


@pytest.mark.parametrize("kept", [True, False], ids=["a script", "without a file"])
def test_a_class_of_the_main_module(tiny_model, tmp_path, kept):
    """A script's file is in the key; what is typed in is never taken from the cache."""
    (tmp_path / "script.py").write_text(SCRIPT)

    def call(n):
        code = ["script.py"] if kept else ["-c", (tmp_path / "script.py").read_text()]
        command = [sys.executable, *code, str(tiny_model), f"out{n}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    first, again = call(1), call(2)
    assert (first[0], again[0]) == ("0", "4" if kept else "0")
    assert first[1] == again[1]
    if kept:
        (tmp_path / "script.py").write_text(SCRIPT.replace("0.5", "0.75"))
        other = call(3)
        assert other[0] == "0"
        assert other[1] != first[1]


class TestArguments:
    def test_one_int_is_a_list_of_one(self, go):
        assert go("ddim", nfe=3)["budget"].tolist() == go("ddim", nfe=[3])["budget"].tolist() == [3]
        assert go("ddim", nfe=None, steps=2)["steps"].tolist() == [2]

    def test_a_typo(self, go):
        with pytest.raises(UserError, match="unknown option of run 'sampels'; did you mean 'samples'"):
            go("ddim", sampels=3)

    @pytest.mark.parametrize(
        ("option", "told"),
        [
            ({"metrics": 5}, "metrics are names, like 'fid,kid' or ['fid', 'kid'], got 5"),
            ({"metrics": ["fid", 5]}, "metrics are names"),
            ({"plugins": 5}, "plugins are paths or names of modules, like ['mine.py'], got 5"),
            ({"extractor": 5}, "extractor is text, got 5"),
            ({"device": 5}, "device is text, got 5"),
            ({"cell_timeout": "x"}, "cell_timeout is a number of seconds, got 'x'"),
            ({"cell_timeout": True}, "cell_timeout is a number of seconds, got True"),
            ({"listener": 5}, "listener is a samplerbench.bench.execute.Listener, got 5"),
            ({"fresh": "no"}, "fresh is True or False, got 'no'"),
            ({"cache": 5}, "cache is a path, got 5"),
            ({"out": 5}, "out is a path, got 5"),
        ],
    )
    def test_values_of_another_kind(self, go, option, told):
        with pytest.raises(UserError, match=re.escape(told)):
            go("ddim", **option)

    @pytest.mark.parametrize(
        ("option", "told"),
        [
            ({"nfe": 2.5}, "nfe is a whole number, got 2.5"),
            ({"nfe": True}, "nfe is a whole number, got True"),
            ({"nfe": None, "steps": "2"}, "steps is a whole number, got '2'"),
            ({"seed": 1.5}, "seed is a whole number, got 1.5"),
            ({"callback": 5}, "callback is a function of an Evaluation, got 5"),
        ],
    )
    def test_values_of_another_kind_for_one_sampler(self, option, told):
        x = torch.zeros(1, 1, 2, 2)
        with pytest.raises(UserError, match=re.escape(told)):
            samplerbench.sample("ddim", lambda x, t: x, LINEAR, x, **{"nfe": 2, **option})

    def test_samples_of_a_model(self, tiny_model):
        with pytest.raises(UserError, match="samples is a whole number, got '2'"):
            samplerbench.sample("ddim", str(tiny_model), samples="2", nfe=2)

    @pytest.mark.parametrize("nfe", [2.5, [2.5], ["2"], True, [True]])
    def test_no_whole_numbers(self, go, nfe):
        with pytest.raises(UserError, match="nfe is whole numbers"):
            go("ddim", nfe=nfe)

    @pytest.mark.parametrize("name", ["samples", "seed", "batch_size"])
    def test_text_is_no_number(self, go, name):
        with pytest.raises(UserError, match=f"{name} is a whole number, got '12'"):
            go("ddim", **{name: "12"})

    def test_a_plugin_by_its_path(self, go, tmp_path):
        path = tmp_path / "mine.py"
        path.write_text(
            "from dataclasses import dataclass\nfrom samplerbench import Sampler, hookimpl\n"
            "@dataclass(frozen=True, kw_only=True)\nclass Mine(Sampler):\n    name = 'mine'\n"
            "    def sample(self, eps, grid, x, noise):\n        return x.clamp(-1, 1)\n"
            "@hookimpl\ndef samplerbench_samplers(register):\n    register(Mine)\n"
        )
        assert go("mine", plugins=path)["status"].tolist() == ["done"]


class TestBudgets:
    def test_samplers_at_some_budgets(self, go, tmp_path):
        frame = go("dpm:order=1@2/3,dpm@4,ddim", nfe=[2, 3, 4])
        cells = list(zip(frame["sampler"], frame["budget"], strict=True))
        assert cells == [
            *(("dpm-solver:order=1", n) for n in (2, 3)),
            ("dpm-solver", 4),
            *(("ddim", n) for n in (2, 3, 4)),
        ]
        config = json.loads((tmp_path / "out" / "run.json").read_text())["config"]
        assert config["samplers"] == ["dpm:order=1@2/3", "dpm@4", "ddim"]

    def test_they_add_up(self, go):
        assert go("ddim@4,ddim@2,ddim@2", nfe=[2, 3, 4])["budget"].tolist() == [2, 4]

    def test_budgets_of_their_own_join_those_of_the_run(self, go):
        frame = go("ddim@3,dpm:order=1", nfe=[2, 4])
        cells = list(zip(frame["sampler"], frame["budget"], strict=True))
        assert cells == [("ddim", 3), ("dpm-solver:order=1", 2), ("dpm-solver:order=1", 4)]
        with pytest.raises(UserError, match=r"nfe is from 1 to .*, got 0"):
            go("ddim@0", nfe=[2, 4])


class TestWhatIsTold:
    def test_failed_cells_warn(self, go, tmp_path):
        with pytest.warns(FailedCells, match=r"2 of 4 cells failed: broken nfe=2: ValueError: inner trouble; .*errors"):
            frame = go([Broken(), "ddim"], nfe=[2, 3])
        assert frame["status"].tolist() == ["failed", "failed", "done", "done"]

    def test_lines_of_json(self, go, tmp_path):
        log = tmp_path / "deep" / "log.jsonl"
        with pytest.warns(FailedCells):
            frame = go(["ddim", Broken()], log_json=log)
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert [line["event"] for line in lines] == ["plan", "start", "advance", "finish", "start", "finish", "end"]
        assert lines[0]["cells"][0] == {"sampler": "ddim", "nfe": 2, "evaluations": 2}
        done, failed = (line["row"] for line in lines if line["event"] == "finish")
        assert done["fid"] == frame["fid"][0]
        assert (failed["status"], lines[-1]["status"]) == ("failed", "finished")

    @pytest.mark.parametrize("workers", ["serial", 1])
    def test_what_was_drawn_and_what_was_there(self, go, workers, tmp_path):
        told = []

        class Heard(Listener):
            def advance(self, cell, samples):
                told.append(("drawn", samples))

            def found(self, cell, samples):
                told.append(("found", samples))

        go("ddim", samples=12)
        go("ddim", samples=20, out=tmp_path / "more", workers=workers, listener=Heard())
        assert told == [("found", 12), ("drawn", 8)]

    def test_a_log_that_cannot_be_written(self, go, tmp_path):
        with pytest.raises(UserError, match=r"--log-json .* cannot be written: Is a directory"):
            go("ddim", log_json=tmp_path)

    def test_logging(self, go, caplog):
        with caplog.at_level(logging.INFO, "samplerbench"), pytest.warns(FailedCells):
            go(["ddim", Broken(), "heun"], nfe=1)
        told = {(record.levelname, record.message.partition(":")[0]) for record in caplog.records}
        assert {("INFO", "ddim nfe=1"), ("WARNING", "broken nfe=1"), ("INFO", "run finished")} <= told

    def test_progress_goes_to_standard_error_outside_of_notebooks(self, go, capsys):
        go("ddim", progress=True)
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "ddim nfe=2: fid" in captured.err

    def test_progress_in_a_notebook_is_one_frame(self, go, monkeypatch):
        frames = []

        class Handle:
            def update(self, frame):
                frames.append(frame)

        def display(frame, display_id):
            frames.append(frame)
            return Handle()

        kernel = types.SimpleNamespace(config={"IPKernelApp": {}})
        monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: kernel))
        shown = types.SimpleNamespace(HTML=str, display=display)
        monkeypatch.setitem(sys.modules, "IPython.display", shown)
        with pytest.warns(FailedCells):
            frame = go(["ddim", Broken()], nfe=[2, 3], progress=True)
        assert len(frames) > 4
        assert f"ddim nfe=3: fid {frame['fid'][1]:.4g}" in frames[-1]
        assert "broken nfe=2: failed: ValueError: inner trouble" in frames[-1]
        assert "100% of the run" in frames[-1]
        assert "<small>" not in frames[0]

    def test_what_is_logged_is_not_printed_unasked(self, tiny_model, tmp_path):
        code = (
            "import sys, samplerbench, warnings; warnings.simplefilter('ignore')\n"
            "samplerbench.run('ddim', nfe=2, model=sys.argv[1], samples=4, device='cpu', cache='/dev/null/x')"
        )
        command = [sys.executable, "-c", code, str(tiny_model)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def test_the_frame_is_shown_as_a_table(self, go):
        frame = go("ddim,dpm", nfe=[2, 3])
        shown = frame._repr_html_()
        assert "dpm-solver (logsnr)" in shown
        assert f"{frame['fid'][0]:.4g}" in shown
        assert "12 samples" in shown
        part = frame[frame["budget"] == 2]
        assert type(part) is pd.DataFrame
        assert "sampler_sha256" in part._repr_html_()


class TestSample:
    def test_a_model_starts_from_the_noise_of_a_run(self, tiny_model):
        model = samplerbench.load_model(str(tiny_model))
        x = samplerbench.NoiseSource(3, range(2), model.sample_shape).x_T()
        expected = samplerbench.sample("ddim", model.epsilon(), model.schedule, x, nfe=3)
        for given in (model, str(tiny_model)):
            got = samplerbench.sample("ddim", given, samples=2, nfe=3, seed=3)
            assert torch.equal(got.x0, expected.x0)
        assert torch.equal(samplerbench.sample("ddim", model, x=x, nfe=3).x0, expected.x0)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({}, "give x, or samples"),
            ({"samples": 2, "x": torch.zeros(1, 1, 28, 28)}, "give x, or samples"),
            ({"samples": 2, "schedule": LINEAR}, "a model has its own schedule"),
            ({"samples": 0}, "samples is at least 1, got 0"),
        ],
    )
    def test_what_a_model_needs(self, tiny_model, arguments, message):
        with pytest.raises(UserError, match=message):
            samplerbench.sample("ddim", str(tiny_model), nfe=2, **arguments)

    def test_a_function_needs_its_path(self):
        with pytest.raises(UserError, match="a function ε goes with its schedule and x"):
            samplerbench.sample("ddim", lambda x, t: x, nfe=2, samples=3)

    @pytest.mark.parametrize("spec", ["ddim", "dpm", "heun", "dpm:mode=fast:labels=type-2"])
    def test_the_callback_is_told_the_trajectory(self, spec):
        truth, told = GaussianMixture(LINEAR), []
        x = torch.randn(2, 4, generator=torch.Generator().manual_seed(0)).double()
        if "labels" in spec:
            truth.relabelled = lambda rule: truth
        got = samplerbench.sample(spec, truth, LINEAR, x, steps=6, callback=told.append)
        assert got.x0.equal(samplerbench.sample(spec, truth, LINEAR, x, steps=6).x0)
        assert [one.number for one in told] == list(range(1, round(got.nfe) + 1))
        assert isinstance(told[0], Evaluation)
        assert torch.allclose(told[0].x, x)
        for one in told:
            alpha, sigma = float(LINEAR.alpha(one.t)), float(LINEAR.sigma(one.t))
            assert torch.allclose(one.x0, (one.x - sigma * truth(one.x, one.t)) / alpha)

    def test_what_the_callback_does_to_it_changes_nothing(self):
        truth, x = GaussianMixture(LINEAR), torch.ones(2, 4).double()

        def spoil(told):
            told.x.zero_()
            told.x0.zero_()

        got = samplerbench.sample("ddim", truth, LINEAR, x, steps=4, callback=spoil)
        assert got.x0.equal(samplerbench.sample("ddim", truth, LINEAR, x, steps=4).x0)
