import numpy as np
import pytest
import torch

from samplerbench import DiscreteSchedule, UserError, VPSchedule, cosine_schedule, linear_schedule
from samplerbench.diffusion.paths import schedule_from_config
from samplerbench.models.preconditioning import Label

SCHEDULES = {"linear": linear_schedule(), "cosine": cosine_schedule(), "vp": VPSchedule()}


def test_linear_schedule_has_ddpm_values():
    schedule = linear_schedule()
    assert schedule.alpha(1) ** 2 == pytest.approx(0.9999, rel=1e-12)
    assert schedule.alpha(1000) ** 2 == pytest.approx(4.0358e-5, rel=1e-4)
    assert schedule.half_log_snr(1) == pytest.approx(4.60512, rel=1e-5)
    assert schedule.half_log_snr(1000) == pytest.approx(-5.05884, rel=1e-5)
    product = np.prod(1 - schedule.betas[:500])
    assert schedule.alpha(500) ** 2 == pytest.approx(product, rel=1e-13)


def test_vp_schedule_is_the_integral_of_beta():
    schedule = VPSchedule()
    t = np.linspace(0, 0.7, 200_001)
    beta = 0.1 + t * 19.9
    integral = torch.trapezoid(torch.from_numpy(beta), torch.from_numpy(t)).item()
    assert schedule.log_alpha(0.7) == pytest.approx(-0.5 * integral, rel=1e-9)
    assert schedule.half_log_snr(1.0) == pytest.approx(-5.025, abs=1e-3)


def test_cosine_betas_are_clipped():
    assert cosine_schedule().betas.max() == 0.999
    assert cosine_schedule().alpha(500) ** 2 == pytest.approx(np.cos((0.5 + 0.008) / 1.008 * np.pi / 2) ** 2, rel=1e-3)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_time_inverts_half_log_snr_and_alpha_sigma_are_a_unit_vector(schedule):
    t = np.linspace(schedule.t_min, schedule.t_max, 997)
    # at the noisy end of the cosine schedule alpha² is about 1e-9, and λ keeps fewer digits of t
    assert np.allclose(schedule.time(schedule.half_log_snr(t)), t, rtol=1e-7)
    assert np.allclose(schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2, 1, rtol=1e-15)
    assert np.all(np.diff(schedule.half_log_snr(t)) < 0)
    assert schedule.alpha(0) == 1
    assert schedule.sigma(0) == 0
    assert schedule.half_log_snr(0) == np.inf


def test_labels_of_a_discrete_schedule_start_at_zero():
    schedule = linear_schedule()
    assert Label()(schedule, [1, 2, 1000]).tolist() == [0, 1, 999]
    assert Label()(schedule, 1.5) == 0.5
    assert Label(between="round")(schedule, [1.4, 2.6]).tolist() == [0, 2]


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_config_makes_the_same_schedule_again(schedule):
    again = schedule_from_config(schedule.config())
    t = np.linspace(schedule.t_min, schedule.t_max, 50)
    assert np.array_equal(again.log_alpha(t), schedule.log_alpha(t))


def test_bad_schedules_are_refused():
    with pytest.raises(UserError, match="did you mean 'linear'"):
        schedule_from_config({"kind": "liner"})
    with pytest.raises(UserError, match="unknown key of schedule 'linear' 'stpes'; did you mean 'steps'"):
        schedule_from_config({"kind": "linear", "stpes": 10})
    with pytest.raises(UserError, match="schedule 'betas' needs 'betas'"):
        schedule_from_config({"kind": "betas"})
    with pytest.raises(UserError, match=r"betas must be"):
        DiscreteSchedule([0.1, 1.5])
    with pytest.raises(UserError, match="VP schedule needs"):
        VPSchedule(beta_0=3, beta_1=1)
