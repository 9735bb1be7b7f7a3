"""The shipped samplers against diffusers' schedulers, where both implement one method: same ε, times and noise.

Their coefficients are float32, ours float64; what is left is below 1e-4. Where their defaults do something else than
the method's paper, a comment says what is switched off.
"""

from __future__ import annotations

import pytest
import torch

from samplerbench import NoiseSource, TimeGrid, linear_schedule, sample
from samplerbench.check.mixture import GaussianMixture

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore")  # its own deprecations

LINEAR = linear_schedule()
TRUTH = GaussianMixture(LINEAR)
NOISE = NoiseSource(3, range(40), (1, 4, 4), dtype=torch.float64)
BETAS = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}


def by_label(scheduler, steps: int) -> tuple[torch.Tensor, list[float]]:
    """A scheduler's result where ε is asked at its labels, and the times it visited."""
    scheduler.set_timesteps(steps)
    x, times = NOISE.x_T(), []
    for label in scheduler.timesteps:
        times.append(float(label) + 1)
        x = scheduler.step(TRUTH(x, times[-1]), label, x).prev_sample
    return x, times


def by_sigma(scheduler, steps: int) -> tuple[torch.Tensor, list[float]]:
    """The same where its times are its sigmas (σ/α): labels are rounded there, sigmas are not."""
    scheduler.set_timesteps(steps)
    times = [float(t) for t in LINEAR.time(-scheduler.sigmas.double().log().numpy())]
    x = NOISE.x_T()
    for label, t in zip(scheduler.timesteps, times, strict=False):
        x = scheduler.step(TRUTH(x, t), label, x).prev_sample
    return x, times


def agree(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = 1e-4) -> None:
    assert float((ours - theirs).abs().max()) < tolerance


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim(eta, clip, monkeypatch):
    # steps that divide 1000: for others its previous time is not the one it visits next
    # clip_sample is on by default, and keeps ε
    scheduler = diffusers.DDIMScheduler(**BETAS, clip_sample=clip, timestep_spacing="leading")
    draws = iter(range(100))
    module = "diffusers.schedulers.scheduling_ddim.randn_tensor"
    monkeypatch.setattr(module, lambda shape, **_: NOISE(next(draws)))
    scheduler.set_timesteps(20)
    x = NOISE.x_T()
    for label in scheduler.timesteps:
        x = scheduler.step(TRUTH(x, float(label) + 1), label, x, eta=eta).prev_sample
    spec = f"ddim:eta={eta}:spacing=uniform:clip={'x0' if clip else 'none'}"
    agree(sample(spec, TRUTH, LINEAR, NOISE.x_T(), steps=20, seed=3).x0, x)


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize("clip", [False, True])
def test_ddpm(variance, clip, monkeypatch):
    scheduler = diffusers.DDPMScheduler(**BETAS, clip_sample=clip, variance_type=variance)
    draws = iter(range(100))
    monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda shape, **_: NOISE(next(draws)))
    theirs, _ = by_label(scheduler, 50)
    spec = f"ddpm:variance={variance.replace('_', '-')}:clip={'x0' if clip else 'none'}"
    agree(sample(spec, TRUTH, LINEAR, NOISE.x_T(), steps=50, seed=3).x0, theirs)


def test_pndm():
    # without set_alpha_to_one its last step does nothing
    scheduler = diffusers.PNDMScheduler(**BETAS, skip_prk_steps=False, set_alpha_to_one=True, steps_offset=0)
    theirs, times = by_label(scheduler, 20)
    ours = sample("pndm", TRUTH, LINEAR, NOISE.x_T(), steps=20)
    assert len(times) == ours.nfe == 29
    agree(ours.x0, theirs)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_deis(order):
    # lower_order_final acts below 15 steps; its orders 2 and 3 are log-rho AB 1 and 2
    scheduler = diffusers.DEISMultistepScheduler(**BETAS, solver_order=order, lower_order_final=False)
    theirs, times = by_sigma(scheduler, 20)
    spec = f"deis:variant=logrhoab:order={order - 1}"
    agree(sample(spec, TRUTH, LINEAR, NOISE.x_T(), times=times).x0, theirs)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("prediction", ["x0", "eps"])
@pytest.mark.parametrize("steps", [8, 20])
def test_dpm_solver_multistep(order, prediction, steps):
    # its order 3 is the published one; its lower_order_final acts below 15 steps, the paper's code below 10
    scheduler = diffusers.DPMSolverMultistepScheduler(
        **BETAS,
        solver_order=order,
        algorithm_type="dpmsolver++" if prediction == "x0" else "dpmsolver",
        final_sigmas_type="sigma_min",
        lower_order_final=steps < 10,
    )
    theirs, times = by_sigma(scheduler, steps)
    name = "3-published" if order == 3 else str(order)
    spec = f"dpm-solver:order={name}:prediction={prediction}"
    agree(sample(spec, TRUTH, LINEAR, NOISE.x_T(), times=times).x0, theirs)


def test_dpm_solver_order_three_of_the_theory_is_another():
    scheduler = diffusers.DPMSolverMultistepScheduler(**BETAS, solver_order=3, final_sigmas_type="sigma_min")
    theirs, times = by_sigma(scheduler, 20)
    ours = sample("dpm-solver:order=3", TRUTH, LINEAR, NOISE.x_T(), times=times).x0
    assert float((ours - theirs).abs().max()) > 1e-3  # their second difference is half of h² times the derivative


def test_sde_dpm_solver(monkeypatch):
    scheduler = diffusers.DPMSolverMultistepScheduler(
        **BETAS, algorithm_type="sde-dpmsolver++", final_sigmas_type="sigma_min", lower_order_final=False
    )
    draws = iter(range(100))
    module = "diffusers.schedulers.scheduling_dpmsolver_multistep.randn_tensor"
    monkeypatch.setattr(module, lambda shape, **_: NOISE(next(draws)))
    theirs, times = by_sigma(scheduler, 20)
    agree(sample("sde-dpm-solver", TRUTH, LINEAR, NOISE.x_T(), times=times, seed=3).x0, theirs)


@pytest.mark.parametrize("prediction", ["x0", "eps"])
def test_dpm_solver_singlestep(prediction):
    # its order 3 has another second stage than the paper's, so order 2 alone; its inner points are the grid's, which is
    # therefore laid out even in λ
    scheduler = diffusers.DPMSolverSinglestepScheduler(
        **BETAS,
        solver_order=2,
        algorithm_type="dpmsolver++" if prediction == "x0" else "dpmsolver",
        final_sigmas_type="sigma_min",
        lower_order_final=False,
    )
    times = list(TimeGrid.make(LINEAR, 20, "logsnr", "none").times)
    scheduler.set_timesteps(20)
    scheduler.sigmas = torch.tensor([float(LINEAR.sigma(t) / LINEAR.alpha(t)) for t in times])
    x = NOISE.x_T()
    for label, t in zip(scheduler.timesteps, times, strict=False):
        x = scheduler.step(TRUTH(x, t), label, x).prev_sample
    spec = f"dpm-solver:mode=singlestep:prediction={prediction}"
    agree(sample(spec, TRUTH, LINEAR, NOISE.x_T(), times=times[::2]).x0, x)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("prediction", ["x0", "eps"])
def test_unipc(order, variant, prediction):
    # with its default final_sigmas_type="zero", bh1 and prediction=eps give NaN
    scheduler = diffusers.UniPCMultistepScheduler(
        **BETAS,
        solver_order=order,
        solver_type=variant,
        predict_x0=prediction == "x0",
        final_sigmas_type="sigma_min",
        lower_order_final=False,
    )
    theirs, times = by_sigma(scheduler, 20)
    spec = f"unipc:order={order}:variant={variant}:prediction={prediction}:lower_order_final=false"
    agree(sample(spec, TRUTH, LINEAR, NOISE.x_T(), times=times).x0, theirs, 2e-4)


def test_heun():
    # it works on x/α, and asks for ε at rounded labels, here at the sigmas themselves
    scheduler = diffusers.HeunDiscreteScheduler(**BETAS, use_karras_sigmas=True)
    scheduler.set_timesteps(12)
    sigmas = scheduler.sigmas.double()
    times = [float(t) for t in LINEAR.time(-sigmas[:-1].log().numpy())]
    v = NOISE.x_T() / float(LINEAR.alpha(1000))
    for i, label in enumerate(scheduler.timesteps):
        t = times[i]
        v = scheduler.step(TRUTH(float(LINEAR.alpha(t)) * v, t), label, v).prev_sample
    unique = [t for i, t in enumerate(times) if i == 0 or t != times[i - 1]]
    ours = sample("heun", TRUTH, LINEAR, NOISE.x_T(), times=[*unique, 0])
    assert len(scheduler.timesteps) == ours.nfe == 23
    agree(ours.x0, v, 1e-3)
