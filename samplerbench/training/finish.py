"""What is made with a trained ε_θ: its folder, reference statistics, and samples to look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data import Images
from ..diffusion.noise import NoiseSource
from ..diffusion.spacing import SPACINGS
from ..diffusion.vp import DiscreteSchedule
from ..drawing import BadSample
from ..errors import UserError
from ..files import write_whole
from ..images import quantise, sample_grid
from ..metrics.extractors import LoadedExtractor
from ..metrics.reference import make_reference, provenance_of, save_reference
from ..models.formats.own import name_reference, note_parts, save_model
from ..models.predictor import ModelEpsilon, NoisePredictor
from ..models.text import save_text
from ..models.vae import copy_vae
from ..plugins import load_plugins
from ..sampling import sample
from . import garments
from .diffusion import Source
from .latent import Worded
from .recipe import Recipe
from .subject import Subject
from .told import Told

__all__ = ["finish", "mean_squares", "preview_steps", "write_reference"]

PROMPTS = 10_000  # what a model is asked by default


def finish(
    recipe: Recipe,
    subject: Subject,
    trained: nn.Module,
    architecture: Mapping[str, Any],
    source: Source,
    out: Path,
    history: Mapping[str, Any],
    extractor: LoadedExtractor | None,
    told: Told,
) -> dict[str, Any]:
    """Writes the model's folder and what the recipe's [finish] asks for, and returns what is to be said of it."""
    schedule, device, folder, data = recipe.path(), subject.device, out / "model", subject.data
    trained = trained.eval().to(memory_format=torch.channels_last)
    epsilon = ModelEpsilon(NoisePredictor(trained, recipe.prediction), schedule)
    count, constants = recipe.finish.mean_squares, None
    if count:
        x0 = source.first(count)
        constants = mean_squares(epsilon, schedule, x0, device, told, _asked(subject, len(x0)))
    trained.cpu()
    save_model(
        folder,
        trained.network if isinstance(trained, Worded) else trained,
        recipe.prediction,
        schedule,
        recipe.extractor,
        history,
        recipe.weights,
        constants,
        None if recipe.data.dataset == "npz" else recipe.data.dataset,
        architecture,
    )
    if isinstance(trained, Worded) and subject.captions:
        words = subject.captions.vocabulary.words
        save_text(folder / "text", trained.text, words, garments.classes(), recipe.weights)
        prompts = "\n".join(subject.captions.prompts(PROMPTS)) + "\n"
        write_whole(folder / "prompts.txt", prompts.encode())
    if subject.coder:
        copy_vae(Path(recipe.vae), folder / "vae")
    note_parts(folder)
    if recipe.finish.reference_of:
        name_reference(folder, recipe.finish.reference_of)
    if extractor:
        write_reference(folder / "reference.npz", extractor, data, recipe.data.dataset, told)
    summary: dict[str, Any] = {"folder": folder}
    if recipe.finish.samples:
        summary["samples"] = _samples(recipe, subject, trained.to(device), out, told)
    return summary


def _asked(subject: Subject, count: int) -> dict[str, Tensor]:
    """What the network is asked for with the first images: their captions, in one phrasing each."""
    if subject.captions is None:
        return {}
    draw = torch.Generator().manual_seed(0)
    said = subject.captions.of(torch.arange(count), torch.rand(count, 6, generator=draw).tolist())
    return {"tokens": subject.captions.vocabulary.tokens(said).to(subject.device)}


def _samples(recipe: Recipe, subject: Subject, trained: nn.Module, out: Path, told: Told) -> Path:
    """Draws the recipe's number of images, with the first of the training captions where the network has words."""
    count, schedule = recipe.finish.samples, recipe.path()
    epsilon = ModelEpsilon(NoisePredictor(trained, recipe.prediction), schedule)
    if subject.captions:
        asked = (subject.captions.prompts(PROMPTS) * (1 + count // PROMPTS))[:count]
        epsilon = epsilon.asking({"tokens": subject.captions.vocabulary.tokens(asked).to(subject.device)})
    noise = NoiseSource(recipe.optimiser.seed, range(count), subject.shape, subject.device)
    steps = preview_steps("ddim", schedule)
    try:
        sampled = sample(
            "ddim",
            epsilon,
            schedule,
            noise.x_T(),
            steps=steps,
            callback=lambda one: told.finishing("samples", one.number, steps),
        )
    except BadSample as error:
        raise UserError(f"the model is saved, but {error}; a lower learning rate may help") from None
    x0 = subject.coder.decode(sampled.x0) if subject.coder else sampled.x0
    sample_grid(quantise(x0).cpu()).save(out / "samples.png")
    return out / "samples.png"


def preview_steps(sampler: str, schedule: DiscreteSchedule, most: int = 50) -> int:
    """The steps that samples are drawn in: `most`, or as many as the sampler's spacing has on this schedule."""
    made = load_plugins().sampler(sampler)
    start, spacing = schedule.first_time(made.starts_at_pure_noise), SPACINGS.get(made.spacing)
    if spacing is None or not spacing.snapped:
        return most
    times = spacing.room(schedule, start)
    return min(most, times if made.final == "zero" or spacing.ends_at_zero else times - 1)


@torch.no_grad()
def mean_squares(
    epsilon: ModelEpsilon,
    schedule: DiscreteSchedule,
    x0: Tensor,
    device: torch.device,
    told: Told,
    asked: Mapping[str, Tensor] | None = None,
) -> dict[str, list[float]]:
    """E‖ε_θ(x_t, t)‖²/D over training images or latents x0 at 64 times, closer together where less noise is (Bao et
    al. 2022, eq. 8): what optimal variances are made of. asked: what the network is asked for, a row for each of x0.
    """
    draws = NoiseSource(0, range(len(x0)), x0.shape[1:])
    times = sorted({round(float(t)) for t in np.linspace(1, schedule.t_max**0.5, 64) ** 2})
    values = []
    for i, t in enumerate(times):
        x = (float(schedule.alpha(t)) * x0 + float(schedule.sigma(t)) * draws(i)).to(device)
        of_parts = []
        for first in range(0, len(x), 128):
            part = slice(first, first + 128)
            told_of = epsilon.asking({name: rows[part] for name, rows in (asked or {}).items()})
            of_parts.append(float(told_of(x[part], float(t)).square().mean()))
            told.finishing("mean squares", i * len(x) + min(128 * len(of_parts), len(x)), len(times) * len(x))
        values.append(float(np.mean(of_parts)))
    return {"times": [float(t) for t in times], "values": values}


def write_reference(path: Path, extractor: LoadedExtractor, data: Images, name: str, told: Told) -> None:
    """Reference statistics of training images, beside the model that was trained on them."""

    def batches() -> Iterator[Tensor]:
        for i, batch in enumerate(data.images.split(256)):
            yield batch
            told.finishing("reference statistics", 256 * i + len(batch), len(data.images))

    provenance = provenance_of(extractor, f"{name}, training images", data.sha256, data.images.shape[1:])
    save_reference(path, *make_reference(batches(), extractor), provenance)
