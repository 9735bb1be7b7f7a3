"""samplerbench's own format: a folder with `config.json` and `model.safetensors`, and usually `reference.npz`, the
feature statistics of its training images. Shipped models are such folders inside the package.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...diffusion.schedule import NoiseSchedule
from ...errors import UserError
from ...files import fill, load_weights, read_json, save_weights, sha256_of_all, write_whole
from ..config import FORMAT, ModelConfig, is_vae, model_config
from ..preconditioning import Preconditioning
from .format import Checkpoint, ModelFormat

if TYPE_CHECKING:
    from torch import nn

    from ..classifier import Classifier
    from ..condition import Conditioner, Words
    from ..vae import Autoencoder

__all__ = ["PARTS", "Own", "name_reference", "note_parts", "save_model", "shipped_models"]

EXPORTED = "exported from "
PARTS = ("vae", "text", "prompts.txt", "classifier")


def _shipped() -> Path:
    return Path(str(resources.files("samplerbench.models").joinpath("shipped")))


def shipped_models() -> list[str]:
    """The models inside the package."""
    return sorted(folder.name for folder in _shipped().iterdir() if (folder / "config.json").is_file())


class Own(ModelFormat):
    """A folder as `samplerbench train` and `samplerbench models export` write it."""

    name = "samplerbench"
    about = "a folder with config.json and model.safetensors, as samplerbench writes it"

    def recognises(self, spec: str) -> bool:
        if spec in shipped_models():
            return True
        folder = Path(spec)
        if not (folder / "config.json").is_file() or (folder / "scheduler_config.json").exists():
            return False
        return b'"_class_name"' not in (folder / "config.json").read_bytes()  # diffusers says so of its own

    def load(self, spec: str) -> Checkpoint:
        import torch

        from ..networks.build import build_network, learns_range

        folder, what = _shipped() / spec if spec in shipped_models() else Path(spec), f"model '{spec}'"
        config = read_json(folder / "config.json", what=what)
        if is_vae(config):
            raise UserError(f"{what} is a VAE, which has images and latents but no ε_θ: it is part of a latent model")
        try:
            known = model_config(config)
            with torch.device("meta"):  # no memory is taken before the file of weights is known to have these shapes
                network, shape = build_network(known.architecture, known.last)
        except UserError as error:
            raise UserError(f"{what}: config.json: {error}") from None
        load_weights(network, folder / "model.safetensors", what=what)
        reference = _reference(folder, config, what)
        coder, words = _parts(folder, config.get("parts", {}), network, shape, what)
        classifier, asked = _classifier(folder, config.get("parts", {}), shape, words, what)
        return Checkpoint(
            network=network,
            schedule=known.schedule,
            preconditioning=known.preconditioning,
            sample_shape=shape,
            architecture=known.architecture,
            dataset=known.dataset,
            extractor=known.extractor,
            reference=reference,
            files=(folder / "config.json", folder / "model.safetensors"),
            learned_range=learns_range(known.architecture),
            notes=_notes(known.training.get("exported_from")),
            mean_squares=known.mean_squares,
            training=known.training,
            decoder=coder,
            conditioner=asked,
            classifier=classifier,
            # those of a text encoder would have to be taken with it
            other_weights=None if words else _raw_weights(folder, known, what),
        )


def _reference(folder: Path, config: Mapping[str, Any], what: str) -> Path | None:
    """The reference statistics beside a model, or those of the shipped model that its config names."""
    shared = config.get("reference")
    if shared is not None and shared not in shipped_models():
        raise UserError(f"{what}: config.json: reference names a shipped model, got {shared!r}")
    place = (folder if shared is None else _shipped() / shared) / "reference.npz"
    return place if place.is_file() else None


def _parts(
    folder: Path, said: Any, network: nn.Module, shape: tuple[int, int, int], what: str
) -> tuple[Autoencoder | None, Words | None]:
    """The VAE and the text encoder that lie beside a model. Raises UserError where they are not those that it was
    trained with, or do not fit.
    """
    from ..condition import Words, read_lines
    from ..networks.unet import UNet
    from ..text import load_text
    from ..vae import load_vae

    if not isinstance(said, dict) or not said.keys() <= set(PARTS):
        raise UserError(f"{what}: config.json: parts names some of {', '.join(PARTS)}, got {said!r}")
    for name, hashes in said.items():
        if not (folder / name).exists():
            raise UserError(f"{what}: {folder} has no {name}, which config.json names")
        if sha256_of_all(folder / name) != hashes:
            raise UserError(f"{what}: {name} is another than the one that the model was trained with")
    coder = load_vae(folder / "vae") if "vae" in said else None
    if coder and coder.latent_shape != shape:
        got, expected = (list(one) for one in (coder.latent_shape, shape))
        raise UserError(f"{what}: its VAE has latents {got}, and its ε_θ takes {expected}")
    width = network.config.text if isinstance(network, UNet) else 0
    if "text" not in said:
        if width:
            raise UserError(f"{what}: config.json: a network with text needs the part text")
        return coder, None
    text = load_text(folder / "text", what)
    if width != text.network.config.width:
        raise UserError(
            f"{what}: its text encoder gives {text.network.config.width} numbers, and its ε_θ takes {width}"
        )
    if "prompts.txt" not in said:
        raise UserError(f"{what}: a model with a text encoder has prompts.txt, what it is asked by default")
    return coder, Words(text, read_lines(folder / "prompts.txt", what))


def _classifier(
    folder: Path, said: Mapping[str, Any], shape: tuple[int, int, int], words: Words | None, what: str
) -> tuple[Classifier | None, Conditioner | None]:
    """The classifier of noisy samples beside a model, and what the model is asked by: its classes, where it is asked
    for nothing else.
    """
    from ..classifier import load_classifier
    from ..condition import Classes

    if "classifier" not in said:
        return None, words
    found = load_classifier(folder / "classifier", what)
    if found.shape != shape:
        raise UserError(f"{what}: its classifier takes {list(found.shape)}, and its ε_θ {list(shape)}")
    return found, words or Classes(found.classes, argument=None)


def _notes(origin: Any) -> tuple[str, ...]:
    """What was to be known of the model that a folder was exported from, and which one that was."""
    if not isinstance(origin, dict) or not isinstance(origin.get("notes"), list):
        return ()
    notes = [note for note in origin["notes"] if isinstance(note, str) and not note.startswith(EXPORTED)]
    return (f"{EXPORTED}{origin.get('name')} ({origin.get('format')})", *notes)


def _raw_weights(folder: Path, known: ModelConfig, what: str) -> Callable[[], tuple[str, nn.Module]] | None:
    """The weights of the last step, from the training states beside the folder; the folder has their averages."""
    names = [f"expert-{i}/" for i in range(len(known.last) + 1)] if known.last else [""]
    states = [folder.parent / f"{name}checkpoint.safetensors" for name in names]
    if folder.name != "model" or not all(state.is_file() for state in states):
        return None

    def read() -> tuple[str, nn.Module]:
        from safetensors import safe_open

        from ..networks.build import build_network
        from ..networks.experts import networks_of

        network, _ = build_network(known.architecture, known.last)
        for part, state in zip(networks_of(network), states, strict=True):
            with safe_open(state, framework="pt") as file:
                held = [name for name in file.keys() if name.startswith("network/")]  # noqa: SIM118
                raw = {name.removeprefix("network/"): file.get_tensor(name) for name in held}
            fill(part, raw, f"{what}: {state.name}", "config.json")
        return "raw", network.eval().requires_grad_(False)

    return read


def save_model(
    folder: Path,
    network: nn.Module,
    preconditioning: Preconditioning | str,
    schedule: NoiseSchedule,
    extractor: str | None = None,
    training: Mapping[str, Any] | None = None,
    weights: str = "float32",
    mean_squares: dict[str, list[float]] | None = None,
    dataset: str | None = None,
    architecture: Mapping[str, Any] | None = None,
) -> None:
    """Writes a model folder that `Own` reads. preconditioning: the network's convention, or the name of what it
    predicts. training: what to keep of how it came about. weights: float32 or float16. mean_squares: see
    `ModelEpsilon`. architecture: of the network, or of each of its experts, where it is not a `UNet`.
    """
    from ..networks.build import architecture_of
    from ..networks.experts import Experts

    if isinstance(preconditioning, str):
        preconditioning = Preconditioning(preconditioning)
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(network, folder / "model.safetensors", weights)
    config = {
        "format": FORMAT,
        "architecture": architecture_of(network) if architecture is None else dict(architecture),
        **({"experts": list(network.last)} if isinstance(network, Experts) else {}),
        **preconditioning.config(),
        "schedule": schedule.config(),
        "extractor": extractor,
        "dataset": dataset,
        "training": dict(training or {}),
        **({"mean_squares": mean_squares} if mean_squares else {}),
    }
    write_whole(folder / "config.json", (json.dumps(config, indent=2) + "\n").encode())


def note_parts(folder: Path) -> None:
    """Says in a model's config.json which parts lie beside it, each with its hash: its VAE, its text encoder,
    and what it is asked by default.
    """
    parts = {name: sha256_of_all(folder / name) for name in PARTS if (folder / name).exists()}
    if parts:
        _say(folder, parts=parts)


def name_reference(folder: Path, shipped: str) -> None:
    """Says in a model's config.json that its reference statistics are those of a shipped model."""
    _say(folder, reference=shipped)


def _say(folder: Path, **more: Any) -> None:
    config = read_json(folder / "config.json", str(folder)) | more
    write_whole(folder / "config.json", (json.dumps(config, indent=2) + "\n").encode())
