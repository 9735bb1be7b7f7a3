"""Settings of the whole process, put back as they were."""

import pytest
import torch

from samplerbench.settings import SETTINGS, changed, products, states

backends = torch.backends


def new_way():
    backends.fp32_precision = "tf32"


def newer_way():
    backends.cuda.matmul.fp32_precision = "tf32"


def old_way():
    torch.set_float32_matmul_precision("medium")
    backends.cudnn.allow_tf32 = True


@pytest.fixture
def as_before():
    before = states(SETTINGS)
    yield
    changed(SETTINGS, before)


@pytest.mark.parametrize("way", [lambda: None, new_way, newer_way, old_way])
def test_products_are_exact_whatever_the_process_has_set(way, as_before):
    way()
    before = states(SETTINGS)
    with products():
        assert {backends.cuda.matmul.fp32_precision, backends.cudnn.conv.fp32_precision} == {"ieee"}
        assert torch.get_float32_matmul_precision() == "highest"
        assert not backends.cudnn.allow_tf32
        inside = states(SETTINGS)
        with products("tf32"):
            assert {backends.cuda.matmul.fp32_precision, backends.cudnn.conv.fp32_precision} == {"tf32"}
            assert backends.cudnn.allow_tf32
            with products():
                assert backends.cudnn.conv.fp32_precision == "ieee"
        assert states(SETTINGS) == inside
    assert states(SETTINGS) == before


def test_they_are_put_back_after_an_error(as_before):
    before = states(SETTINGS)
    with pytest.raises(ZeroDivisionError), products("tf32"):
        raise ZeroDivisionError
    assert states(SETTINGS) == before


def test_an_autocast_that_was_left_open_keeps_no_weights():
    before, layer = states(SETTINGS), torch.nn.Linear(4, 4)
    x = torch.ones(2, 4)

    def through():
        with torch.autocast("cpu", torch.bfloat16):
            return layer(x)

    torch.autocast("cpu", torch.bfloat16).__enter__()
    old = through()
    assert changed(SETTINGS, before) == ["torch's autocast"]
    with torch.no_grad():
        layer.weight.mul_(2)
    assert not torch.equal(through(), old)
    with torch.no_grad():
        layer.weight.mul_(3)
    assert not torch.equal(through(), old)
    assert changed(SETTINGS, before) == []
