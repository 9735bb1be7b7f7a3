"""Running out of memory in all the ways that there are: batches are halved, and nothing that was drawn is lost."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from samplerbench.bench import worker as workers
from samplerbench.bench.clock import Clock
from samplerbench.bench.memory import fitting, out_of_memory, unless_full
from samplerbench.bench.plan import RunConfig, chosen_samplers, plan_cells
from samplerbench.models.model import load_model
from samplerbench.plugins import load_plugins

CUBLAS = "CUDA error: CUBLAS_STATUS_{} when calling `{}(handle)`"
ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"),
    torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError(CUBLAS.format("ALLOC_FAILED", "cublasCreate")),
    RuntimeError(CUBLAS.format("NOT_INITIALIZED", "cublasCreate")),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a non-contiguous"),
    RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"),
    RuntimeError("GET was unable to find an engine to execute this computation"),
    RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED"),
]
OTHERS = [
    ValueError("out of memory"),
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
]
names = [f"{type(error).__name__} {str(error)[:40]}" for error in ERRORS]


@pytest.fixture
def made(tiny_model):
    """A worker with batches of 16, a cell of ddim in 3 evaluations, and what the worker has said."""
    registry, model = load_plugins(), load_model(str(tiny_model))
    extractor, said = registry.extractor("fashion-mnist-cnn"), []
    config = RunConfig(samplers=("ddim",), values=(3,))
    worker = workers.Worker(
        model, lambda: model, extractor, registry.sampler, "cpu", "float32", 16, "a cpu", said.append
    )
    (planned,) = plan_cells(config, chosen_samplers(config, registry), registry, model, extractor, "cpu")
    return worker, planned.cell, said


class Card:
    """A GPU's memory: a call takes `fixed` bytes and `each` a sample, of `free`, of which torch keeps some."""

    def __init__(self, monkeypatch, fixed, each, free):
        self.fixed, self.each, self.left, self.used, self.peak = fixed, each, free, 1000, 0
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: self.used)
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: self.used + free // 4)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free - free // 4, 2 * free))
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: setattr(self, "peak", self.used))
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: self.peak)

    def __call__(self, samples):
        takes = self.fixed + self.each * samples
        if takes > self.left:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.peak = max(self.peak, self.used + takes)


@pytest.mark.parametrize(
    ("fixed", "each", "free", "batch"),
    [
        (10_000, 1_000, 2_048_000, 512),  # of 1,014 for which half of it is enough
        (0, 1_000, 2_048_000, 1024),
        (0, 1, 10**9, 4096),
        (0, 1_000, 40_000, 8),  # the larger probe does not fit
        (0, 1_000, 70_000, 32),
        (60_000, 100, 70_000, 1),
        (0, 0, 70_000, 4096),
    ],
)
def test_a_batch_takes_half_of_a_gpu(monkeypatch, fixed, each, free, batch):
    assert fitting(Card(monkeypatch, fixed, each, free), "cuda") == batch


def scarce(real, error, most, calls, count=lambda *given: len(given[0])):
    """What fails with an error where it is given more than so many samples."""

    def function(*given):
        calls.append(count(*given))
        if calls[-1] > most:
            raise error
        return real(*given)

    return function


@pytest.mark.parametrize("error", ERRORS, ids=names)
def test_every_form_counts(error):
    assert out_of_memory(error)
    later = ValueError("the sampler failed")
    later.__cause__ = error
    assert out_of_memory(later)


@pytest.mark.parametrize("error", ERRORS[:4], ids=names[:4])
class TestWhatItDoes:
    def test_in_sampling_halves_the_batch(self, made, error, monkeypatch):
        worker, cell, said = made
        expected = worker.draw(cell, range(40))
        monkeypatch.setattr(workers, "draw", scarce(workers.draw, error, 4, calls := [], lambda *given: len(given[3])))
        shard = worker.draw(cell, range(40))
        assert calls == [16, 8, *[4] * 10]
        assert [text.removeprefix("out of memory: going on with ") for text in said] == ["batches of 8", "batches of 4"]
        torch.testing.assert_close(shard.features, expected.features)
        assert [batch.samples for batch in shard.batches] == [4] * 10

    def test_in_the_extractor_halves_its_images_and_draws_nothing_again(self, made, error, monkeypatch):
        worker, cell, said = made
        expected, drawn = worker.draw(cell, range(40)), []
        monkeypatch.setattr(workers, "draw", scarce(workers.draw, error, 16, drawn, lambda *given: len(given[3])))
        own = worker.extractor.extractor
        monkeypatch.setattr(own, "with_logits", scarce(own.with_logits, error, 5, calls := []))
        shard = worker.draw(cell, range(40))
        assert drawn == [16, 16, 8]
        assert calls == [16, 8, *[4] * 10]
        assert said == [f"out of memory in the feature extractor: going on with {n} images at once" for n in (8, 4)]
        torch.testing.assert_close(shard.features, expected.features)
        torch.testing.assert_close(shard.logits, expected.logits)
        assert shard.x0.equal(expected.x0)


@pytest.mark.parametrize("error", OTHERS)
def test_other_errors_are_raised(made, error, monkeypatch):
    worker, cell, said = made
    monkeypatch.setattr(workers, "draw", scarce(workers.draw, error, 4, calls := [], lambda *given: len(given[3])))
    with pytest.raises(type(error)):
        worker.draw(cell, range(40))
    assert calls == [16]
    assert said == []


def test_one_sample_that_does_not_fit_is_an_error(made, monkeypatch):
    worker, cell, _ = made
    monkeypatch.setattr(workers, "draw", scarce(workers.draw, ERRORS[3], 0, [], lambda *given: len(given[3])))
    with pytest.raises(torch.AcceleratorError):
        worker.draw(cell, range(40))


def test_a_cell_that_begins_has_whole_batches_again(made, monkeypatch):
    worker, cell, _ = made
    own = worker.extractor.extractor
    with monkeypatch.context() as full:
        full.setattr(own, "with_logits", scarce(own.with_logits, MemoryError(), 5, []))
        worker.draw(cell, range(16))
    worker.start()
    monkeypatch.setattr(own, "with_logits", scarce(own.with_logits, MemoryError(), 99, calls := []))
    worker.draw(cell, range(16))
    assert calls == [16]


def test_what_the_failed_call_held_is_free_when_one_goes_on():
    """Also where the error is part of a cycle, so that counting references alone would keep it."""
    held = []

    def call():
        tensor = torch.zeros(1000)
        held.append(weakref.ref(tensor))
        error = torch.OutOfMemoryError("CUDA out of memory")
        error.again = error
        raise error

    gc.disable()
    try:
        assert unless_full(call, smallest=False) is None
        assert held[0]() is None
    finally:
        gc.enable()


class TestClock:
    def test_parts_add_up_and_are_taken_once(self, monkeypatch):
        now = iter([0.0, 1.0, 3.0, 6.0, 10.0, 15.0])
        monkeypatch.setattr("time.perf_counter", lambda: next(now))
        clock = Clock("cpu")
        with clock.part("sampling"), clock.part("network"):
            pass
        clock.start("network")
        clock.stop("network")
        spans = clock.take()
        assert clock.seconds(spans) == {"network": 2.0 + 5.0, "sampling": 6.0}
        assert clock.take() == []

    def test_a_part_that_broke_off_is_none(self):
        clock = Clock("cpu")
        with pytest.raises(ZeroDivisionError), clock.part("sampling"):
            raise ZeroDivisionError
        assert clock.take() == []
