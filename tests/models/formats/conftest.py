"""A small diffusers folder, and the marginals that a schedule in plain values stands for."""

from __future__ import annotations

import json
import shutil
from typing import Any

import numpy as np
import pytest

from ..originals import filled
from . import tiny_pipelines


def small_unet(**changes: Any):
    """An untrained UNet2DModel of images [3, 8, 8]."""
    from diffusers import UNet2DModel

    config = {
        "sample_size": 8,
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }
    return filled(UNet2DModel(**config | changes))


@pytest.fixture(scope="session")
def unet():
    return small_unet()


@pytest.fixture
def save(tmp_path, unet):
    """Writes a folder as diffusers does; `fields` are then set in scheduler_config.json, where None deletes one."""

    def written(scheduler, network=unet, folder=tmp_path / "model", **fields):
        from diffusers import DDPMPipeline

        DDPMPipeline(network, scheduler).save_pretrained(folder)
        path = folder / "scheduler" / "scheduler_config.json"
        config = json.loads(path.read_text()) | fields
        path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))
        return folder

    return written


def signal_kept(schedule: dict[str, Any]) -> np.ndarray:
    """ᾱ of labels 0..N-1 in float64, written anew from the papers, for a chain in plain values."""
    steps = schedule.get("steps")
    at, first, last = np.arange(steps or 0), schedule.get("beta_first"), schedule.get("beta_last")
    match schedule["kind"]:
        case "linear":
            betas = first + (last - first) * at / (steps - 1)
        case "scaled-linear":
            betas = (first**0.5 + (last**0.5 - first**0.5) * at / (steps - 1)) ** 2
        case "sigmoid":
            betas = first + (last - first) / (1 + np.exp(6 - 12 * at / (steps - 1)))
        case "cosine":
            left = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * np.pi / 2) ** 2
            betas = np.minimum(1 - left[1:] / left[:-1], 0.999)
        case "betas":
            betas = np.array(schedule["betas"])
    kept = np.cumprod(1 - betas)
    if schedule["zero_terminal_snr"]:
        root = np.sqrt(kept)
        kept = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
    return kept


@pytest.fixture(scope="session")
def saved_pipeline(tmp_path_factory):
    """The folder of each kind of tiny pipeline. It is read by many tests, and changed by none."""
    root = tmp_path_factory.mktemp("pipelines")
    return lambda kind: tiny_pipelines.saved(kind, root)


@pytest.fixture
def own_pipeline(saved_pipeline, tmp_path):
    """A copy of such a folder, to be changed."""
    return lambda kind: shutil.copytree(saved_pipeline(kind), tmp_path / "pipeline")
