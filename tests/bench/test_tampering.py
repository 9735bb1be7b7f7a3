"""Samplers and metrics that lie, spoil or leave: each costs its own cells, and no other a digit."""

from __future__ import annotations

import pytest

import samplerbench
from samplerbench.errors import PluginError
from samplerbench.plugins import load_plugins

PLUGIN = '''
import sys
from dataclasses import dataclass
import torch
from samplerbench import Measured, Metric, Sampler, hookimpl

def cells(function, found, depth=0):
    """Whatever can be reached from a function's closure."""
    for cell in getattr(function, "__closure__", None) or ():
        found.append(cell.cell_contents)
        if callable(cell.cell_contents) and depth < 6:
            cells(cell.cell_contents, found, depth + 1)
    return found

def network(eps):
    return next(v for v in cells(eps._ask, []) if hasattr(v, "predictor")).predictor

def make(label, body, **extra):
    def sample(self, eps, grid, x, noise):
        result = body(eps, grid, x)
        return x.clamp(-1, 1) if result is None else result
    namespace = {"name": label, "sample": sample, "__module__": __name__, "__annotations__": {}, **extra}
    return dataclass(frozen=True, kw_only=True)(type(label, (Sampler,), namespace))

def scale_weights(eps, grid, x):
    for p in network(eps).parameters():
        p.data.mul_(1.5)

def one_weight(eps, grid, x):
    next(network(eps).parameters()).data.view(-1)[0] += 1e-3

def swap_weights(eps, grid, x):
    p = next(network(eps).parameters()).data
    p.copy_(p.roll(1, 0))

def then_fail(eps, grid, x):
    scale_weights(eps, grid, x)
    raise ValueError("after the deed")

def scale_guide(eps, grid, x):
    guided = next(v for v in cells(eps._ask, []) if type(v).__name__ == "Guided")
    for p in guided._other.predictor.parameters():
        p.data.mul_(1.5)
    return eps(x, grid.times[0]).clamp(-1, 1)

def train_mode(eps, grid, x):
    network(eps).train()

def new_forward(eps, grid, x):
    unet = network(eps).network
    unet.forward = lambda x, label: 0 * x

def default_dtype(eps, grid, x):
    torch.set_default_dtype(torch.float64)

def write_betas(eps, grid, x):
    grid.schedule.betas[:] = 0.5

def new_nodes(eps, grid, x):
    grid.schedule._nodes = grid.schedule._nodes * 2

def shorter(eps, grid, x):
    grid.schedule.t_max = 10.0

def asks_below(eps, grid, x):
    model = next(v for v in cells(eps._ask, []) if hasattr(v, "predictor"))
    for _ in range(8):
        x = x - 0.1 * model(x, grid.times[0])
    return x.clamp(-1, 1)

def resets(eps, grid, x):
    counts = next(v for v in cells(eps._ask, []) if type(v) is dict)
    for _ in range(8):
        x = x - 0.1 * eps(x, grid.times[0])
        counts[1] = 0
    return x.clamp(-1, 1)

def sets_budget(eps, grid, x):
    eps.budget = None

def sets_rows(eps, grid, x):
    eps._rows = 0

def shares_rows(eps, grid, x):
    import numpy as np
    for _ in range(8):
        x = x - 0.1 * eps(x, grid.times[0], rows=np.zeros(len(x), dtype=int))
    return x.clamp(-1, 1)

def leaves(eps, grid, x):
    sys.exit(0)

def other_device(eps, grid, x):
    torch.set_default_device("meta")

def autocasts(eps, grid, x):
    torch.autocast("cpu", torch.bfloat16).__enter__()

def no_mkldnn(eps, grid, x):
    torch.backends.mkldnn.enabled = False

def products(eps, grid, x):
    torch.set_float32_matmul_precision("medium")

def tf32(eps, grid, x):
    torch.backends.cudnn.allow_tf32 = True

def torchs(eps, grid, x):
    return (x + torch.randn(x.shape)).clamp(-1, 1)

def seeds(eps, grid, x):
    torch.manual_seed(0)

def numpys(eps, grid, x):
    import numpy
    numpy.random.rand()

def pythons(eps, grid, x):
    import random
    random.seed(1)

def no_memory(eps, grid, x):
    raise MemoryError

class Unspeakable(Exception):
    def __str__(self):
        raise SystemExit(0)

def unspeakable(eps, grid, x):
    raise Unspeakable

def surrogates(eps, grid, x):
    raise ValueError("\\ud800 \\x1b[31m")

class Ends(BaseException):
    pass

def ends(eps, grid, x):
    raise Ends("all of it")

def end_of_file(eps, grid, x):
    raise EOFError("no more")

def needs_gradient(eps, grid, x):
    with torch.enable_grad():
        return x.clone().requires_grad_() * 2

def measuring(label, body):
    def measure(self, drawn):
        body(drawn)
        return Measured(1.0)
    return type(label, (Metric,), {"name": label, "measure": measure, "__module__": __name__})

def zeroes(drawn):
    drawn.features.zero_()

def sorts(drawn):
    drawn.features.copy_(drawn.features.sort(dim=0).values)

def switches(drawn):
    object.__setattr__(drawn.sampler, "final", "none")

def exits(drawn):
    sys.exit(0)

def numbers(drawn):
    drawn.epsilon.predictor.prediction = "epsilon"

def reference(drawn):
    drawn.reference.statistics.mu[:] += 1
    drawn.reference.statistics.sigma[:] *= 2
    drawn.reference.features.zero_()

def epsilon(drawn):
    drawn.epsilon.lowered = torch.bfloat16

SAMPLERS = (scale_weights, one_weight, swap_weights, then_fail, train_mode, new_forward, default_dtype, write_betas,
    scale_guide, new_nodes, shorter, asks_below, resets, sets_budget, sets_rows, shares_rows, leaves, ends, end_of_file,
    needs_gradient, other_device, autocasts, no_mkldnn, products, unspeakable, surrogates,
    tf32, torchs, seeds, numpys, pythons, no_memory)

@hookimpl
def samplerbench_samplers(register):
    for body in SAMPLERS:
        register(make(body.__name__.replace("_", "-"), body))

@hookimpl
def samplerbench_metrics(register):
    for body in (zeroes, sorts, switches, exits, numbers, reference, epsilon):
        register(measuring(body.__name__, body))
'''


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "tampering.py"
    path.write_text(PLUGIN)
    return str(path)


@pytest.fixture
def go(tiny_model, tmp_path):
    def run(samplers, out="out", **options):
        options = {"samples": 20, "nfe": [3], "batch_size": 10, "model": str(tiny_model), "device": "cpu"} | options
        return samplerbench.run(samplers, out=tmp_path / out, **options)

    return run


REASONS = {
    "scale-weights": "Tampered: scale-weights changed the weights of the network",
    "one-weight": "Tampered: one-weight changed the weights of the network",
    "swap-weights": "Tampered: swap-weights changed the weights of the network",
    "then-fail": "ValueError: after the deed",
    "train-mode": "Tampered: train-mode changed the modules of the network, or their mode, hooks or numbers",
    "new-forward": "Tampered: new-forward changed the modules of the network, or their mode, hooks or numbers",
    "default-dtype": "Tampered: default-dtype changed torch's default dtype",
    "other-device": "Tampered: other-device changed torch's default device",
    "autocasts": "Tampered: autocasts changed torch's autocast",
    "no-mkldnn": "Tampered: no-mkldnn changed torch's use of MKL-DNN",
    "products": "Tampered: products changed torch's precision of float32 products",
    "tf32": "Tampered: tf32 changed torch's precision of float32 products",
    "torchs": "Tampered: torchs drew from the global generator of torch; noise(i) is what it is given",
    "seeds": "Tampered: seeds drew from the global generator of torch",
    "numpys": "Tampered: numpys drew from the global generator of numpy",
    "pythons": "Tampered: pythons drew from the global generator of random",
    "unspeakable": "Unspeakable: its message cannot be had",
    "surrogates": "ValueError: \\ud800 \\x1b[31m",
    "asks-below": "Miscounted: asks-below had the network run on 80 rows, and was counted 0",
    "resets": "Miscounted: resets had the network run on 80 rows, and was counted 0",
    "sets-budget": "AttributeError: ",
    "sets-rows": "AttributeError: ",
    "shares-rows": "BudgetExceeded: asked for evaluation 10 on a budget of 3",
    "leaves": "Escaped: leaves raised SystemExit: 0",
    "ends": "Escaped: ends raised Ends: all of it",
    "end-of-file": "EOFError: no more",
    "needs-gradient": "BadSample: needs-gradient returned a tensor that requires a gradient; detach it",
}


def test_whoever_lies_or_spoils_fails_by_name_and_costs_nobody_else(go, plugin):
    expected = go("ddim,ddpm", "clean")
    harmless = ["write-betas", "new-nodes", "shorter"]
    bad = [*REASONS, *harmless]
    frame = go(",".join(f"{name},ddim:eta=0.{i + 1:02}1" for i, name in enumerate(bad)), "bad", plugins=[plugin])
    rows = frame.set_index("sampler")
    for name, reason in REASONS.items():
        assert rows.loc[name, "status"] == "failed", name
        assert rows.loc[name, "reason"].startswith(reason), rows.loc[name, "reason"]
    # what is done to the sampler's own copy of the schedule harms nobody, so it is not noticed
    assert rows.loc[harmless, "status"].tolist() == ["done"] * 3
    # in the same process and cache, and after all of them: not a digit differs
    again = go(",".join([*bad, "ddim", "ddpm"]), "after", plugins=[plugin])
    assert again["fid"].tolist()[-2:] == expected["fid"].tolist()
    mixed = [f"ddim:eta=0.{i + 1:02}1" for i in range(len(bad))]
    alone = go(",".join(mixed), "alone", fresh=True)
    assert alone["fid"].tolist() == rows.loc[mixed, "fid"].tolist()


def test_a_guide_that_was_changed_guides_nobody(go, plugin, tiny_latent):
    options = {"model": str(tiny_latent), "guidance": f"auto:scale=2:model={tiny_latent}", "samples": 4}
    expected = go("ddim", "clean", **options)
    frame = go("scale-guide,ddim", "bad", plugins=[plugin], fresh=True, **options)
    assert frame["status"].tolist() == ["failed", "done"]
    assert frame["reason"][0].startswith("Tampered: scale-guide changed the weights of the network (")
    assert frame["reason"][0].endswith(f" of guidance {frame['guidance'][0]}")
    assert frame["fid"][1] == expected["fid"][0]


def test_what_a_metric_does_harms_no_metric_after_it(go, plugin):
    expected = go("ddim,ddpm", "clean", metrics="fid,kid")
    for metric in ("zeroes", "sorts", "switches", "reference", "epsilon", "numbers", "exits"):
        frame = go("ddim,ddpm", metric, plugins=[plugin], metrics=f"{metric},fid,kid", fresh=True)
        assert frame[["fid", "kid"]].equals(expected[["fid", "kid"]])
        assert frame[metric].isna().all() == (metric in ("numbers", "exits"))
    assert frame["reason"].str.startswith("exits failed: Escaped: exits raised SystemExit: 0").all()


def test_a_plugin_without_memory_costs_no_other_cell_its_batch_size(go, plugin):
    frame = go("ddim,no-memory,ddpm", plugins=[plugin])
    assert frame["status"].tolist() == ["done", "failed", "done"]
    assert frame["batch_size"].tolist() == [10, 1, 10]


@pytest.mark.parametrize("end", ["SystemExit(0)", "KeyError('x')", "BaseException('all')", "GeneratorExit()"])
@pytest.mark.parametrize("where", ["import", "hook", "class"])
def test_a_plugin_that_ends_the_program_while_it_is_loaded(tmp_path, end, where):
    path = tmp_path / "ending.py"
    lines = {
        "import": f"raise {end}\n",
        "hook": (
            f"from samplerbench import hookimpl\n@hookimpl\ndef samplerbench_samplers(register):\n    raise {end}\n"
        ),
        "class": (
            "from dataclasses import dataclass\nfrom samplerbench import Sampler, hookimpl\n"
            "@dataclass(frozen=True, kw_only=True)\nclass Mine(Sampler):\n    name = 'mine'\n"
            f"    def __post_init__(self):\n        raise {end}\n"
            "    def sample(self, eps, grid, x, noise):\n        return x\n"
            "@hookimpl\ndef samplerbench_samplers(register):\n    register(Mine)\n"
        ),
    }
    path.write_text(lines[where])
    with pytest.raises(PluginError) as raised:
        load_plugins([str(path)])
    assert end.partition("(")[0] in str(raised.value)


def test_claims_that_end_the_program_or_never_end(go, tmp_path):
    path = tmp_path / "claims.py"
    path.write_text(
        "from dataclasses import dataclass\nfrom samplerbench import Sampler, hookimpl\n"
        "def make(label, **extra):\n"
        "    space = {'name': label, 'sample': lambda self, eps, grid, x, noise: x.clamp(-1, 1),\n"
        "             '__module__': __name__, '__annotations__': {}, **extra}\n"
        "    return dataclass(frozen=True, kw_only=True)(type(label, (Sampler,), space))\n"
        "def leave(self, steps):\n    raise SystemExit(0)\n"
        "@hookimpl\ndef samplerbench_samplers(register):\n"
        "    register(make('leaves', evaluations=leave))\n"
        "    register(make('stays', evaluations=lambda self, steps: 2))\n"
        "    register(make('falls', evaluations=lambda self, steps: -steps))\n"
        "    register(make('halves', evaluations=lambda self, steps: steps / 2))\n"
    )
    frame = go("leaves,stays,falls,halves,ddim", plugins=[str(path)])
    assert frame["status"].tolist() == ["failed"] * 4 + ["done"]
    assert frame["reason"][0] == "Escaped: leaves raised SystemExit: 0"
    assert frame["reason"][1].startswith("ValueError: stays.evaluations(")
    assert "does not grow" in frame["reason"][1]
