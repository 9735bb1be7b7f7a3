"""Networks that torch compiles: the same function, and who may ask for it. Nothing is compiled to machine code here."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from torch import nn

import samplerbench
from samplerbench import UserError
from samplerbench.models import compiled as module
from samplerbench.models.compiled import Compiled, check_compiled, compiled
from samplerbench.models.networks.experts import Experts
from samplerbench.models.networks.unet import UNet, UNetConfig


@pytest.fixture
def network():
    torch.manual_seed(0)
    return UNet(UNetConfig(image_shape=(1, 8, 8), channels=(8, 16), blocks=1)).eval().requires_grad_(False)


@pytest.fixture(autouse=True)
def traced_only(monkeypatch):
    monkeypatch.setattr(module, "BACKEND", "eager")


def given(n=3):
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.linspace(1, 900, n)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_cast_once_give_what_autocast_gives_at_every_call(network, dtype):
    with torch.no_grad(), torch.autocast("cpu", dtype):
        expected = network(*given())
        got = Compiled(network, "inductor", dtype)(*given())
    assert got.equal(expected)
    assert {part.weight.dtype for part in network.modules() if isinstance(part, nn.Conv2d | nn.Linear)} == {dtype}
    assert {part.weight.dtype for part in network.modules() if isinstance(part, nn.GroupNorm)} == {torch.float32}


def test_any_batch_size(network):
    made = compiled(network, "inductor")
    for n in (4, 3, 7, 1):
        torch.testing.assert_close(made(*given(n)), network(*given(n)))


def test_each_expert_is_compiled_by_itself(network):
    made = compiled(Experts([network, network], [400.0]), "inductor")
    assert isinstance(made, Experts)
    assert all(isinstance(one, Compiled) for one in made.networks)
    x, label = given()
    torch.testing.assert_close(made.at(500.0)(x, label), network(x, label))


def test_what_a_graph_wrote_is_copied(network, monkeypatch):
    """A graph writes into the same memory at each call."""
    monkeypatch.setitem(module.MODES, "graphs", "default")
    made, memory = Compiled(network, "graphs", None), torch.zeros(2)

    def graph(x, label):
        return memory.copy_(x)

    made._call = graph
    first, second = made(torch.tensor([1.0, 2.0]), None), made(torch.tensor([3.0, 4.0]), None)
    assert first.tolist() == [1.0, 2.0]
    assert second.tolist() == [3.0, 4.0]


def test_a_run_says_it_and_keeps_it_apart(tiny_model, tmp_path):
    options = {"nfe": [3], "samples": 12, "batch_size": 8, "model": str(tiny_model), "device": "cpu"}
    plain = samplerbench.run("ddim", out=tmp_path / "a", **options)
    other = samplerbench.run("ddim,dpm:mode=adaptive", out=tmp_path / "b", compile="inductor", **options)
    fast = samplerbench.run("ddim", out=tmp_path / "c", fast=True, **options)
    assert other["status"].tolist() == ["done", "done"]
    assert [frame["compiled"][0] for frame in (plain, other, fast)] == ["no", "inductor", "inductor"]
    assert fast["dtype"].tolist() == ["bfloat16"]
    assert len({frame["key"][0] for frame in (plain, other, fast)}) == 3
    assert other["fid"][0] == pytest.approx(plain["fid"][0], rel=1e-4)
    assert fast["fid"][0] == pytest.approx(plain["fid"][0], rel=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compile": "graph"}, "unknown compile 'graph'; did you mean 'graphs'"),
        ({"compile": "graphs", "device": "cpu"}, "--compile=graphs records what a GPU is told, and the device is cpu"),
        ({"fast": True, "dtype": "float64"}, "--fast is --dtype bfloat16 --compile; leave out --dtype float64"),
    ],
)
def test_bad_input(tiny_model, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        samplerbench.run("ddim", nfe=[2], samples=8, model=str(tiny_model), out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_fast_and_a_precision_that_was_typed(command):
    code, _, errors = command("run", "--samplers", "ddim", "--fast", "--dtype", "float32")
    assert code == 2
    assert "--fast is --dtype bfloat16 --compile; leave out --dtype float32" in errors


def test_what_the_compiler_has_made_is_known_by_where_it_is(monkeypatch, tmp_path):
    """A batch of another size may load such a module while a sampler draws."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kernels"))
    for name, folder in (("a_kernel", "kernels/ab"), ("a_helper", "plugin")):
        made = types.ModuleType(name)
        made.__file__ = str(tmp_path / folder / f"{name}.so")
        monkeypatch.setitem(sys.modules, name, made)
    assert module.is_kernel("a_kernel")
    assert not module.is_kernel("a_helper")
    assert not module.is_kernel("math")


def test_no_compiler_is_one_line(monkeypatch):
    from torch._inductor import cpp_builder, exc

    def none():
        raise exc.InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", none)
    with pytest.raises(UserError, match=r"--compile needs a C\+\+ compiler on a CPU, such as g\+\+"):
        check_compiled("inductor", "cpu")
