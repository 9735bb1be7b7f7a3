"""Guides of a run: the second model of one, or its classifier, is the same in every process and all the time."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import torch

import samplerbench
from samplerbench import UserError, load_model
from samplerbench.bench.execute import Listener
from samplerbench.bench.guides import Guides
from samplerbench.bench.remote import Remote
from samplerbench.bench.written import WrittenPlan
from samplerbench.models.classifier import save_classifier
from samplerbench.models.formats.own import note_parts, save_model
from samplerbench.models.networks.classifier import NoisyClassifier, NoisyClassifierConfig
from samplerbench.plugins import load_plugins


@pytest.fixture
def weak(tiny_latent, tmp_path, monkeypatch):
    """A worse model, in a folder of that name where the run is started."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_latent, tmp_path / "weak")
    weaken(tmp_path / "weak", 0.5)
    return tmp_path / "weak"


def weaken(folder, factor):
    model = load_model(str(folder))
    network = model.predictor.network
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(factor)
    save_model(folder, network, "v", model.schedule, "fashion-mnist-cnn", training={})
    note_parts(folder)


class Then(Listener):
    """Does something when the first cell has ended."""

    def __init__(self, act):
        self.act = act

    def finish(self, cell, record):
        self.act()
        self.act = lambda: None


def test_a_second_model_that_is_changed_during_a_run(tiny_latent, weak):
    found = samplerbench.run(
        "ddim", model=tiny_latent, nfe=2, samples=4, guidance=[1, "auto:scale=2:model=weak"], out="out",
        listener=Then(lambda: weaken(weak, 0.5)),
    )  # fmt: skip
    assert found["status"].tolist() == ["done", "failed"]
    assert "guidance auto:scale=2:model=weak was changed in the meantime" in found["reason"][1]


def test_a_guide_is_held_to_what_it_was(weak):
    guides = Guides(load_plugins())
    said = guides.said("auto:scale=2:model=weak")
    assert guides("auto:scale=2:model=weak").second.sha256 == said[2] == load_model("weak").sha256
    weaken(weak, 0.5)
    with pytest.raises(UserError, match="was changed in the meantime"):
        guides("auto:scale=2:model=weak")


def test_a_written_plan_is_worked_on_from_any_folder(tiny_latent, weak, tmp_path, monkeypatch, command):
    asked = ["run", "--model", tiny_latent, "--samplers", "ddim", "--nfe", 2, "--samples", 4, "--out", tmp_path / "out"]
    code, _, errors = command(*asked, "--guidance", "auto:scale=2:model=weak", "--plan-only")
    assert code == 0, errors
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    plan = WrittenPlan.read(tmp_path / "out")
    (task,) = plan.tasks()
    assert Remote(plan.for_worker(tmp_path / "out", None), pytest.fail).do(task).cached == 0


@pytest.mark.parametrize(
    ("spec", "model", "rest"),
    [
        ("auto:scale=2:model=hf:owner/name", "hf:owner/name", {}),
        ("auto:model=hf:owner/name:scale=2", "hf:owner/name", {}),
        ("auto:model=nets.py:made:scale=2:high=3", "nets.py:made", {"high": 3.0}),
        ("classifier:model=here/classifier.pt:low=1:scale=3", "here/classifier.pt", {"low": 1.0, "scale": 3.0}),
    ],
)
def test_a_second_model_may_have_a_colon_in_its_name(spec, model, rest):
    guider = load_plugins().guider(spec)
    assert guider.model == model
    assert {name: getattr(guider, name) for name in rest} == rest
    assert load_plugins().guider(guider.spec()) == guider


def test_a_second_model_is_a_function_of_a_file(tiny_latent, weak, tmp_path):
    (tmp_path / "nets.py").write_text(
        "from samplerbench.models.formats.own import Own\n\ndef made():\n    return Own().load('weak')\n"
    )
    found = [
        samplerbench.sample("ddim", str(tiny_latent), samples=2, nfe=2, guidance=f"auto:scale=2:model={name}").x0
        for name in ("weak", "nets.py:made")
    ]
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("spec", ["cfg", "cfg:negative=boot", "cfg:high=5", "auto:model=weak"])
def test_guidance_that_nobody_gave_a_scale_is_no_quiet_nothing(tiny_latent, weak, spec):
    with pytest.raises(UserError, match=f"guidance {spec}: without a scale it is 1, no guidance; say {spec}:scale=2"):
        samplerbench.run("ddim", model=tiny_latent, nfe=2, samples=4, guidance=spec)


GUIDER = """
from dataclasses import dataclass
from pathlib import Path
from samplerbench.diffusion.guidance import ClassifierFree
from samplerbench.hookspecs import hookimpl

@dataclass(frozen=True, kw_only=True)
class Mine(ClassifierFree):
    name = "mine"
    depends_on = ("factor.txt",)

    def combine(self, asked, other):
        import lazy_part
        return other + self.scale * float(Path(__file__).with_name("factor.txt").read_text()) * (asked - other)

@hookimpl
def samplerbench_guiders(register):
    register(Mine)
"""


def test_a_file_that_a_guider_depends_on_is_changed_during_a_run(tiny_latent, tmp_path, monkeypatch):
    """A module that it imports when it is first asked is part of its code, as of a sampler."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine.py").write_text(GUIDER)
    (tmp_path / "lazy_part.py").write_text("")
    (tmp_path / "factor.txt").write_text("1")
    found = samplerbench.run(
        "ddim", model=tiny_latent, nfe="2,3", samples=4, guidance="mine:scale=2", plugins=tmp_path / "mine.py",
        out=tmp_path / "out", listener=Then(lambda: (tmp_path / "factor.txt").write_text("2")),
    )  # fmt: skip
    assert found["status"].tolist() == ["done", "failed"], found["reason"].tolist()
    assert "factor.txt, which mine depends on, was changed during the run" in found["reason"][1]


def with_classifier(tiny_latent, folder, classes):
    shutil.copytree(tiny_latent, folder)
    save_classifier(folder / "classifier", NoisyClassifier(NoisyClassifierConfig((2, 7, 7), classes, channels=(8,))))
    note_parts(folder)
    return folder


def test_what_a_classifier_cannot_lean_towards(tiny_latent, tmp_path):
    (tmp_path / "prompts.txt").write_text("white\na\n")
    ten, five = (with_classifier(tiny_latent, tmp_path / str(n), n) for n in (10, 5))
    given = {"nfe": 2, "samples": 4, "guidance": "classifier:scale=2", "out": tmp_path / "out"}
    with pytest.raises(UserError, match="nothing that samples are asked for names a class to lean towards"):
        samplerbench.run("ddim", model=ten, prompts=tmp_path / "prompts.txt", **given)
    with pytest.raises(UserError, match="class 9 is asked for, and the classifier knows 0 to 4"):
        samplerbench.run("ddim", model=five, **given)
    with pytest.raises(UserError, match="names a class to lean towards"):
        samplerbench.sample("ddim", str(ten), samples=2, nfe=2, prompts="white", guidance="classifier:scale=2")
    assert not (tmp_path / "out").exists()


def test_a_second_model_of_other_words(tiny_latent, weak, tmp_path):
    said = json.loads((weak / "text/config.json").read_text())
    said |= {"vocabulary": ["a", "shoe", "dress", "white"], "classes": {}}
    (weak / "text/config.json").write_text(json.dumps(said))
    note_parts(weak)
    with pytest.raises(
        UserError, match="guidance auto:scale=2:model=weak: of the second model: unknown word in prompt"
    ):
        samplerbench.run("ddim", model=tiny_latent, nfe=2, samples=4, guidance="auto:scale=2:model=weak", out="out")
    assert not (tmp_path / "out").exists()


def test_a_pipe_of_prompts_is_read_once(tiny_latent, tmp_path):
    ends = []
    for name in ("one", "two"):
        reading, writing = os.pipe()
        os.write(writing, b"a boot\nwhite dress\n")
        os.close(writing)
        found = samplerbench.run(
            "ddim", model=tiny_latent, nfe=2, samples=4, prompts=f"/dev/fd/{reading}", out=tmp_path / name
        )
        os.close(reading)
        ends.append(found["asked_sha256"][0])
    (tmp_path / "prompts.txt").write_bytes("\ufeffa boot\nwhite dress\n".encode())
    found = samplerbench.run(
        "ddim", model=tiny_latent, nfe=2, samples=4, prompts=tmp_path / "prompts.txt", out=tmp_path / "c"
    )
    assert [*ends, found["asked_sha256"][0]] == [ends[0]] * 3


def test_a_run_that_is_repeated_with_other_prompts_or_another_second_model(tiny_latent, weak, tmp_path, command):
    (tmp_path / "prompts.txt").write_text("a boot\n")
    asked = ["run", "--model", tiny_latent, "--samplers", "ddim", "--nfe", 2, "--samples", 4, "--out", "one"]
    code, _, errors = command(*asked, "--prompts", "prompts.txt", "--guidance", "2,auto:scale=2:model=weak")
    assert code == 0, errors
    again = ["run", "--config", "one/run.json", "--out"]
    for out, change, expected in (
        ("two", lambda: None, ()),
        ("three", lambda: (tmp_path / "prompts.txt").write_text("white dress\n"), ("is another list",)),
        ("four", lambda: weaken(weak, 0.5), ("is another list", "code of auto:scale=2:model=weak is another")),
    ):
        change()
        code, _, errors = command(*again, out)
        assert code == 0, errors
        told = ("is another list", "code of auto:scale=2:model=weak is another")
        assert tuple(text for text in told if text in errors) == expected


def test_a_prompt_that_is_no_prompt(tiny_latent, tmp_path, command):
    (tmp_path / "prompts.txt").write_text("boot\n" + "a" * 10**6)
    for arguments in (["run", "--samplers", "ddim"], ["sample"]):
        code, _, errors = command(*arguments, "--model", tiny_latent, "--prompts", tmp_path / "prompts.txt")
        assert code == 2
        assert "has 1,000,000 characters, at most 4,000 are taken" in errors
        assert len(errors) < 300
