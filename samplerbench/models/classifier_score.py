"""σ ∇ log p(c|x_t), by a classifier of noisy samples: what classifier guidance takes from ε."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..diffusion.denoiser import Time
from ..errors import UserError
from .classifier import Classifier
from .predictor import ModelEpsilon

__all__ = ["ClassifierScore"]


class ClassifierScore:
    """A function of (x, t) like an ε, with a row of x a sample. In variance-preserving coordinates, as x is; the
    classifier is given what the model's network is given for x and t, in float32 or better.

    labels: the class of each sample; one that is None, or -1, is not guided. Raises UserError for a class that the
    classifier does not know.
    """

    def __init__(self, classifier: Classifier, epsilon: ModelEpsilon, labels: Sequence[int | None] | Tensor) -> None:
        self._classifier, self._epsilon = classifier, epsilon
        if isinstance(labels, Tensor):
            self._labels = labels
            return
        known = [-1 if label is None else label for label in labels]
        self._labels = torch.tensor(known)
        if (most := max(known, default=0)) >= classifier.classes:
            raise UserError(f"class {most} is asked for, and the classifier knows 0 to {classifier.classes - 1}")

    def __call__(self, x: Tensor, t: Time) -> Tensor:
        gradient, sigma, _ = self._gradient(x, t)
        return sigma * gradient

    def x0(self, x: Tensor, t: Time) -> Tensor:
        """The same in terms of x_0, [B, ...]."""
        gradient, sigma, alpha = self._gradient(x, t)
        return -(sigma**2) / alpha * gradient

    def relabelled(self, rule: Callable[[Any], Any]) -> ClassifierScore:
        """With the label of another time."""
        return ClassifierScore(self._classifier, self._epsilon.relabelled(rule), self._labels)

    def of_rows(self, rows: Tensor) -> ClassifierScore:
        """Of some of the samples."""
        return ClassifierScore(self._classifier, self._epsilon, self._labels[rows.to(self._labels.device)])

    def _gradient(self, x: Tensor, t: Time) -> tuple[Tensor, Any, Any]:
        """∇ log p(c|x_t) [B, ...], σ and α."""
        if len(self._labels) != len(x):
            raise ValueError(f"classes of {len(self._labels)} samples are known, and {len(x)} are given")
        label, at = self._epsilon.level(x, t)
        told = label if isinstance(label, Tensor) else torch.full((len(x),), label, device=x.device)
        self._labels = classes = self._labels.to(x.device)  # once
        with torch.enable_grad():
            point = x.detach().requires_grad_(True)
            logits = self._classifier.network(self._epsilon.predictor.preconditioning.given(point, at), told.float())
            if logits.shape != (len(x), self._classifier.classes):
                want = [len(x), self._classifier.classes]
                raise UserError(f"the classifier gives {list(logits.shape)}, expected logits of shape {want}")
            chosen = logits.log_softmax(dim=1).gather(1, classes.clamp(min=0)[:, None])[:, 0]
            (gradient,) = torch.autograd.grad(torch.where(classes >= 0, chosen, 0).sum(), point)
        return gradient, at.sigma, at.alpha
