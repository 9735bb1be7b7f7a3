"""diffusers' scheduler_config.json: the path, prediction and label of a network, and notes on its authors' sampler."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import UserError, unknown
from .diffusers_sampler import nearest_sampler

__all__ = ["Scheduler", "read_scheduler"]

CHAINS = (  # schedulers of a chain of β; all of them mean the same by its fields
    "DDPMScheduler", "DDPMParallelScheduler", "DDIMScheduler", "DDIMParallelScheduler", "PNDMScheduler",
    "LMSDiscreteScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler", "DPMSolverSDEScheduler", "DEISMultistepScheduler", "UniPCMultistepScheduler",
    "SASolverScheduler",
)  # fmt: skip
FLOWS = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")
EDMS = ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler")
OTHER_BETAS = ("HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler",
               "DPMSolverSDEScheduler")  # fmt: skip  # from 0.00085 to 0.012 where nothing is said

PATH = (
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type",
    "rescale_betas_zero_snr", "variance_type", "predict_epsilon", "use_flow_sigmas", "flow_shift", "shift",
    "use_dynamic_shifting", "invert_sigmas", "sigma_min", "sigma_max", "sigma_data", "timestep_type",
)  # fmt: skip
SAMPLING = (  # settings of their samplers, which do not change what the network is
    "timestep_spacing", "steps_offset", "set_alpha_to_one", "clip_sample", "clip_sample_range", "thresholding",
    "dynamic_thresholding_ratio", "sample_max_value", "skip_prk_steps", "interpolation_type", "use_karras_sigmas",
    "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "final_sigmas_type", "solver_order", "solver_type",
    "algorithm_type", "lower_order_final", "euler_at_final", "lambda_min_clipped", "predict_x0", "disable_corrector",
    "solver_p", "predictor_order", "corrector_order", "tau_func", "noise_sampler_seed", "base_shift", "max_shift",
    "base_image_seq_len", "max_image_seq_len", "shift_terminal", "time_shift_type", "stochastic_sampling", "rho",
    "sigma_schedule", "eta", "timestep_values", "tensor_format",
)  # fmt: skip
BETAS = ("beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr")
OF_FLOWS = ("shift", "flow_shift", "use_dynamic_shifting", "invert_sigmas")
OF_SIGMAS = ("sigma_min", "sigma_max", "sigma_data")
TOLD = ("timestep_spacing", "steps_offset", "set_alpha_to_one", "clip_sample", "clip_sample_range", "thresholding",
        "variance_type", "algorithm_type", "solver_order", "use_karras_sigmas", "final_sigmas_type")  # fmt: skip
VARIANCES = ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned", "learned_range")
PREDICTIONS = {"epsilon": "epsilon", "sample": "x0", "v_prediction": "v", "flow_prediction": "velocity"}
KINDS = {"linear": "linear", "scaled_linear": "scaled-linear", "squaredcos_cap_v2": "cosine", "sigmoid": "sigmoid"}


@dataclass(frozen=True)
class Scheduler:
    """What is read; the fields are those of `Understood`."""

    prediction: str
    schedule: dict[str, Any]
    label: dict[str, Any]
    notes: tuple[str, ...]
    learned_range: bool


def read_scheduler(config: Mapping[str, Any], what: str, sequence: int | None = None) -> Scheduler:
    """Reads a scheduler_config.json. Raises UserError, in one line, for unknown and contradictory fields.

    what: the file, in errors. sequence: how many patches the network sees, on which the shift of some flows hangs; None
    where it sees none.
    """
    try:
        return _read({k: v for k, v in config.items() if k == "_class_name" or not k.startswith("_")}, sequence)
    except UserError as error:
        raise UserError(f"{what}: {error}") from None


def _read(config: dict[str, Any], sequence: int | None) -> Scheduler:
    if (kind := config.pop("_class_name", None)) not in (*CHAINS, *FLOWS, *EDMS):
        raise unknown("scheduler", kind, [*CHAINS, *FLOWS, *EDMS])
    for name in config:
        if name not in PATH + SAMPLING:
            raise unknown("field", name, PATH + SAMPLING)
    prediction, notes = _prediction(config, kind)
    variance = config.get("variance_type")
    if variance not in (None, *VARIANCES):
        raise unknown("variance_type", variance, VARIANCES)
    if variance == "learned":
        raise UserError("variance_type is 'learned', which outputs the variance itself; only learned_range is read")
    flow = kind in FLOWS or _switch(config, "use_flow_sigmas")
    if flow != (prediction == "velocity"):
        raise UserError(
            f"prediction_type {config.get('prediction_type')!r} contradicts "
            f"{f'use_flow_sigmas {flow}' if kind in CHAINS else kind}: the network of a flow, and no other, predicts "
            "its velocity (flow_prediction)"
        )
    if config.get("timestep_type", "discrete") != "discrete":
        raise UserError(f"timestep_type is {config['timestep_type']!r}; only 'discrete' is read")
    label = {"kind": "index", "factor": 1.0, "offset": 0.0, "between": "interpolate"}
    if flow:
        schedule, more = _flow(config, kind, sequence)
        notes += more
        label |= {"kind": "flow-time", "factor": float(_steps(config))}
    elif kind in EDMS:
        schedule = _edm(config)
        label |= {"kind": "log-sigma", "factor": 0.25}
        prediction = "edm"
    else:
        schedule = _chain(config, kind, prediction)
        if schedule["zero_terminal_snr"] and prediction == "epsilon":
            raise UserError(
                "rescale_betas_zero_snr contradicts prediction_type 'epsilon': where nothing is left of the data, its "
                "noise says nothing of it; such a network predicts v or x_0"
            )
    notes = [*notes, *_unused(config, kind, flow), *_sampling(config, kind)]
    return Scheduler(prediction, schedule, label, tuple(notes), variance == "learned_range")


def _unused(config: Mapping[str, Any], kind: str, flow: bool) -> list[str]:
    """A note on the fields that speak of another kind of path. diffusers leaves them out of account as well; they stay
    in a file that was made from another scheduler's.
    """
    if flow:
        of_others = (*(BETAS if kind in FLOWS else ()), *OF_SIGMAS, "flow_shift" if kind in FLOWS else "shift")
    else:
        of_others = (*BETAS, *OF_FLOWS) if kind in EDMS else (*OF_FLOWS, *OF_SIGMAS)
    said = [
        f"{name}={json.dumps(value)}"
        for name in of_others
        if (value := config.get(name)) is not None
        and value is not False
        and not (name in ("shift", "flow_shift") and value == 1)  # which shifts nothing
    ]
    path = "flow" if flow else "path of σ" if kind in EDMS else "chain of β"
    return [f"not heeded, as a {path} has none: {', '.join(said)}"] if said else []


def _prediction(config: Mapping[str, Any], kind: str) -> tuple[str, list[str]]:
    said = config.get("prediction_type")
    if said is None:
        if not _switch(config, "predict_epsilon", True):
            return "x0", ["prediction: x_0, as predict_epsilon is false"]
        if kind in FLOWS:
            return "velocity", []
        return "epsilon", ["prediction: epsilon, as older configs mean it that do not name it"]
    if not isinstance(said, str) or said not in PREDICTIONS:
        raise unknown("prediction_type", said, PREDICTIONS)
    if "predict_epsilon" in config and _switch(config, "predict_epsilon") != (said == "epsilon"):
        raise UserError(f"predict_epsilon {config['predict_epsilon']} contradicts prediction_type {said!r}")
    if kind in EDMS and said != "epsilon":
        raise UserError(f"{kind} with prediction_type {said!r} is not read, only 'epsilon'")
    return PREDICTIONS[said], []


def _chain(config: Mapping[str, Any], kind: str, prediction: str) -> dict[str, Any]:
    zero, betas = _switch(config, "rescale_betas_zero_snr"), config.get("trained_betas")
    if betas is not None:
        if not isinstance(betas, list) or not betas or not all(_is_number(b) and 0 < b < 1 for b in betas[:-1]):
            raise UserError("trained_betas is a list of numbers between 0 and 1")
        if not (_is_number(betas[-1]) and 0 < betas[-1] <= 1):
            raise UserError(f"trained_betas end above 0 and at most at 1, got {betas[-1]!r}")
        if "num_train_timesteps" in config and len(betas) != _steps(config):
            raise UserError(
                f"{len(betas)} trained_betas contradict num_train_timesteps {config['num_train_timesteps']}"
            )
        if betas[-1] == 1 and prediction == "epsilon":
            raise UserError(
                "trained_betas end at 1, which contradicts prediction_type 'epsilon': nothing of the data is left"
            )
        return {"kind": "betas", "betas": [float(b) for b in betas], "zero_terminal_snr": zero}
    steps, name = _steps(config), config.get("beta_schedule", "linear")
    if name in ("laplace", "exp"):
        return {"kind": "betas", "betas": _betas_of(name, steps), "zero_terminal_snr": zero}
    if not isinstance(name, str) or name not in KINDS:
        raise unknown("beta_schedule", name, [*KINDS, "laplace", "exp"])
    schedule = {"kind": KINDS[name], "steps": steps, "zero_terminal_snr": zero}
    if name == "squaredcos_cap_v2":
        return schedule
    first, last = (0.00085, 0.012) if kind in OTHER_BETAS else (1e-4, 0.02)
    first, last = _number(config, "beta_start", first), _number(config, "beta_end", last)
    if not 0 < first <= last < 1:
        raise UserError(f"betas lie in (0, 1) and do not fall, got beta_start {first:g} and beta_end {last:g}")
    return schedule | {"beta_first": first, "beta_last": last}


def _betas_of(name: str, steps: int) -> list[float]:
    """β of the ᾱ(t) that diffusers calls laplace and exp, capped at 0.999."""

    def alpha_bar(t: float) -> float:
        if name == "exp":
            return math.exp(-12 * t)
        half = 1e-6 + (2 * t if t < 0.5 else 2 - 2 * t)
        log_snr = math.log(half) * (-0.5 if t <= 0.5 else 0.5)
        return 1 / math.sqrt(1 + math.exp(-log_snr))

    return [min(1 - alpha_bar((i + 1) / steps) / alpha_bar(i / steps), 0.999) for i in range(steps)]


def _flow(config: Mapping[str, Any], kind: str, sequence: int | None) -> tuple[dict[str, Any], list[str]]:
    """The path of a flow, and a note where its shift hangs on the resolution."""
    dynamic = _switch(config, "use_dynamic_shifting")
    if dynamic and (sequence is None or kind not in FLOWS):
        raise UserError("use_dynamic_shifting is not read: its shift hangs on the resolution and is not in the file")
    if _switch(config, "invert_sigmas"):
        raise UserError("invert_sigmas is not read: time 0 is the data here")
    if dynamic:
        assert sequence is not None
        shift, how = _shift_of(config, sequence)
        return {"kind": "flow", "shift": shift}, [f"shift {shift:.4g}, of {sequence} patches ({how} time shift)"]
    name = "shift" if kind in FLOWS else "flow_shift"
    if (shift := _number(config, name, 1.0)) <= 0:
        raise UserError(f"{name} is above 0, got {shift:g}")
    return {"kind": "flow", "shift": shift}, []


def _shift_of(config: Mapping[str, Any], sequence: int) -> tuple[float, str]:
    """The shift for a number of patches, linear in it between two that are given: its logarithm (`exponential`), or
    itself (`linear`).
    """
    how = config.get("time_shift_type", "exponential")
    if how not in ("exponential", "linear"):
        raise unknown("time_shift_type", how, ["exponential", "linear"])
    least, most = _number(config, "base_image_seq_len", 256), _number(config, "max_image_seq_len", 4096)
    first, last = _number(config, "base_shift", 0.5), _number(config, "max_shift", 1.15)
    if not 0 < least < most:
        raise UserError(f"base_image_seq_len lies between 0 and max_image_seq_len, got {least:g} and {most:g}")
    value = first + (last - first) * (sequence - least) / (most - least)
    shift = math.exp(min(value, 100.0)) if how == "exponential" else value
    if not 0 < shift < 1e6:
        raise UserError(f"the shift of {sequence} patches is above 0, got {shift:g}")
    return shift, how


def _edm(config: Mapping[str, Any]) -> dict[str, Any]:
    least, most = _number(config, "sigma_min", 0.002), _number(config, "sigma_max", 80.0)
    if not 0 < least < most:
        raise UserError(f"sigma_min lies between 0 and sigma_max, got {least:g} and {most:g}")
    if (data := _number(config, "sigma_data", 0.5)) != 0.5:
        raise UserError(f"sigma_data is {data:g}; only EDM's 0.5 is read")
    return {"kind": "edm", "sigma_min": least, "sigma_max": most}


def _sampling(config: Mapping[str, Any], kind: str) -> list[str]:
    told = [f"{name}={json.dumps(config[name])}" for name in TOLD if config.get(name) is not None]
    spec, lacks = nearest_sampler(kind, config)
    return [
        f"its authors' scheduler is {kind}" + (f" with {', '.join(told)}" if told else ""),
        *([f"nearest here: --samplers {spec}" + (f", without their {lacks}" if lacks else "")] if spec else []),
    ]


def _steps(config: Mapping[str, Any]) -> int:
    steps = config.get("num_train_timesteps", 1000)
    if type(steps) is not int or not 1 <= steps <= 10**6:
        raise UserError(f"num_train_timesteps is a whole number from 1 to 1000000, got {steps!r}")
    return steps


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _number(config: Mapping[str, Any], name: str, default: float) -> float:
    value = config.get(name)
    if value is None:
        return default
    if not _is_number(value):
        raise UserError(f"{name} is a finite number, got {value!r}")
    return float(value)


def _switch(config: Mapping[str, Any], name: str, default: bool = False) -> bool:
    value = config.get(name, default)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise UserError(f"{name} is true or false, got {value!r}")
    return value
