"""Several networks for several ranges of time, of which each evaluation runs one (Balaji et al. 2022, eDiff-I, §4.1).

What a denoiser does at much noise has little to do with what it does at little; a network for each halves what one must
hold, at the same cost an evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ...errors import UserError

__all__ = ["Experts", "networks_of"]


class Experts(nn.Module):
    """`networks[i]` serves the labels above `last[i - 1]` and up to `last[i]`; the last network all those above.

    networks: of one kind, one more than `last`.
    last: labels, increasing.
    """

    def __init__(self, networks: Sequence[nn.Module], last: Sequence[float]) -> None:
        super().__init__()
        if len(networks) != len(last) + 1 or any(a >= b for a, b in pairwise(last)):
            raise UserError(f"experts are divided at increasing labels, one fewer than networks, got {list(last)}")
        self.networks, self.last = nn.ModuleList(networks), tuple(last)

    def at(self, label: float) -> nn.Module:
        """The network for one label."""
        return self.networks[sum(label > last for last in self.last)]

    def forward(self, x: Tensor, label: Tensor, **asked: Tensor) -> Tensor:
        """x [B, …], label [B] and each of `asked` [B, …]: every sample through the network of its label."""
        index = torch.bucketize(label, torch.tensor(self.last, dtype=label.dtype, device=label.device))
        out: Tensor | None = None
        for i, network in enumerate(self.networks):
            mine = index == i
            if mine.any():
                part = network(x[mine], label[mine], **{name: value[mine] for name, value in asked.items()})
                out = part.new_empty(len(x), *part.shape[1:]) if out is None else out
                out[mine] = part
        return torch.empty_like(x) if out is None else out


def networks_of(network: nn.Module) -> list[nn.Module]:
    """The networks of which each evaluation runs one: the experts, or the one that there is."""
    return list(network.networks) if isinstance(network, Experts) else [network]
