"""Recipes: how they are read and changed, and what is refused before anything is trained."""

from __future__ import annotations

import json
import re
from dataclasses import MISSING, fields, replace
from pathlib import Path

import pytest

from samplerbench import UserError
from samplerbench.training.recipe import PARTS, OptimiserConfig, Recipe, find_recipe, recipe_names


def test_rates_warm_up_stay_and_fall():
    config = OptimiserConfig(steps=100, warmup=10, decay=0.5)
    assert [config.rate(step) for step in (0, 4, 9, 30, 50, 75, 99)] == [0.1, 0.5, 1, 1, 1, 0.5, 0.02]
    again = replace(config, restarts=((50, 0.4), (10, 0.1)))
    assert again.total == 160
    assert [again.rate(step) for step in (99, 100, 125, 150, 155, 160)] == pytest.approx([0.02, 0.4, 0.2, 0.1, 0.05, 0])


def test_shipped_recipes_are_read():
    assert recipe_names() == [
        "cifar10-36m", "cifar10-8m", "fashion-mnist", "fashion-mnist-features", "fashion-mnist-latent",
        "fashion-mnist-vae",
    ]  # fmt: skip
    assert find_recipe("fashion-mnist").schedule["kind"] == "linear"
    assert find_recipe("fashion-mnist-features").kind == "classifier"
    assert find_recipe("fashion-mnist-vae").kind == "vae"


def test_a_recipe_says_what_its_kind_has():
    """So a key that is new to one kind changes the checkpoints of no other."""
    said = {name: set(find_recipe(name).said()) for name in ("fashion-mnist", "fashion-mnist-vae", "cifar10-8m")}
    shared = {"name", "kind", "data", "optimiser", "network", "weights", "extractor"}
    assert said["fashion-mnist-vae"] == shared | {"beta"}
    assert said["fashion-mnist"] == said["cifar10-8m"]
    assert said["fashion-mnist"] == shared | {
        "schedule",
        "prediction",
        "times",
        "lognormal",
        "weighting",
        "vae",
        "text",
        "experts",
        "finish",
    }


def test_a_recipe_is_changed():
    changes = ["optimiser.steps=7", "data.dataset=npz", "times=lognormal", "network.channels=[8, 16]", 'name="x=y"']
    plan = find_recipe("fashion-mnist", changes)
    assert (plan.optimiser.steps, plan.data.dataset, plan.times, plan.name) == (7, "npz", "lognormal", "x=y")
    assert plan.network["channels"] == [8, 16]
    assert plan.optimiser.batch_size == find_recipe("fashion-mnist").optimiser.batch_size


@pytest.mark.parametrize(
    "change", ["times=lognormal", "prediction=v", "experts.last=[5]", "finish.samples=3", "weights=float16"]
)
def test_what_a_classifier_has_no_use_for_is_refused(change):
    changes = [change, "experts.steps=1"] if change.startswith("experts") else [change]
    with pytest.raises(
        UserError,
        match=r"(times|prediction|experts|finish|weights) belongs to kind diffusion(?: or vae)?; a classifier",
    ):
        find_recipe("fashion-mnist-features", changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("steps", r"--set is KEY=VALUE or TABLE\.KEY=VALUE, .* got 'steps'"),
        ("a.b.c=1", "--set is KEY=VALUE"),
        ("optimiser.stpes=1", "did you mean 'steps'"),
        ("optimiser.steps=many", "steps in .optimiser. of recipe 'fashion-mnist' is a whole number, got 'many'"),
        ("optimiser.steps=1.5", "is a whole number, got 1.5"),
        ("optimiser.learning_rate=true", "is a number, got True"),
        ("data.flips=yes", "flips in .data. of recipe 'fashion-mnist' is true or false, got 'yes'"),
        ("name.x=1", "'name' of a recipe is no table"),
        ("data=1", r"\[data\] of recipe 'fashion-mnist' is a table"),
        ("optimiser.precision=bf16", "unknown precision 'bf16'; did you mean 'bfloat16'"),
    ],
)
def test_bad_changes(change, message):
    with pytest.raises(UserError, match=message):
        find_recipe("fashion-mnist", [change])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "not valid TOML"),
        ("nmae = 'x'", "unknown key in recipe .* 'nmae'; did you mean 'name'"),
        ("name = 'x'\nkind = 'difusion'\n[data]\ndataset = 'npz'\n[optimiser]\nsteps = 1", "did you mean 'diffusion'"),
        ("name = 'x'\nkind = 'diffusion'\n[data]\ndataset = 'npz'\n[optimiser]\nstpes = 1", "did you mean 'steps'"),
        (
            "name = 'x'\nkind = 'diffusion'\n[data]\ndataset = 'npz'\n[optimiser]\nsteps = 0",
            r"steps in .optimiser. is a whole number from 1 to 1000000000, got 0",
        ),
        ("name = 'x'\n[data]\ndataset = 'npz'\n[optimiser]\nsteps = 1", "recipe '.*' needs 'kind'"),
        ("name = 'x'\nkind = 'diffusion'\n[data]\ndataset = 'npz'", r"\[optimiser\] of recipe '.*' needs 'steps'"),
        (
            "name = 'x'\nkind = 'diffusion'\nextractor = 'cnn'\n[data]\ndataset = 'npz'\n[optimiser]\nsteps = 1",
            "unknown extractor 'cnn'",
        ),
        (b"name = '\xff'", "cannot be read: UnicodeDecodeError"),
    ],
)
def test_bad_recipes(tmp_path, text, message):
    path = tmp_path / "bad.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=message):
        find_recipe(str(path))


PAIRS = r"restarts in \[optimiser\] is a list of pairs \[steps, rate\] like \[\[1000, 0.4\]\], got "


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("optimiser.restarts=[[10]]", PAIRS),
        ('optimiser.restarts=[["a", 1]]', PAIRS),
        ("optimiser.restarts=[[10, nan]]", PAIRS),
        ("optimiser.restarts=[[0, 1]]", PAIRS),
        ("optimiser.restarts=5", PAIRS + "5"),
        ("optimiser.learning_rate=nan", r"learning_rate in \[optimiser\] is a number above 0 to 1000000000, got nan"),
        ("optimiser.learning_rate=-1", "learning_rate .* above 0 .* got -1"),
        ("optimiser.muon_learning_rate=inf", "muon_learning_rate .* got inf"),
        ("optimiser.clip=-1", "clip .* above 0 .* got -1"),
        ("optimiser.warmup=-5", "warmup .* is a whole number from 0 to 1000000000, got -5"),
        ("optimiser.weight_decay=-0.1", "weight_decay .* from 0 .* got -0.1"),
        ("optimiser.beta2=1", "beta2 .* is a number from 0 to below 1, got 1"),
        ("optimiser.decay=nan", "decay .* got nan"),
        ("optimiser.seed=-1", "seed .* from 0 .* got -1"),
        (f"optimiser.seed={10**30}", "seed .* from 0 .* got 10"),
        ("finish.samples=-1", r"samples in \[finish\] is a whole number from 0"),
        ("data.shift=-1", r"shift in \[data\] is a whole number from 0 to 1000, got -1"),
        ("experts.last=[5.5]", r"last in \[experts\] is a list of increasing whole times like .* got \[5.5\]"),
        ("experts.last=5", "last in .* got 5"),
        ("experts.last=[500, 200]", "last in .* got"),
        ("experts.last=[1000]", "divides times below 1000, got 1000"),
        ("experts.rate=nan", r"rate in \[experts\] is a number above 0 .* got nan"),
        ("optimiser.learning_rate=1e-320 experts.rate=1e-9", "learning_rate in .* above 0 .* got 0.0"),
        ("prediction=noise", "unknown prediction 'noise'"),
        ("prediction=velocity", "recipe 'fashion-mnist': a velocity ε - x_0 belongs to a flow"),
        ("prediction=epsilon schedule.zero_terminal_snr=true", "'fashion-mnist': .* 'epsilon' says nothing of x_0"),
        ("prediction=edm schedule.zero_terminal_snr=true", "'edm' says nothing of x_0"),
        ('schedule={kind="vp"}', "needs a discrete schedule .linear, .* got 'vp'"),
        ("schedule.kind=lineer", "did you mean 'linear'"),
    ],
)
def test_what_cannot_be_trained_is_refused_when_it_is_read(changes, message):
    with pytest.raises(UserError, match=message) as caught:
        find_recipe("fashion-mnist", changes.split(" ") if "=[" not in changes else [changes])
    assert "\n" not in str(caught.value)


def test_zero_terminal_snr_goes_with_v():
    assert find_recipe("fashion-mnist", ["schedule.zero_terminal_snr=true"]).path().reaches_pure_noise


def test_shifts_are_a_classifiers():
    with pytest.raises(UserError, match=r"data\.shift belongs to kind classifier"):
        find_recipe("fashion-mnist", ["data.shift=2"])


def test_the_page_names_every_key_with_its_default():
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    found = re.findall(r"^\|([^|]*)\| `(\w+)` \|([^|]*)\|", page, re.MULTILINE)
    rows = [(where.strip(" `"), key, default.strip(" `")) for where, key, default in found]
    tables = {"": Recipe} | {f"[{name}]": part for name, part in PARTS.items()}
    named: dict[str, dict[str, str]] = {}
    table = ""
    for where, key, default in rows:
        table = table if where == "″" else where
        named.setdefault(table, {})[key] = default
    for where, cls in tables.items():
        for field in fields(cls):
            if where or field.name not in (*PARTS, "network", "schedule"):
                value = "" if field.default is MISSING else json.dumps(field.default) if field.default != () else "null"
                assert named[where].pop(field.name) == value.strip('"').replace("null", "none"), (where, field.name)
        assert not named[where]
    assert set(named) == {*tables, "[schedule]", "[network]"}
