"""The ε that a sampler is given: of a model, of what is asked of it, and of guidance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..diffusion.denoiser import Epsilon
from ..diffusion.guidance import ClassifierFree, Guided, Guider
from ..errors import UserError
from .classifier import Classifier
from .classifier_score import ClassifierScore
from .condition import Asked
from .model import Model

__all__ = ["Guide", "asked_of", "guided_epsilon"]


@dataclass(frozen=True, eq=False)
class Guide:
    """A guider, and the second model, or the classifier, that it names."""

    guider: Guider
    second: Model | None = None
    classifier: Classifier | None = None

    def check(self, model: Model) -> None:
        """Raises UserError where it cannot guide this model."""
        spec = self.guider.spec()
        self.guider.check(model.schedule)
        if self.guider.idle:
            return
        negative = _negative(self.guider)
        if negative and model.conditioner is not None:
            model.conditioner.check([negative])
        elif self.guider.other == "nothing" and (model.conditioner is None or model.conditioner.nothing is None):
            why = "is asked for nothing" if model.conditioner is None else "has no null condition"
            raise UserError(f"guidance {spec}: model '{model.name}' {why}, so there is nothing to lean away from")
        if self.guider.other == "classifier":
            self._check_classifier(model, spec)
        if self.second is not None:
            for what in ("sample_shape", "image_shape"):
                one, other = getattr(model, what), getattr(self.second, what)
                if one != other:
                    raise UserError(
                        f"guidance {spec}: {what} of the second model is {list(other)}, the first has {list(one)}"
                    )
            if self.second.schedule.config() != model.schedule.config():
                raise UserError(f"guidance {spec}: the second model was trained on another path")
            if (self.second.conditioner is None) != (model.conditioner is None):
                raise UserError(f"guidance {spec}: of the two models only one is asked for something")

    def _check_classifier(self, model: Model, spec: str) -> None:
        known = self.classifier or model.checkpoint.classifier
        if known is None:
            raise UserError(
                f"guidance {spec}: model '{model.name}' has no classifier of noisy samples; name one with :model=FOLDER"
            )
        if model.conditioner is None:
            raise UserError(f"guidance {spec}: model '{model.name}' is asked for no class to lean towards")
        if known.shape != model.sample_shape:
            raise UserError(
                f"guidance {spec}: the classifier takes {list(known.shape)}, samples of the model are "
                f"{list(model.sample_shape)}"
            )


def asked_of(model: Model, lines: tuple[str, ...]) -> Asked:
    """What samples are asked for: these lines, or the model's own. Raises UserError for what it cannot be asked."""
    if model.conditioner is None:
        if lines:
            raise UserError(f"model '{model.name}' cannot be asked for anything; leave the prompts out")
        return Asked()
    if lines:
        model.conditioner.check(lines)
    elif not model.conditioner.default:
        raise UserError(
            f"model '{model.name}' has no prompts of its own; name them: --prompts FILE, or --prompt TEXT of `sample`"
        )
    return Asked(lines or model.conditioner.default)


def guided_epsilon(model: Model, dtype: str, asked: Sequence[str] = (), guide: Guide | None = None) -> Epsilon:
    """ε(x, t), where the models are. asked: what each sample is asked for; none of one that is asked for nothing."""
    epsilon = model.epsilon(dtype, asked)
    if guide is None or guide.guider.idle:
        return epsilon
    if guide.guider.other == "classifier":
        known = guide.classifier or model.checkpoint.classifier
        assert model.conditioner is not None
        assert known is not None
        leaning = ClassifierScore(known, epsilon, [model.conditioner.label(line) for line in asked])
        return Guided(guide.guider, model.schedule, epsilon, leaning)
    if guide.second is not None:
        return Guided(guide.guider, model.schedule, epsilon, guide.second.epsilon(dtype, asked))
    assert model.conditioner is not None
    line = _negative(guide.guider) or model.conditioner.nothing
    assert line is not None
    return Guided(guide.guider, model.schedule, epsilon, model.epsilon(dtype, [line] * len(asked)))


def _negative(guider: Guider) -> str:
    """What is asked for in the place of nothing; empty where that is nothing."""
    return guider.negative if isinstance(guider, ClassifierFree) else ""
