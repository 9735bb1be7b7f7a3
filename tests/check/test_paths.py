"""The check of paths: what is right on every path passes, what is right on one alone is found."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from samplerbench import Sampler, UserError
from samplerbench.check.checks import MATRIX, check_on_paths, check_sampler
from samplerbench.check.kinds import FAMILIES, chosen_kinds, kinds
from samplerbench.check.reads import reads
from samplerbench.diffusion.paths import PATHS, check_path
from samplerbench.plugins import load_plugins

REGISTRY = load_plugins()


@dataclass(frozen=True, kw_only=True)
class Euler(Sampler):
    """DDIM with faults, one at a time."""

    name = "euler"
    spacing: str = "logsnr"
    fault: str = ""

    def unsuitable(self, schedule, epsilon):
        if self.fault == "picky":
            return "" if schedule.name == "flow" else "it knows flows alone"
        return "it knows nothing" if self.fault == "hopeless" else ""

    @property
    def starts_at_pure_noise(self):
        return self.fault in ("start", "limit")

    def sample(self, eps, grid, x, noise):
        for i in range(grid.steps):
            t, alpha, sigma = grid.times[i], grid.alpha[i], grid.sigma[i]
            after, left = grid.alpha[i + 1], grid.sigma[i + 1]
            if self.fault == "native":  # takes what it sees for the path's own coordinates
                alpha, sigma = alpha * grid.scale[i] ** 0.01, sigma
            if self.fault == "start":
                e = eps(x, t)
                x = after * (x - sigma * e) / alpha + left * e
                continue
            x0 = eps.x0(x, t)
            if self.fault == "limit" and alpha == 0:
                x0 = x0 + 0.1
            x = after * x0 + left * (x - alpha * x0) / sigma
            if self.fault == "beta" and getattr(grid.schedule, "beta_1", None):
                x = x * 1.001
            if self.fault == "time":
                x = x + 1e-4 * (grid.times[i] - grid.times[i + 1]) ** 2 / grid.schedule.t_max**2
        return x


def of(fault):
    return {f.check: f for f in check_sampler(Euler(fault=fault))}


def test_every_registered_kind_is_tried():
    assert kinds().keys() >= PATHS.keys()
    assert any(path.reaches_pure_noise and path.discrete for path in kinds().values())
    for path in kinds().values():
        check_path(path)


def test_what_depends_on_lambda_alone_is_equal_on_all_families():
    text = of("")["paths"].text
    assert text.startswith("x_0 on vp, ve, flow differs by")
    assert "flow: it starts at time 0.999" in text


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("beta", "on the same λ x_0 differs by"),
        ("start", "returned NaN or infinite values in 50 of 50 samples"),
        ("limit", "starting at λ = -∞ it is 5.3e-03 from where it is from λ = -11"),
    ],
)
def test_what_is_wrong_on_another_path_is_found(fault, text):
    finding = of(fault)["paths"]
    assert finding.verdict == "failed"
    assert text in finding.text


def test_what_reads_the_time_is_exempt_and_its_order_measured():
    finding = of("time")["paths"]
    assert finding.verdict == "passed"
    assert "it reads the time itself" in finding.text
    assert "ve: measured" in finding.text


def test_what_reads_the_scale_wrongly_fails_by_its_order():
    finding = of("native")["paths"]
    assert finding.verdict == "failed"
    assert "ve: measured" in finding.text


@pytest.mark.parametrize(
    ("spec", "what"), [("pndm", "the time itself"), ("deis", "the time itself"), ("ddim", None), ("ddpm", None)]
)
def test_what_shipped_samplers_read(spec, what):
    found = reads(REGISTRY.sampler(spec))
    assert (found and found[0]) == what


def test_unsuitable_paths_are_skipped_with_the_reason():
    found = of("picky")
    assert {f.verdict for f in found.values()} <= {"passed", "skipped"}
    assert found["order"].verdict == "passed"
    assert "vp: it knows flows alone" in found["paths"].text
    on = check_on_paths(Euler(fault="picky"), chosen_kinds("vp,flow"))
    assert {(f.verdict, f.text) for f in on if f.path == "vp"} == {("skipped", "it knows flows alone")}
    assert {f.verdict for f in on if f.path == "flow"} == {"passed", "skipped"}
    assert [f.text for f in on if f.check == "moments" and f.path == "flow"] == ["deterministic: see order"]


def test_unsuitable_everywhere_is_no_way_to_pass():
    found = of("hopeless")
    assert found["order"].verdict == "failed"
    assert "unsuitable for every path: it knows nothing" in found["order"].text


@pytest.mark.parametrize("spec", ["dpm:order=3", "deis", "sde-dpm-solver"])
def test_the_matrix(spec):
    on = {name: kinds()[name] for name in ("linear-zero-snr", "edm", "flow")}
    findings = check_on_paths(REGISTRY.sampler(spec), on)
    assert [f"{f.path} {f.check}: {f.text}" for f in findings if f.verdict == "failed"] == []
    assert [(f.path, f.check) for f in findings] == [(path, check) for path in on for check in MATRIX]


def test_names_of_kinds():
    assert list(chosen_kinds("flow, edm")) == ["flow", "edm"]
    assert chosen_kinds("all").keys() == kinds().keys()
    with pytest.raises(UserError, match="unknown path 'flwo'; did you mean 'flow'"):
        chosen_kinds("flwo")
    assert list(FAMILIES) == ["VP", "VE", "flow"]


def test_a_registered_path_that_needs_arguments_is_told(monkeypatch):
    monkeypatch.setitem(PATHS, "needy", lambda steps: PATHS["linear"](steps))
    with pytest.raises(UserError, match="path 'needy' cannot be made without arguments"):
        kinds()


def test_the_command(command):
    code, out, _ = command("check", "ddim", "--paths", "ve,edm")
    assert code == 0
    assert "edm" in out
    assert "All checks passed." in out
    code, _, err = command("check", "ddim", "--paths", "nowhere")
    assert code == 2
    assert "unknown path 'nowhere'" in err


def test_float32_is_held_to_what_rounding_does():
    """pndm on the flow starts at α = 0.001, and a dozen steps from there magnify every rounding."""
    findings = check_on_paths(REGISTRY.sampler("pndm"), chosen_kinds("flow"))
    assert [f.verdict for f in findings if f.check == "precision"] == ["passed"]

    @dataclass(frozen=True, kw_only=True)
    class Coarse(Euler):
        def sample(self, eps, grid, x, noise):
            x = super().sample(eps, grid, x, noise)
            return x.bfloat16().to(x.dtype) if x.dtype == torch.float32 else x

    findings = check_on_paths(Coarse(), chosen_kinds("flow"))
    assert [f.verdict for f in findings if f.check == "precision"] == ["failed"]
