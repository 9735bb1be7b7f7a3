"""What a model's config.json may say, and what is wrong where it says something else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

from ..diffusion.schedule import NoiseSchedule, schedule_from_config
from ..errors import UserError, unknown
from .predictor import PREDICTIONS
from .unet import UNetConfig

__all__ = ["FORMAT", "ModelConfig", "model_config"]

FORMAT = 1
KEYS = (
    "format", "architecture", "experts", "prediction", "schedule", "label", "extractor", "training", "mean_squares",
)  # fmt: skip


@dataclass(frozen=True)
class ModelConfig:
    """A config.json that makes sense.

    Attributes:
        unet: of the network, or of each expert.
        last: the last label of each expert but the last one; empty where there is one network.
        prediction: what the network's output means, see `NoisePredictor`.
        schedule: the noise schedule.
        extractor: the feature extractor that the FID is measured in, where one is named.
        mean_squares: see `ModelEpsilon`.
    """

    unet: UNetConfig
    last: tuple[float, ...]
    prediction: str
    schedule: NoiseSchedule
    extractor: str | None
    mean_squares: dict[str, list[float]] | None


def model_config(config: Mapping[str, Any]) -> ModelConfig:
    """Reads the object of a config.json. Raises UserError, in one line, for what no model can be."""
    _known("key of config.json", config, KEYS)
    if config.get("format", FORMAT) != FORMAT:
        raise UserError(f"format is {FORMAT}, got {config['format']!r}: another version of samplerbench wrote it")
    architecture = dict(_object(config, "architecture"))
    if (kind := _required(architecture, "kind", "architecture")) != "unet":
        raise unknown("architecture", kind, ["unet"])
    del architecture["kind"]
    _known("key of the architecture", architecture, [f.name for f in fields(UNetConfig)])
    _required(architecture, "image_shape", "architecture")
    try:
        unet = UNetConfig(**architecture)
    except ValueError as error:
        raise UserError(f"architecture: {error}") from None
    schedule = schedule_from_config(_object(config, "schedule"))
    if (prediction := _required(config, "prediction")) not in PREDICTIONS:
        raise unknown("prediction", prediction, PREDICTIONS)
    extractor = config.get("extractor")
    if not isinstance(extractor, str | None):
        raise UserError(f"extractor is a name or null, got {extractor!r}")
    training = _object(config, "training", {})
    _object(_object(training, "recipe", {}, "training"), "data", {}, "the recipe")
    return ModelConfig(unet, _experts(config, schedule), prediction, schedule, extractor, _mean_squares(config))


def _experts(config: Mapping[str, Any], schedule: NoiseSchedule) -> tuple[float, ...]:
    """Labels that part the network's range, each expert with a share of it."""
    last = config.get("experts", [])
    first, end = float(schedule.label(schedule.t_min)), float(schedule.label(schedule.t_max))
    if not (
        _are_numbers(last) and all(first <= label < end for label in last) and all(a < b for a, b in pairwise(last))
    ):
        raise UserError(f"experts is a list of increasing labels from {first:g} to below {end:g}, got {last!r}")
    return tuple(last)


def _mean_squares(config: Mapping[str, Any]) -> dict[str, list[float]] | None:
    if config.get("mean_squares") is None:
        return None
    table = _object(config, "mean_squares")
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
    return value


def _known(kind: str, table: Mapping[str, Any], names: Any) -> None:
    for key in table:
        if key not in names:
            raise unknown(kind, key, names)
