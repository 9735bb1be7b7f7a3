"""The hot path on a GPU that is not there: every sampler, kind of model and extractor with tensors that say they are on
`cuda`, of which torch knows device, dtype and shape alone (FakeTensorMode). Where tensors of two devices meet, or those
of two dtypes in a product, that is an error, as it is on a GPU.

What depends on values has a stand-in: checks for finite numbers find nothing, the errors of adaptive samplers are 0.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from samplerbench import EDMSchedule, FlowSchedule, linear_schedule
from samplerbench.bench import worker as workers
from samplerbench.bench.clock import Clock
from samplerbench.bench.plan import RunConfig, chosen_samplers, plan_cells
from samplerbench.metrics.extractors import load_extractor
from samplerbench.metrics.fashion_mnist import FashionMNIST
from samplerbench.models.classifier import save_classifier
from samplerbench.models.formats.format import Checkpoint
from samplerbench.models.guided import asked_of
from samplerbench.models.model import Model
from samplerbench.models.networks.classifier import NoisyClassifier, NoisyClassifierConfig
from samplerbench.models.networks.experts import Experts
from samplerbench.models.networks.unet import UNet, UNetConfig
from samplerbench.models.preconditioning import Label, Preconditioning
from samplerbench.models.predictor import NoisePredictor
from samplerbench.plugins import load_plugins

from .plugins.test_samplers import SPECS

pytestmark = pytest.mark.skipif(
    torch.__version__ < (2, 15), reason="an older torch asks for a CUDA driver where tensors are fictitious, too"
)
SHAPE = (1, 28, 28)
REGISTRY = load_plugins()
ADAPTIVE = [f"dpm-solver:mode=adaptive:order={order}" for order in (2, 3)]
DTYPES = ["float32", "tf32", "bfloat16", "float16", "float64"]


def network():
    return UNet(UNetConfig(image_shape=SHAPE, patch=4, channels=(8,), blocks=1))


class Ranged(nn.Module):
    """A network that places the log variance, too."""

    def __init__(self):
        super().__init__()
        self.network = network()

    def forward(self, x, label):
        return self.network(x, label).repeat(1, 2, 1, 1)


KINDS = {
    **{name: (network, linear_schedule, Preconditioning(name)) for name in ("epsilon", "v", "x0", "score")},
    "edm": (network, EDMSchedule, Preconditioning("edm", "edm", Label("log-sigma"))),
    "velocity": (network, FlowSchedule, Preconditioning("velocity", label=Label("flow-time"))),
    "experts": (lambda: Experts([network(), network()], [400.0]), linear_schedule, Preconditioning("v")),
    "ranged": (Ranged, linear_schedule, Preconditioning("epsilon")),
}


def model_of(kind):
    make, path, convention = KINDS[kind]
    net, schedule = make().eval().requires_grad_(False), path()
    table = {"times": [1.0, 500.0, 1000.0], "values": [0.9, 0.95, 0.99]} if kind == "epsilon" else None
    said = Checkpoint(
        network=net,
        schedule=schedule,
        preconditioning=convention,
        sample_shape=SHAPE,
        mean_squares=table,
        learned_range=kind == "ranged",
    )
    return Model(kind, "test", NoisePredictor(net, convention).eval(), schedule, said, kind)


def moved(module, device=None, dtype=None, memory_format=None):
    """What `module.to` does, to a GPU that is not there."""
    for part in module.modules() if device else ():
        for table in (part._parameters, part._buffers):
            for name, tensor in table.items():
                if tensor is not None:
                    fake = torch.empty_like(tensor, device=device, dtype=dtype if tensor.is_floating_point() else None)
                    table[name] = nn.Parameter(fake, requires_grad=False) if table is part._parameters else fake
    return module


def copied(tensor, real=torch.Tensor.numpy):
    """What a copy of a fake tensor to numpy stands for: zeros."""
    if not isinstance(tensor, FakeTensor):
        return real(tensor)
    assert tensor.device.type == "cpu", "a tensor on the GPU has no numpy()"
    return np.zeros(tuple(tensor.shape), dtype=str(tensor.dtype).removeprefix("torch."))


def decided(tensor, real=torch.Tensor.__bool__):
    """A check for finite numbers, the only one that the hot path may ask a GPU: all are."""
    return True if isinstance(tensor, FakeTensor) else real(tensor)


def same(one, other, real=torch.equal):
    """Whether a sampler leaves the ends of a range as they are, which is asked on the CPU: it does."""
    if not isinstance(one, FakeTensor):
        return real(one, other)
    assert one.device.type == "cpu", "who compares tensors on the GPU waits for it"
    return True


class Strict(TorchDispatchMode):
    """Counts copies from the host to the GPU, and raises where tensors of two devices meet, or in a product those of
    two dtypes, which a fake tensor lets pass. A number may be on the CPU.
    """

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, given=(), named=None):
        packet = function.overloadpacket
        tensors = [one for one in tree_leaves((given, named or {})) if isinstance(one, torch.Tensor)]
        if packet is not torch.ops.aten.copy_:
            devices = {one.device.type for one in tensors if one.ndim}
            if len(devices) > 1:
                raise RuntimeError(f"{function} of tensors on {devices}")
        if packet in PRODUCTS and len({one.dtype for one in tensors}) > 1:
            raise RuntimeError(f"{function} of tensors of {[one.dtype for one in tensors]}")
        out = function(*given, **(named or {}))
        if packet in (torch.ops.aten._to_copy, torch.ops.aten.copy_):
            self.count += out.device.type == "cuda" and tensors[-1].device.type == "cpu"
        return out


PRODUCTS = [
    getattr(torch.ops.aten, name)
    for name in ("mm", "addmm", "bmm", "baddbmm", "mv", "dot", "convolution", "_scaled_dot_product_flash_attention")
]


@pytest.fixture
def gpu(monkeypatch):
    """`gpu(kind, dtype)` gives a worker on the GPU that is not there."""
    stack = ExitStack()
    monkeypatch.setattr(torch.Tensor, "numpy", copied)
    monkeypatch.setattr(torch.Tensor, "__bool__", decided)
    monkeypatch.setattr(torch, "equal", same)
    monkeypatch.setattr(workers, "Clock", lambda device: Clock("cpu"))
    monkeypatch.setattr(workers, "forget_peak", lambda device: None)
    monkeypatch.setattr(workers, "peak_megabytes", lambda device: 0)
    monkeypatch.setattr(workers, "_to_host", lambda tensor: tensor.to("cpu"))
    monkeypatch.setattr(nn.Module, "to", moved)
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: True)
    monkeypatch.setattr(workers.Seal, "of", mock.Mock())

    def made(kind="v", dtype="float32", model=None, **asked):
        model, extractor = model or model_of(kind), load_extractor(FashionMNIST(), "code", True)
        fused = extractor.extractor._fused
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        strict = stack.enter_context(Strict())
        moved(fused, "cuda")
        worker = workers.Worker(
            model, lambda: model, extractor, REGISTRY.sampler, "cuda", dtype, 4, "a GPU", pytest.fail, **asked
        )
        worker.strict = strict
        return worker

    with stack:
        yield made


def drawn(worker, spec, nfe=6, guidance=()):
    config = RunConfig(samplers=(spec,), values=(nfe,), dtype=worker.dtype)
    args = chosen_samplers(config, REGISTRY), REGISTRY, worker.model, worker.extractor
    (planned,) = plan_cells(config, *args, "cuda")
    assert planned.cell.times, planned.reason
    cell = replace(planned.cell, guidance=guidance, asked=worker.asked.sha256)
    return worker._draw(cell, range(6), lambda samples: None)


@pytest.mark.parametrize("spec", [*SPECS, *ADAPTIVE])
def test_every_sampler(gpu, spec):
    shard = drawn(gpu("epsilon"), spec, 13 if spec == "pndm" else 6)
    assert shard.features.shape == (6, 224)
    assert shard.x0.shape == (6, *SHAPE)


@pytest.mark.parametrize("spec", ["ddpm", ADAPTIVE[1]])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model(gpu, kind, spec):
    if kind == "experts" and spec in ADAPTIVE:
        pytest.skip("rows of one batch go to networks by their times, of which a fake has none")
    assert drawn(gpu(kind), spec).features.shape == (6, 224)


GUIDED = {"": 1, "2": 2, "cfg:scale=2:high=1": 2, "auto": 2, "classifier": 2}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    save_classifier(folder, NoisyClassifier(NoisyClassifierConfig((2, 7, 7), 10, channels=(8,), blocks=1)))
    return folder


ASKED = [(kind, ADAPTIVE[0], "float32") for kind in GUIDED]
ASKED += [(kind, "dpm-solver", dtype) for kind in ("2", "classifier") for dtype in ("bfloat16", "float64")]


@pytest.mark.parametrize(("kind", "spec", "dtype"), ASKED)
def test_latents_that_are_asked_for_and_guided(gpu, tiny_latent, classifier, kind, spec, dtype, monkeypatch):
    monkeypatch.setattr(torch.autograd, "grad", lambda outputs, inputs: (torch.zeros_like(inputs),))  # no card, no grad
    model = REGISTRY.model(str(tiny_latent))
    named = {"auto": f"auto:scale=2:model={tiny_latent}", "classifier": f"classifier:scale=2:model={classifier}"}
    guide = REGISTRY.guide(named.get(kind, kind or "1"))
    worker = gpu(dtype=dtype, model=model, guide=lambda spec: guide, asked=asked_of(model, ()))
    shard = drawn(worker, spec, guidance=(kind,) if kind else ())
    assert shard.features.shape == (6, 224)
    assert shard.x0.shape == (6, 2, 7, 7)
    assert worker.passes() <= 6 * GUIDED[kind] * 6
    assert spec in ADAPTIVE or worker.passes() == 6 * GUIDED[kind] * 6


def test_a_range_that_the_network_places(gpu):
    assert drawn(gpu("ranged"), "ddpm:variance=learned-range").features.shape == (6, 224)


@pytest.mark.parametrize("spec", ["ddpm", "dpm-solver", ADAPTIVE[1]])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_precision(gpu, dtype, spec):
    worker = gpu("v", dtype)
    assert worker.state_dtype == (torch.float64 if dtype == "float64" else torch.float32)
    assert drawn(worker, spec).features.shape == (6, 224)


@pytest.mark.parametrize(("spec", "most"), [("ddim", 0), ("dpm-solver", 0), *zip(ADAPTIVE, (2, 5 / 3), strict=True)])
def test_how_often_an_evaluation_sends_something(gpu, spec, most):
    """Samplers of fixed steps send nothing while they sample, adaptive ones a level an evaluation and twice a step."""
    worker = gpu("v")
    before = worker.strict.count
    drawn(worker, spec)
    calls = 2 * worker.passes() / 6  # of two batches
    assert worker.strict.count - before <= most * calls + 2  # and x_T's sample numbers, once a batch


def planted(what):
    """A sampler's step with a mistake that a CPU does not show."""
    return {
        "a tensor that was made on the CPU": lambda x: x * torch.ones(len(x), 1, 1, 1),
        "indices on the GPU for a tensor on the CPU": lambda x: torch.zeros(8)[torch.zeros(1, device=x.device).long()],
        "a matrix product of two dtypes": lambda x: x.flatten(1) @ x.flatten(1).double().T,
        "a convolution of two dtypes": lambda x: torch.conv2d(x.half(), x.new_ones(1, 1, 3, 3)),
    }[what]


@pytest.mark.parametrize(
    "what",
    [
        "a tensor that was made on the CPU",
        "indices on the GPU for a tensor on the CPU",
        "a matrix product of two dtypes",
        "a convolution of two dtypes",
    ],
)
def test_a_mixture_is_caught(gpu, monkeypatch, what):
    worker, sampler = gpu("v"), type(REGISTRY.sampler("ddim"))
    real = sampler.sample

    def sample(self, eps, grid, x, noise):
        planted(what)(x)
        return real(self, eps, grid, x, noise)

    monkeypatch.setattr(sampler, "sample", sample)
    with pytest.raises((RuntimeError, NotImplementedError)):
        drawn(worker, "ddim")


def test_a_copy_that_waits_for_the_gpu_is_caught(gpu, monkeypatch):
    worker, sampler = gpu("v"), type(REGISTRY.sampler("ddim"))
    monkeypatch.setattr(sampler, "sample", lambda self, eps, grid, x, noise: x * float(x.mean()))
    with pytest.raises(RuntimeError, match="_local_scalar_dense"):
        drawn(worker, "ddim")
