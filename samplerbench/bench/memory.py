"""Memory: how many samples fit into it, how one knows that it ran out, and how one goes on after that."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import torch

__all__ = ["fitting", "out_of_memory", "unless_full"]

T = TypeVar("T")

TEXTS = (
    "out of memory",  # CUDA's own, which comes as an AcceleratorError, and late; HIP's, and that of a driver
    "can't allocate memory",  # of torch on a CPU
    "MemoryAllocation",  # cudaErrorMemoryAllocation
    "ALLOC_FAILED",  # CUBLAS_STATUS_, CUDNN_STATUS_, CUSOLVER_STATUS_, CUFFT_
    "CUBLAS_STATUS_NOT_INITIALIZED",  # there is no memory for its handle
    "CUSOLVER_STATUS_INTERNAL_ERROR",  # likewise
    "CUDNN_STATUS_NOT_SUPPORTED",  # no plan whose workspace fits, or none at all: then a single sample fails, too
    "CUDNN_STATUS_INTERNAL_ERROR",
    "Unable to find a valid cuDNN algorithm",
    "unable to find an engine to execute this computation",
)


SHARE = 0.5  # of a GPU's free memory, that a batch may take
PROBES = 8, 64  # samples
MOST = 4096  # samples, with which any GPU is busy


def fitting(call: Callable[[int], object], device: str) -> int:
    """How many samples at once, a power of two, take at most half of what a GPU has free. call: what is done with so
    many of them.

    It is measured on two small batches. Where more is needed than they show, memory runs out, which is known elsewhere.
    """
    few, more = PROBES
    peaks = [unless_full(partial(_peak, call, samples, device), smallest=False) for samples in PROBES]
    if peaks[0] is None or peaks[1] is None:
        return few
    each = max((peaks[1] - peaks[0]) / (more - few), 1.0)
    fit = (SHARE * _free(device) - peaks[0]) / each + few
    return min(2 ** max(int(math.log2(max(fit, 1.0))), 0), MOST)


def _peak(call: Callable[[int], object], samples: int, device: str) -> int:
    """The most bytes that a call takes at a time."""
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    call(samples)
    return int(torch.cuda.max_memory_allocated(device)) - before


def _free(device: str) -> int:
    """Bytes that are nobody's, or that torch keeps and has no use for."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + kept


def out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one that led to it, says in any of the ways that there are that memory ran out."""
    return any(
        isinstance(one, torch.OutOfMemoryError | MemoryError)
        or (isinstance(one, RuntimeError) and any(text in str(one) for text in TEXTS))
        for one in _with_causes(error)
    )


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def unless_full(call: Callable[[], T], smallest: bool) -> T | None:
    """What a call gives; None where memory ran out, and what the call had taken of it is free again. smallest: whether
    no smaller call is possible, so that such an error is raised as well.
    """
    try:
        return call()
    except Exception as error:
        if smallest or not out_of_memory(error):
            raise
    # only here: inside of the block the error's traceback holds the tensors
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    return None
