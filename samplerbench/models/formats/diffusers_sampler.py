"""The sampler that a diffusers scheduler is, in this project's names: information, nothing is taken over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["nearest_sampler"]

SPACINGS = {"leading": "uniform", "trailing": "trailing", "linspace": "linspace"}
LEADING = ("DDPMScheduler", "DDPMParallelScheduler", "DDIMScheduler", "DDIMParallelScheduler", "PNDMScheduler")
EVEN_STEPS = LEADING[2:]  # they go from t to t - T/n, whatever the next of their times is
CLIPPING = LEADING[:4]  # they limit x_0 where nothing is said


def nearest_sampler(kind: str, config: Mapping[str, Any]) -> tuple[str, str]:
    """The spec of the sampler that is nearest to a scheduler of class `kind`, and what it lacks of it; two empty texts
    where there is none.

    DDIM and DDPM without `steps_offset`, where the number of steps divides T, and the solvers with `final_sigmas_type`
    sigma_min are the same method on the same times. Not so DDIM on linspace: diffusers goes from t to t - T/n there,
    which is not the next time. Others differ in the last step, or in how times are rounded.
    """
    name, options = _method(kind, config)
    if not name:
        return "", ""
    said = str(config.get("timestep_spacing") or ("leading" if kind in LEADING else "linspace"))
    if config.get("use_flow_sigmas"):  # the solvers then space times so whatever timestep_spacing is
        said = "trailing"
    if config.get("use_karras_sigmas") or kind.startswith("EDM"):
        spacing = "karras"
    else:
        even = config.get("use_lu_lambdas") or config.get("use_exponential_sigmas")  # in ln(σ/α), which is -λ
        spacing = "logsnr" if even else SPACINGS.get(said, "")
    if spacing:
        options.append(f"spacing={spacing}")
    if kind in CLIPPING and config.get("clip_sample", True):
        options.append("clip=x0")
    elif kind in CLIPPING[:2]:
        options.append("clip=none")
    lacks = [
        *(["steps from t to t - T/n"] if said == "linspace" and kind in EVEN_STEPS else []),
        *([f"steps_offset={config['steps_offset']}"] if said == "leading" and config.get("steps_offset") else []),
        *([f"clip_sample_range={r:g}"] if isinstance(r := config.get("clip_sample_range"), float) and r != 1 else []),
        *(["thresholding"] if config.get("thresholding") and "thresholding=true" not in options else []),
        *(["use_beta_sigmas"] if config.get("use_beta_sigmas") else []),
        *(["set_alpha_to_one=false"] if config.get("set_alpha_to_one") is False else []),
    ]
    return ":".join([name, *options]), ", ".join(lacks)


def _method(kind: str, config: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The sampler's name, empty where there is none, and its options but for spacing and clipping."""
    order = config.get("solver_order") or 2
    final = [] if config.get("final_sigmas_type", "zero") == "sigma_min" else ["final=zero"]
    match kind:
        case "DDPMScheduler" | "DDPMParallelScheduler":
            variance = str(config.get("variance_type") or "fixed_small").removesuffix("_log").replace("_", "-")
            return "ddpm", [f"variance={variance}"]
        case "DDIMScheduler" | "DDIMParallelScheduler" | "EulerDiscreteScheduler" | "EDMEulerScheduler":
            return "ddim", []
        case "FlowMatchEulerDiscreteScheduler":
            return "ddim", []
        case "EulerAncestralDiscreteScheduler":
            return "ddim", ["eta=1"]
        case "PNDMScheduler":
            return ("ipndm" if config.get("skip_prk_steps") else "pndm"), []
        case "HeunDiscreteScheduler" | "FlowMatchHeunDiscreteScheduler":
            return "heun", []
        case "DEISMultistepScheduler":
            return "deis", ["variant=logrhoab", f"order={order - 1}"]
        case "UniPCMultistepScheduler":
            prediction = [] if config.get("predict_x0", True) else ["prediction=eps"]
            return "unipc", [f"order={order}", f"variant={config.get('solver_type') or 'bh2'}", *prediction, *final]
        case "DPMSolverMultistepScheduler" | "DPMSolverSinglestepScheduler" | "EDMDPMSolverMultistepScheduler":
            return _dpm_solver(kind, config, order, final)
    return "", []


def _dpm_solver(kind: str, config: Mapping[str, Any], order: int, final: list[str]) -> tuple[str, list[str]]:
    algorithm = config.get("algorithm_type") or "dpmsolver++"
    if algorithm.startswith("sde-"):
        return ("sde-dpm-solver", [f"order={min(order, 2)}", *final]) if algorithm == "sde-dpmsolver++" else ("", [])
    single = ["mode=singlestep"] if "Singlestep" in kind else []
    options = [f"order={'3-published' if order == 3 and not single else order}", *single]
    if algorithm == "dpmsolver":
        options.append("prediction=eps")
    elif config.get("thresholding"):
        options.append("thresholding=true")
    return "dpm-solver", [*options, *final]
