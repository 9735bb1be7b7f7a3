"""What a metric is: a number from what a cell drew, with its direction, its error and the count it came from.

Subclass `Metric`, and register the class from a hook (see `hookspecs.py`); it then is a column of results.csv. This
module and a plugin's need no torch to be imported.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..diffusion.denoiser import Epsilon
    from ..diffusion.grid import TimeGrid
    from ..sampler import Sampler
    from .measured import Measured
    from .reference import Reference

__all__ = ["Drawn", "Metric"]


if TYPE_CHECKING:

    class Keep(Protocol):
        def __call__(
            self, name: str, identity: dict[str, Any], compute: Callable[[], dict[str, Tensor]], made_by: str = ""
        ) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class Drawn:
    """What a cell drew and under which conditions: all that a metric may look at.

    Attributes:
        features: float32 [n, D], of samples 0..n-1.
        logits: float32 [n, K], the extractor's classification; None where it has none.
        x0: float32 [k, C, H, W], the first k = min(n, 256) samples as the sampler returned them; of a latent model they
            are latents.
        labels: int64 [n], the class that each sample was asked for, -1 where it was none; None of a model that is asked
            for nothing.
        prompts: the line that each sample was asked for; None of a model that is not asked in words.
        text: `text(lines)` gives their embeddings by the extractor, float32 [m, D]; for metrics that say `needs_text`.
        reference: statistics of real images and, where it has them, some of their features.
        sampler, grid: what drew them.
        epsilon: ε(x, t) of the model, for metrics that evaluate it; not counted. Where samples are asked for something
            it takes rows of x for the samples of `x0`, and `epsilon.of_rows(rows)` is that of some of them.
        guided: whether that ε is guided. unasked: `unasked(n)` is the model's own ε for n samples that are asked for
            nothing; None where it must be asked for something.
        coder: of a latent model, its decoder, and its encoder where it has that; None of a model of pixels.
        seed: of x_T and all noise.
        device, dtype: where the network is, and of which precision its x are.
        keep: `keep(name, identity, compute)` gives the tensors that `compute()` returns, from an earlier run where it
            can: for what is costly and belongs to the model, not to the cell. Model, seed, conditions, guidance,
            precision, device and the metric's own code are in its key already; `identity`, plain values, is whatever
            else it depends on.
            `made_by`, a module's name, stands in the key in place of the metric's code, for what several metrics share.
        real_images: gives the test images of the model's dataset, uint8 [N, C, H, W]; raises UserError where they
            cannot be had. For metrics that say `needs_images`.
        notice: tells the user a line. progress: how far a long computation has come, in place of what it said before.
    """

    features: Tensor
    logits: Tensor | None
    x0: Tensor
    labels: Tensor | None
    prompts: Sequence[str] | None
    text: Callable[[Sequence[str]], Tensor]
    reference: Reference
    sampler: Sampler
    grid: TimeGrid
    epsilon: Epsilon
    guided: bool
    unasked: Callable[[int], Epsilon] | None
    coder: Any
    seed: int
    device: str
    dtype: torch.dtype
    keep: Keep
    real_images: Callable[[], Tensor]
    notice: Callable[[str], None]
    progress: Callable[[str], None]


class Metric(ABC):
    """One metric.

    Class attributes:
        name: its column in results.csv and what `--metrics` calls it.
        title: how people write it; the name unless it says otherwise.
        direction: whether `lower` or `higher` is better.
        extrapolates: whether its bias falls as 1/n and differs between samplers, so that two cells are compared by what
            it would be of infinitely many samples (`stats.difference`).
        on_features: whether it looks at nothing but features, logits and reference. Where a GPU or other processes
            sample, our own such metrics are computed meanwhile.
        needs_classes: whether it is computed from the extractor's logits, so that there must be some.
        needs_directions, needs_text: whether the extractor must be one that says `directions`, or `reads`.
        needs_images: whether it is measured on `real_images`; then a value hangs on them, too, and is measured anew
            where they are others.
        about: what it measures, in a line.
        paper: its source.
        depends_on: as that of a `Sampler`.
    """

    name: ClassVar[str]
    title: ClassVar[str] = ""
    direction: ClassVar[Literal["lower", "higher"]] = "lower"
    extrapolates: ClassVar[bool] = False
    on_features: ClassVar[bool] = False
    needs_classes: ClassVar[bool] = False
    needs_directions: ClassVar[bool] = False
    needs_text: ClassVar[bool] = False
    needs_images: ClassVar[bool] = False
    about: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    depends_on: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" in vars(cls) and "title" not in vars(cls):
            cls.title = cls.name

    @abstractmethod
    def measure(self, drawn: Drawn) -> Measured:
        """The metric of one cell. Raises Unmeasurable where it does not apply."""
