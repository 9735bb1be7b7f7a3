"""One training run, from recipe to the folder that `samplerbench run --model` or the feature extractor reads."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..data import Images, load_images
from ..diffusion.vp import DiscreteSchedule
from ..errors import UserError, unknown
from ..files import save_weights
from ..images import sample_grid
from ..metrics.cnn import ClassifierConfig, FeatureClassifier
from ..metrics.reference import make_reference
from ..models.latents import through
from ..models.networks.experts import Experts
from ..models.networks.vae import VAE, VAEConfig
from ..models.preconditioning import Label
from ..models.predictor import NoisePredictor
from ..models.vae import load_vae, save_vae
from ..plugins import load_plugins
from .classifier import ClassifierLoss, accuracy
from .diffusion import DiffusionLoss, Source
from .finish import finish
from .latent import Worded, new_text_encoder
from .loop import Trainer
from .network import new_network
from .parts import ExpertsConfig
from .recipe import Recipe, identity
from .subject import subject_of
from .told import Told
from .vae import ElboLoss, judged, latent_moments

__all__ = ["settled", "train"]

CLASSIFIER = ("widths", "dropout")  # what a recipe says of the network; the rest the images say


def train(
    recipe: Recipe, out: Path, data_root: Path | None = None, device: str = "cpu", told: Told | None = None
) -> dict[str, Any]:
    """Trains by `recipe` in folder `out`, going on from a checkpoint found there, and exports the averaged weights. The
    trained weights are in a checkpoint before anything is made with them, so a run that is killed after its last step
    trains no more when it is called again, with another [finish], too.

    Returns what is known of the finished run: where it is, precision and device, seconds, the test accuracy of a
    classifier, and what a VAE does to test images.
    """
    recipe = settled(recipe, torch.device(device))
    data = load_images(recipe.data.dataset, data_root)
    torch.manual_seed(recipe.optimiser.seed)
    build = {"diffusion": _diffusion, "vae": _vae, "classifier": _classifier}
    summary = build[recipe.kind](recipe, data, out, data_root, torch.device(device), told or Told())
    return {
        "folder": summary.pop("folder"),
        "precision": f"{recipe.optimiser.precision} on {device}",
        "seconds_a_step": round(summary["seconds"] / recipe.total, 4),
        **summary,
    }


def settled(recipe: Recipe, device: torch.device) -> Recipe:
    """The recipe with the precision that `auto` is on this device."""
    if recipe.optimiser.precision != "auto":
        return recipe
    lowered = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return replace(recipe, optimiser=replace(recipe.optimiser, precision="bfloat16" if lowered else "float32"))


def _history(recipe: Recipe, data: Images, seconds: float) -> dict[str, Any]:
    return {
        "recipe": recipe.said(),
        "data_sha256": data.sha256,
        "images_seen": recipe.total * recipe.optimiser.batch_size,
        "seconds": round(seconds),
        "torch": torch.__version__,
    }


def _diffusion(
    recipe: Recipe, data: Images, out: Path, root: Path | None, device: torch.device, told: Told
) -> dict[str, Any]:
    schedule = recipe.path()
    image_shape = (data.images.shape[1], data.images.shape[2], data.images.shape[3])
    extractor = None
    if recipe.extractor and recipe.finish.reference and not recipe.finish.reference_of:
        extractor = load_plugins().extractor(recipe.extractor, image_shape=image_shape)
    subject = subject_of(recipe, data, device)
    try:
        network, architecture = new_network(recipe.network, subject.shape, recipe.text.width if recipe.text else 0)
    except UserError as error:
        raise UserError(f"[network] of recipe '{recipe.name}': {error}") from None
    if subject.captions and recipe.text:
        network = Worded(network, new_text_encoder(recipe.text, subject.captions.vocabulary))
    network.to(memory_format=torch.channels_last).to(device)
    source = subject.source(told)
    predictor = NoisePredictor(network, recipe.prediction)
    loss = DiffusionLoss(predictor, schedule, source, recipe, device, captions=subject.captions)
    belongs = partial(identity, recipe, data.sha256, vae=subject.coder.sha256 if subject.coder else "")
    trainer = Trainer(network, loss, recipe.optimiser, out, belongs())
    trainer.run(told.step)
    seconds, trained = trainer.seconds, trainer.ema
    if recipe.experts:
        trained, more = _experts(
            recipe, recipe.experts, trainer.ema, schedule, source, belongs(experts=True), out, device, told
        )
        seconds += more
    history = _history(recipe, data, seconds)
    made = finish(recipe, subject, trained, architecture, source, out, history, extractor, told)
    return {**made, "seconds": seconds}


def _experts(
    recipe: Recipe,
    experts: ExpertsConfig,
    shared: nn.Module,
    schedule: DiscreteSchedule,
    source: Source,
    belongs: Mapping[str, Any],
    out: Path,
    device: torch.device,
    told: Told,
) -> tuple[Experts, float]:
    """Trains a copy of the shared network for each range of times, one after the other; their checkpoints belong to
    what `belongs` says. Returns them, and the seconds.
    """
    copies: list[nn.Module] = []
    done, seconds = recipe.optimiser.total, 0.0
    for i, span in enumerate(experts.spans(len(schedule.betas))):
        config = experts.optimiser(recipe.optimiser, i)
        network = copy.deepcopy(shared).train().requires_grad_(True).to(memory_format=torch.channels_last)
        predictor = NoisePredictor(network, recipe.prediction)
        loss = DiffusionLoss(predictor, schedule, source, recipe, device, span, config.seed)
        trainer = Trainer(network, loss, config, out / f"expert-{i}", belongs)
        trainer.run(lambda step, value, done=done: told.step(done + step, value))  # type: ignore[misc]
        copies.append(trainer.ema)
        done, seconds = done + config.total, seconds + trainer.seconds
    return Experts(copies, [float(Label()(schedule, t)) for t in experts.last]), seconds


def _vae(
    recipe: Recipe, data: Images, out: Path, root: Path | None, device: torch.device, told: Told
) -> dict[str, Any]:
    test = load_images(recipe.data.dataset, root, train=False)
    shape = (data.images.shape[1], data.images.shape[2], data.images.shape[3])
    extractor = load_plugins().extractor(recipe.extractor, image_shape=shape) if recipe.extractor else None
    try:
        network = VAE(VAEConfig(image_shape=shape, **recipe.network))
    except (TypeError, ValueError) as error:
        raise UserError(f"[network] of recipe '{recipe.name}': {error}") from None
    network.to(memory_format=torch.channels_last).to(device)
    loss = ElboLoss(network, data.images, recipe, device)
    trainer = Trainer(network, loss, recipe.optimiser, out, identity(recipe, data.sha256), loss.parts)
    trainer.run(told.step)
    shift, scale = latent_moments(trainer.ema, data.images, device)  # type: ignore[arg-type]
    folder, history = out / "model", _history(recipe, data, trainer.seconds)
    dataset = None if recipe.data.dataset == "npz" else recipe.data.dataset

    def save(training: dict[str, Any]) -> None:
        save_vae(folder, trainer.ema.cpu(), shift, scale, training, recipe.weights, dataset)  # type: ignore[arg-type]

    save(history)
    coder = load_vae(folder).to(device)  # as it was saved, rounding included
    reference = make_reference(data.images.split(256), extractor)[0] if extractor else None
    found = judged(coder, test.images, extractor, reference)
    save(history | {"test": found})
    shown = test.images[:32]
    sample_grid(torch.stack([shown, through(coder, shown)], dim=1).flatten(0, 1)).save(out / "reconstructions.png")
    return {"folder": folder, "seconds": trainer.seconds, **found, "pictures": out / "reconstructions.png"}


def _classifier(
    recipe: Recipe, data: Images, out: Path, root: Path | None, device: torch.device, told: Told
) -> dict[str, Any]:
    test = load_images(recipe.data.dataset, root, train=False)
    if data.labels is None or test.labels is None:
        raise UserError("a classifier needs labels; this dataset has none")
    shape = (data.images.shape[1], data.images.shape[2], data.images.shape[3])
    if recipe.optimiser.batch_size > len(data.images):
        raise UserError(f"batch_size {recipe.optimiser.batch_size} is more than the {len(data.images)} training images")
    for key in recipe.network:
        if key not in CLASSIFIER:
            raise unknown(f"key in [network] of recipe '{recipe.name}'", key, CLASSIFIER)
    try:
        config = ClassifierConfig(image_shape=shape, classes=int(data.labels.max()) + 1, **recipe.network)
    except (TypeError, ValueError) as error:
        raise UserError(f"[network] of recipe '{recipe.name}': {error}") from None
    network = FeatureClassifier(config).to(memory_format=torch.channels_last).to(device)
    loss = ClassifierLoss(network, data, recipe, device)
    trainer = Trainer(network, loss, recipe.optimiser, out, identity(recipe, data.sha256))
    trainer.run(told.step)
    right = accuracy(trainer.ema, test, device)  # type: ignore[arg-type]
    folder = out / "extractor"
    folder.mkdir(parents=True, exist_ok=True)
    trainer.ema.standardise(data.images.to(device))  # type: ignore[operator]
    save_weights(trainer.ema.cpu(), folder / "model.safetensors")
    history = _history(recipe, data, trainer.seconds) | {"test_accuracy": right}
    (folder / "config.json").write_text(
        json.dumps({"format": 1, "architecture": asdict(config), "training": history}, indent=2) + "\n"
    )
    return {"folder": folder, "seconds": trainer.seconds, "test_accuracy": right}
