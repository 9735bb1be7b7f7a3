"""What a model's config.json may say, and what is wrong where it says something else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ..diffusion.paths import schedule_from_config
from ..diffusion.schedule import NoiseSchedule
from ..errors import UserError, unknown
from .preconditioning import PREDICTIONS, Label, Preconditioning

__all__ = ["FORMAT", "ModelConfig", "is_vae", "mean_squares_of", "model_config"]

FORMAT = 2
LABEL_1 = "t - 1 for t = 1..T"  # format 1 wrote these words on every path, and its reader did not heed them
KEYS = (
    "format", "architecture", "experts", "prediction", "input", "sigma_data", "schedule", "label", "extractor",
    "dataset", "training", "mean_squares", "parts", "reference",
)  # fmt: skip


@dataclass(frozen=True)
class ModelConfig:
    """A config.json that makes sense.

    Attributes:
        architecture: of the network, or of each expert.
        last: the last label of each expert but the last one; empty where there is one network.
        preconditioning: the network's convention.
        schedule: the noise schedule.
        extractor: the feature extractor that the FID is measured in, where one is named.
        dataset: what it was trained on, where that is said.
        training: how it came about.
        mean_squares: see `ModelEpsilon`.
    """

    architecture: dict[str, Any]
    last: tuple[float, ...]
    preconditioning: Preconditioning
    schedule: NoiseSchedule
    extractor: str | None
    dataset: str | None
    training: dict[str, Any]
    mean_squares: dict[str, list[float]] | None


def is_vae(config: Mapping[str, Any]) -> bool:
    """Whether the object of a config.json describes a VAE, see `models/vae.py`."""
    return config.get("kind") == "vae"


def model_config(config: Mapping[str, Any]) -> ModelConfig:
    """Reads the object of a config.json. Raises UserError, in one line, for what no model can be. Format 1 is read as
    well: its label is t - 1, or `label_scale` times t on its continuous schedule.
    """
    _known("key of config.json", config, KEYS)
    version = config.get("format", FORMAT)
    if type(version) is not int or version not in (1, FORMAT):
        raise UserError(f"format is 1 or {FORMAT}, got {version!r}: another version of samplerbench wrote it")
    if version == 1 and config.get("label", LABEL_1) != LABEL_1:
        raise UserError(
            f"label of format 1 is {LABEL_1!r}, got {config['label']!r}; one of another kind needs format {FORMAT}"
        )
    architecture = _object(config, "architecture")
    described = _object(config, "schedule")
    label = config.get("label") if version != 1 else _first_label(described)
    schedule = schedule_from_config(described)
    prediction = _required(config, "prediction")
    if not isinstance(prediction, str) or prediction not in PREDICTIONS:
        raise unknown("prediction", prediction, PREDICTIONS)
    said = {"prediction": prediction, "label": label} | {k: config[k] for k in ("input", "sigma_data") if k in config}
    preconditioning = Preconditioning.from_config(said)
    for name in ("extractor", "dataset"):
        if not isinstance(config.get(name), str | None):
            raise UserError(f"{name} is a name or null, got {config[name]!r}")
    training = _object(config, "training", {})
    recipe = _object(training, "recipe", {}, "training")
    trained_on = _object(recipe, "data", {}, "the recipe").get("dataset")
    return ModelConfig(
        architecture,
        _experts(config, schedule, preconditioning.label),
        preconditioning,
        schedule,
        config.get("extractor"),
        config.get("dataset", trained_on),
        training,
        mean_squares_of(config),
    )


def _first_label(schedule: dict[str, Any]) -> dict[str, Any]:
    """The label of format 1, which had its scale in the schedule."""
    if schedule.get("kind") != "vp":
        return {"kind": "index"}
    return {"kind": "time", "factor": schedule.pop("label_scale", 999.0)}


def _experts(config: Mapping[str, Any], schedule: NoiseSchedule, label: Label) -> tuple[float, ...]:
    """Labels that part the network's range, each expert with a share of it."""
    last = config.get("experts", [])
    first, end = map(float, label(schedule, [schedule.t_min, schedule.t_max]))
    if not (
        _are_numbers(last) and all(first <= label < end for label in last) and all(a < b for a, b in pairwise(last))
    ):
        raise UserError(f"experts is a list of increasing labels from {first:g} to below {end:g}, got {last!r}")
    return tuple(last)


def mean_squares_of(said: Mapping[str, Any]) -> dict[str, list[float]] | None:
    """The `mean_squares` of `said`, which may lack them. Raises UserError for what is no table, see `ModelEpsilon`."""
    if said.get("mean_squares") is None:
        return None
    table = _object(said, "mean_squares")
    _known("key of mean_squares", table, ["times", "values"])
    times, values = _required(table, "times", "mean_squares"), _required(table, "values", "mean_squares")
    if not (_are_numbers(times) and all(a < b for a, b in pairwise(times)) and times):
        raise UserError("mean_squares: times is a list of increasing numbers")
    if not (_are_numbers(values) and all(value >= 0 for value in values) and len(values) == len(times)):
        raise UserError("mean_squares: values is a list of numbers from 0 up, as long as times")
    return {"times": times, "values": values}


def _are_numbers(values: object) -> bool:
    return isinstance(values, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < 1e300 for v in values
    )


def _required(table: Mapping[str, Any], key: str, where: str = "") -> Any:
    if key not in table:
        raise UserError(f"{where or 'it'} lacks '{key}'")
    return table[key]


def _object(table: Mapping[str, Any], key: str, default: Any = None, where: str = "") -> dict[str, Any]:
    value = _required(table, key, where) if default is None else table.get(key, default)
    if not isinstance(value, dict):
        raise UserError(f"{key} is a JSON object, got {value!r}")
    return dict(value)


def _known(kind: str, table: Mapping[str, Any], names: Any) -> None:
    for key in table:
        if key not in names:
            raise unknown(kind, key, names)
