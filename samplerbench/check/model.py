"""Tests of a model: whether its files say what its network does. What is wrong here raises no error elsewhere; it
costs FID, quietly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..images import quantise
from ..models.formats.format import Coder
from ..models.latents import noise_of
from ..models.model import Model
from ..plugins import load_plugins
from .asked import Questions
from .denoising import BANDS, CONFIDENCE, MARGIN, OWN, Compared, compare, errors_of, levels_of
from .finding import Failed, Finding, Inapplicable, found
from .outside import DataMoments, calls, coded, noisy_end, own_samples, range_of, spread_of
from .readings import alternatives, declared
from .variants import variants_of

__all__ = ["Proof", "check_model", "compare_readings"]

SAMPLER = "sde-dpm-solver"  # its noise undoes errors of the network, so that a weak one is not taken for a misread one
IMAGES, OWN_SAMPLES = 512, 256  # compared on, without a word
SHOWN = 64  # samples drawn to look at, where images are there to compare readings on
CODED = 256  # images through encoder and decoder
PICTURES = 10_000  # images that the data's mean is taken of, at most


@dataclass(frozen=True)
class Proof:
    """findings: a check each. compared: every reading against the declared one. on: what they were compared on."""

    findings: tuple[Finding, ...]
    compared: tuple[Compared, ...]
    on: str


def check_model(
    model: Model,
    images: Tensor | None = None,
    samples: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    told: Callable[[str], None] = lambda text: None,
) -> Proof:
    """Puts a model to the proof.

    images: uint8 [N, C, H, W], real ones; without them the model draws its own. samples: how many of them the readings
    are compared on; 512 images or 256 of its own where it is not said. told: how far it has come.

    A model that is asked for something is asked what it is by default, and nothing where images are given. Of a latent
    model all is checked in its latents, and besides the decoder.

    Raises UserError for images of another shape, for too few, and where they cannot be taken: by a model that must be
    asked for something, or whose latents cannot be had as it has no encoder.
    """
    least = 8 * BANDS
    if samples is None:
        samples = IMAGES if images is not None else OWN_SAMPLES
    if samples < least:
        raise UserError(f"--samples is at least {least}, {least // BANDS} a band of noise levels, got {samples}")
    coder, questions = model.checkpoint.decoder, Questions(model, images is not None)
    if images is not None:
        _check_images(images, model, samples)
    for network in model.networks().values():
        network.to(device)
    rng = np.random.Generator(np.random.Philox(seed))
    data, pixels, x0 = None, None, None
    if images is not None:
        order = torch.from_numpy(rng.permutation(len(images)))
        pixels = DataMoments.of(images[order[:PICTURES]].float() / 127.5 - 1)
        x0 = _data_of(model, images[order[:samples]])
        data = pixels if coder is None else DataMoments.of(x0)
    drawn: list[Tensor] = []

    def samples_of_its_own() -> str:
        told("samples of its own")
        count = samples if images is None else SHOWN
        drawn.append(own_samples(model, load_plugins().sampler(SAMPLER), count, seed, device, questions=questions))
        if coder is None:
            return range_of(drawn[0], pixels)
        shown = torch.cat([quantise(model.decode(part.to(device))).cpu() for part in drawn[0].split(128)])
        return range_of(shown.float() / 127.5 - 1, pixels)  # a decoder may go beyond, where the likelihood is cut

    with torch.no_grad():
        findings = [
            found("calls", lambda: calls(model, device, questions)),
            found("noisy end", lambda: noisy_end(model, device, data, questions=questions)),
            found("samples", samples_of_its_own),
        ]
        if coder is not None and drawn:
            findings.append(found("latents", lambda: spread_of(drawn[0], data)))
        if isinstance(coder, Coder) and images is not None:
            findings.append(found("decoder", lambda: coded(coder, images[order[:CODED]])))
        compared: list[Compared] = []
        if x0 is None and drawn:
            x0 = drawn[0] if coder is not None else quantise(drawn[0]).float() / 127.5 - 1

        def readings() -> str:
            if x0 is None:
                raise Inapplicable("there are no images to compare readings on; give some with --data")
            margin = MARGIN if images is not None else OWN
            compared.extend(compare_readings(model, x0, margin, seed, device, told, questions))
            return _verdict(compared)

        findings.append(found("readings", readings))
    on = f"{samples} {'images' if images is not None else 'samples of its own'}"
    return Proof(tuple(findings), tuple(compared), on)


def compare_readings(
    model: Model,
    x0: Tensor,
    margin: float = MARGIN,
    seed: int = 0,
    device: str = "cpu",
    told: Callable[[str], None] = lambda text: None,
    questions: Questions | None = None,
) -> list[Compared]:
    """Every other reading of a model's network against the declared one, on images x0, [n, C, H, W] in [-1, 1], or on
    latents. margin: see `compare`.
    """
    right = declared(model.schedule, model.predictor.preconditioning)
    latent = model.checkpoint.decoder is not None
    networks, readings = {"": model.predictor.network}, [right, *alternatives(right, latent)]
    for reading, network in variants_of(model, right):
        networks[reading.variant] = network.eval().to(device)
        readings.append(reading)
    levels = levels_of(right, len(x0), seed)
    errors = errors_of(
        readings,
        networks,
        x0,
        levels,
        seed,
        told=lambda done: told(f"readings: {done} rows through the network"),
        asked=(questions or Questions(model)).rows,
    )
    if not np.isfinite(errors[:, 0]).all():
        raise Failed("the declared reading gives an ε that is not finite")
    return compare(readings, levels, errors, margin)


def _verdict(compared: list[Compared]) -> str:
    better = [c for c in compared if c.verdict == "better"]
    if better:
        (best,) = [c for c in better if c.best]
        more = f"; better than declared, but less: {', '.join(c.reading.name for c in better if c is not best)}"
        raise Failed(
            f"another reading fits better, {best.reading.name}: {best.reading.mistake} (squared error × "
            f"{best.ratio:.3g}{more if len(better) > 1 else ''})"
        )
    ties = [c.reading.name for c in compared if c.verdict == "cannot tell"]
    text = f"the declared reading fits better than {len(compared) - len(ties)} others, with {CONFIDENCE:.0%} confidence"
    return f"{text}; cannot tell it from {', '.join(ties)}" if ties else text


def _data_of(model: Model, images: Tensor) -> Tensor:
    """What the network knows of images, uint8 [n, C, H, W]: themselves in [-1, 1], or their latents."""
    coder = model.checkpoint.decoder
    if coder is None:
        return images.float() / 127.5 - 1
    if not isinstance(coder, Coder):
        raise UserError(f"model '{model.name}' has no encoder, so there are no latents of images; leave --data out")
    parts = images.split(128)
    return torch.cat([coder.encode(part, noise_of(coder, 128 * i, len(part))).cpu() for i, part in enumerate(parts)])


def _check_images(images: Tensor, model: Model, samples: int) -> None:
    if tuple(images.shape[1:]) != model.image_shape:
        got, expected = ("×".join(map(str, shape)) for shape in (images.shape[1:], model.image_shape))
        raise UserError(f"--data has images of {got}, the model's are {expected}")
    if len(images) < samples:
        raise UserError(f"--data has {len(images)} images, and {samples} are to be compared on; lower --samples")
