import numpy as np
import torch

from samplerbench import VPSchedule, linear_schedule
from samplerbench.diffusion.ode import solve_flow


def test_the_flow_of_a_gaussian_is_known():
    """Data N(0, s²): the flow keeps x / sqrt(α² s² + σ²)."""
    spread = 0.4
    for schedule in (linear_schedule(), VPSchedule()):

        def epsilon(x, t, schedule=schedule):
            alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
            return sigma / (alpha**2 * spread**2 + sigma**2) * x

        def width(t, schedule=schedule):
            return np.sqrt(float(schedule.alpha(t)) ** 2 * spread**2 + float(schedule.sigma(t)) ** 2)

        x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        solution = solve_flow(epsilon, schedule, x, tolerance=1e-4)
        exact = x * width(schedule.t_min) / width(schedule.t_max)
        found = float((solution.x_min - exact).square().mean().sqrt())
        assert found < 1e-4
        assert found <= 3 * solution.error
        assert solution.evaluations <= 4 * 640 + 1
        alpha, sigma = float(schedule.alpha(schedule.t_min)), float(schedule.sigma(schedule.t_min))
        denoised = (exact - sigma * epsilon(exact, schedule.t_min)) / alpha
        assert torch.allclose(solution.x0, denoised, atol=3e-4)


def test_the_flow_from_a_later_start():
    schedule, spread = linear_schedule(), 0.4

    def epsilon(x, t):
        alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
        return sigma / (alpha**2 * spread**2 + sigma**2) * x

    def width(t):
        return np.sqrt(float(schedule.alpha(t)) ** 2 * spread**2 + float(schedule.sigma(t)) ** 2)

    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    solution = solve_flow(epsilon, schedule, x, tolerance=1e-4, start=501.0)
    assert float((solution.x_min - x * width(1.0) / width(501.0)).square().mean().sqrt()) < 1e-4
