"""Running one sampler once: on a trained model inside a benchmark, or on any ε(x, t) from a notebook or a test."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from .diffusion.denoiser import Epsilon
from .diffusion.grid import MOST_STEPS, TimeGrid
from .diffusion.grid_file import grid_file
from .diffusion.noise import NoiseSource
from .diffusion.schedule import NoiseSchedule
from .diffusion.spacing import explicit_times
from .diffusion.watched import Evaluation, watched
from .drawing import draw
from .errors import Shortened, TooFewEvaluations, UserError, contained, whole
from .options import whole_number
from .sampler import OWN_GRID, Sampler, check_given

if TYPE_CHECKING:
    from torch import Tensor

    from .models.guided import Guide
    from .models.model import Model

__all__ = ["Samples", "check_asked", "fixed_steps", "plan_grid", "sample"]


class Samples(NamedTuple):
    """x0: [B, ...], of the shape and dtype of x_T. nfe: the counted evaluations of ε a sample. passes: the rows through
    networks that they took, two for a guided one. images: x0 after the decoder of a latent model, in [-1, 1]; otherwise
    it is x0.
    """

    x0: Tensor
    nfe: float
    passes: float
    images: Tensor


def sample(
    sampler: str | Sampler,
    eps: Epsilon | Model | str,
    schedule: NoiseSchedule | None = None,
    x: Tensor | None = None,
    *,
    nfe: int | None = None,
    steps: int | None = None,
    times: Sequence[float] | None = None,
    seed: int = 0,
    samples: int | None = None,
    prompts: str | Sequence[str] | None = None,
    guidance: str | float | Guide | None = None,
    callback: Callable[[Evaluation], object] | None = None,
) -> Samples:
    """Runs a sampler on a model, or on any function ε(x, t).

    Args:
        sampler: a `Sampler`, or its name with options as on the command line: 'ddim:eta=0.5'.
        eps: a `Model`, or its name as `load_model` takes it, which has its path; or a function `eps(x, t)`, x [B, ...]
            and t a time of `schedule` (a float) -> the predicted noise, of x's shape. There x is in variance-preserving
            coordinates: a network that wants the path's own is asked at `schedule.scale(t) * x`.
        schedule: The path that the function `eps` belongs to.
        x: Standard normal noise, [B, ...]: any shape, device and float dtype.
        samples: For a model, in place of `x`: how many samples to draw, from the x_T that a benchmark starts from with
            this seed.
        nfe: A budget of evaluations, enforced.
        steps: In place of `nfe`: the number of steps of the sampler's own grid.
        times: In place of `nfe`: the decreasing times themselves, the last of which may be 0. Given with `nfe`, that is
            their budget, by which `dpm-solver:mode=fast` chooses the orders of its last steps.
        seed: Of the noise that stochastic samplers add, and of x_T where `samples` is given.
        prompts: What a model is asked for, a prompt or a class; of several sample i gets the i-th, and so on in turn.
            Without it what the model is asked for by default.
        guidance: Of a model: a scale, 1 for none, or the spec of a guider, 'cfg:scale=2:high=5'.
        callback: Told of each evaluation as it is made, an `Evaluation` with its number, t, x and predicted x_0: the
            trajectory.

    Returns:
        x_0 and the counted evaluations a sample.

    Raises:
        UserError: unknown sampler or option, budget too small, impossible grid.
        BudgetExceeded, BadNoise, BadSample: the sampler or ε misbehaved.
    """
    if (nfe is None) == (steps is None) and (times is None or steps is not None):
        raise UserError("give nfe, steps or times, and no two but times with nfe")
    if steps is not None and times is not None:
        raise UserError("give steps or times, not both")
    nfe, steps, samples = (
        None if given is None else whole(name, given)
        for name, given in (("nfe", nfe), ("steps", steps), ("samples", samples))
    )
    seed = whole("seed", seed)
    if callback is not None and not callable(callback):
        raise UserError(f"callback is a function of an Evaluation, got {callback!r}")
    made = _made(sampler)
    eps, schedule, x, decode = _start(eps, schedule, x, samples, seed, prompts, guidance)
    if times is not None:
        grid = _listed(made, schedule, tuple(float(t) for t in times))
    else:
        grid = plan_grid(made, schedule, nfe=nfe, steps=steps)
    noise = NoiseSource(seed, range(len(x)), x.shape[1:], x.device, x.dtype)
    epsilon = eps if callback is None else watched(eps, schedule, callback)
    drawing = draw(made, epsilon, grid, x, noise, budget=nfe)
    return Samples(drawing.x0, drawing.nfe, float(drawing.passes.mean()), decode(drawing.x0))


def _made(sampler: str | Sampler) -> Sampler:
    if isinstance(sampler, str):
        from .plugins import load_plugins

        return load_plugins().sampler(sampler)
    check_given(sampler)
    return sampler


def _start(
    eps: Epsilon | Model | str,
    schedule: NoiseSchedule | None,
    x: Tensor | None,
    samples: int | None,
    seed: int,
    prompts: str | Sequence[str] | None,
    guidance: str | float | Guide | None,
) -> tuple[Epsilon, NoiseSchedule, Tensor, Callable[[Tensor], Tensor]]:
    """The ε function, its path, x_T, and what makes images of samples."""
    from .models.guided import Guide, asked_of, guided_epsilon
    from .models.model import Model, place_of

    if isinstance(eps, str):
        from .plugins import load_model

        eps = load_model(eps)
    if (x is None) == (samples is None):
        raise UserError("give x, or samples, how many to draw")
    if not isinstance(eps, Model):
        if schedule is None or x is None:
            raise UserError("a function ε goes with its schedule and x; a model needs neither")
        if prompts is not None or guidance is not None:
            raise UserError("prompts and guidance are of a model; a function ε has none")
        return eps, schedule, x, lambda x0: x0
    if schedule is not None:
        raise UserError("a model has its own schedule; leave it out")
    if x is None:
        assert samples is not None
        if samples < 1:
            raise UserError(f"samples is at least 1, got {samples}")
        place = place_of(eps.predictor)
        x = NoiseSource(seed, range(samples), eps.sample_shape, place).x_T()
    asked, guide = asked_of(eps, (prompts,) if isinstance(prompts, str) else tuple(prompts or ())), None
    if eps.conditioner and (line := eps.conditioner.told(asked.lines)):
        warnings.warn(Shortened(line), stacklevel=3)
    if guidance is not None:
        from .plugins import load_plugins

        guide = guidance if isinstance(guidance, Guide) else load_plugins().guide(str(guidance))
        guide.check(eps)
        check_asked(eps, guide, asked.lines)
    epsilon = guided_epsilon(eps, "float32", asked.of(range(len(x))) if asked.lines else (), guide)
    return epsilon, eps.schedule, x, eps.decode


def check_asked(model: Model, guide: Guide, lines: Iterable[str]) -> None:
    """Raises UserError where a guide's second model cannot be asked for some of the lines, or its classifier does not
    know the class of one, or knows none of them: then there is nothing to lean towards.
    """
    spec, known = guide.guider.spec(), guide.classifier or model.checkpoint.classifier
    if guide.guider.idle or model.conditioner is None:
        return
    if guide.second is not None and guide.second.conditioner is not None:
        try:
            guide.second.conditioner.check(tuple(dict.fromkeys(lines)))
        except UserError as error:
            raise UserError(f"guidance {spec}: of the second model: {error}") from None
    if guide.guider.other == "classifier" and known is not None:
        labels = [label for line in dict.fromkeys(lines) if (label := model.conditioner.label(line)) is not None]
        if not labels:
            raise UserError(f"guidance {spec}: nothing that samples are asked for names a class to lean towards")
        if max(labels) >= known.classes:
            raise UserError(
                f"guidance {spec}: class {max(labels)} is asked for, and the classifier knows 0 to {known.classes - 1}"
            )


def plan_grid(sampler: Sampler, schedule: NoiseSchedule, nfe: int | None = None, steps: int | None = None) -> TimeGrid:
    """The grid of a sampler for a budget of evaluations, or for a number of steps.

    Raises TooFewEvaluations where the budget is too small for the sampler, UserError where the grid is impossible, and
    ValueError where what the sampler claims is.
    """
    listed, file = explicit_times(sampler.spacing), grid_file(sampler.spacing)
    extra, most = 1 if sampler.final == "denoise" else 0, None
    if nfe is not None:
        if nfe < 1:
            raise UserError(f"nfe is at least 1, got {nfe}")
        if nfe <= extra:
            raise TooFewEvaluations(f"{sampler.name} with final=denoise needs more than {nfe} evaluations")
        most = whole_number(f"{sampler.name}.steps({nfe - extra})", sampler.steps(nfe - extra), 1)
        if most > MOST_STEPS:
            raise ValueError(f"{sampler.name}.steps({nfe - extra}) is {most}, more than a grid can have, {MOST_STEPS}")
    if file is not None:
        listed = file.times(schedule, nfe, steps)
    if listed is not None:
        grid = _listed(sampler, schedule, listed)
        if most is not None and grid.steps > most and not sampler.adaptive:
            raise TooFewEvaluations(f"{grid.steps} steps of listed times need more than {nfe} evaluations")
        if steps is not None and grid.steps != steps and not sampler.adaptive:
            raise UserError(f"spacing={sampler.spacing} lists {grid.steps} steps, not {steps}")
        return grid
    start = schedule.first_time(sampler.starts_at_pure_noise)
    if sampler.adaptive:
        return TimeGrid(schedule, (start, schedule.t_min))
    steps = most if steps is None else steps
    assert steps is not None
    _check_enough(sampler, steps)
    if sampler.spacing == OWN_GRID:
        return _own(sampler, schedule, steps)
    return TimeGrid.make(schedule, steps, sampler.spacing, sampler.final, sampler.rho, start)


def fixed_steps(sampler: Sampler) -> list[int] | None:
    """The numbers of steps that its grids can have where they are listed, or from a file; None for any number."""
    listed, file = explicit_times(sampler.spacing), grid_file(sampler.spacing)
    if listed is not None:
        return [len(listed) - 1]
    return None if file is None else file.steps


def _own(sampler: Sampler, schedule: NoiseSchedule, steps: int) -> TimeGrid:
    """The sampler's own grid. Raises ValueError where it is not what it must be, UserError where it is none here."""
    with contained(f"{sampler.name}.grid"):
        given, again = ([float(t) for t in sampler.grid(schedule, steps)] for _ in range(2))
    if given != again:  # the key of a result would hold times that nobody gets again
        raise ValueError(f"{sampler.name}.grid gives other times when it is asked again for {steps} steps")
    if len(given) != steps + 1:
        raise ValueError(f"{sampler.name}.grid gives {len(given)} times for {steps} steps, expected {steps + 1}")
    ends = schedule.first_time(sampler.starts_at_pure_noise), schedule.t_min
    times = tuple(next((end for end in ends if abs(t - end) <= 1e-6 * end), t) for t in given)  # without rounding
    if (times[-1] == 0) != (sampler.final == "zero"):
        where = "at 0, the data" if times[-1] == 0 else f"at {times[-1]:g}, above the data"
        what = 'final: str = "zero"' if times[-1] == 0 else 'final: str = "none"'
        raise UserError(f"{sampler.name}.grid ends {where}, and final is {sampler.final}; such a sampler has {what}")
    return _listed(sampler, schedule, times)


def _listed(sampler: Sampler, schedule: NoiseSchedule, times: tuple[float, ...]) -> TimeGrid:
    """The grid of listed times. Raises UserError where they are none, or none for this sampler."""
    grid, start = TimeGrid(schedule, times), schedule.first_time(sampler.starts_at_pure_noise)
    if times[0] > start:
        alpha = f"α is {float(schedule.alpha(times[0])):.2g}"
        raise UserError(f"{sampler.name} cannot start at time {times[0]:g}, where {alpha}; start at {start:g} or below")
    if sampler.adaptive and grid.steps > 1:
        raise UserError(f"{sampler.name} chooses its own times between the first and the last; list those two")
    if not sampler.adaptive:
        _check_enough(sampler, grid.steps)
    return grid


def _check_enough(sampler: Sampler, steps: int) -> None:
    if steps < sampler.fewest_steps:
        raise UserError(
            f"{sampler.name} takes at least {sampler.fewest_steps} steps "
            f"({sampler.evaluations(sampler.fewest_steps)} evaluations), got {steps}"
        )
