"""Folders outside of any run, where the user's system wants them.

Nothing that a result's key holds imports this module, so the version of platformdirs is in no key.
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

__all__ = ["data_cache", "shard_cache"]


def shard_cache() -> Path:
    """Where finished work is kept: $SAMPLERBENCH_CACHE, or `shards` in the user's cache."""
    return Path(os.environ.get("SAMPLERBENCH_CACHE") or _cache() / "shards")


def data_cache() -> Path:
    """Where datasets are: `data` in the user's cache."""
    return _cache() / "data"


def _cache() -> Path:
    """~/.cache/samplerbench on Linux, or below $XDG_CACHE_HOME where that is set."""
    return platformdirs.user_cache_path("samplerbench", appauthor=False)
