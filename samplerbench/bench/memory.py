"""Running out of memory: how that is known, and how one goes on after it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

__all__ = ["out_of_memory", "unless_full"]

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
