"""How well images fit their prompts by CLIP, and how far they are from real images in CLIP's directions."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from ..stats.tails import standard_error
from .kernel import gaussian, kernel_distance
from .measured import Measured

__all__ = ["clip_score", "cmmd"]

SIGMA, SCALE = 10.0, 1000.0  # of Jayasumana et al. 2024


def clip_score(features: Tensor, prompts: Tensor) -> Measured:
    """The mean of 100 · max(cos, 0) between the embeddings [n, D] of each image and of its prompt. Hessel et al. 2021
    multiply by 2.5 instead of 100; torchmetrics by 100, as here.
    """
    each = 100 * cosine_similarity(features.double(), prompts.double(), dim=1).clamp(min=0)
    influences = (each - each.mean()).numpy()
    se, note = standard_error(influences)
    return Measured(float(each.mean()), se, len(each), influences, note=note)


def cmmd(features: Tensor, reference: Tensor) -> Measured:
    """1,000 times the squared maximum mean discrepancy of embeddings of length 1, [n, D] and [m, D], with the Gaussian
    kernel of σ = 10. Unbiased, as the paper says; its authors' code has the biased one, which is larger.
    """
    ours, real = (normalize(one.double(), dim=1) for one in (features, reference))
    found = kernel_distance(ours, real, gaussian(SIGMA))
    return replace(
        found,
        value=SCALE * found.value,
        se=None if found.se is None else SCALE * found.se,
        influences=SCALE * found.influences if found.influences is not None else None,
        halves=None if found.halves is None else SCALE * found.halves,
    )
