"""The names of the feature extractors, apart from their code so that they can be listed without loading torch."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EXTRACTORS", "INCEPTION", "SHIPPED", "ExtractorInfo"]


@dataclass(frozen=True)
class ExtractorInfo:
    """layer: the network's layer that FID is measured in. logits: that of its classes. channels: of the images it
    takes.
    """

    layer: str
    logits: str
    channels: int
    about: str


SHIPPED = "fashion-mnist-cnn"
INCEPTION = "inception-v3-compat"
EXTRACTORS = {
    SHIPPED: ExtractorInfo(
        "features",
        "logits",
        1,
        "224 features of a small classifier of Fashion-MNIST; 28×28 grey images; weights in the package",
    ),
    INCEPTION: ExtractorInfo(
        "2048",
        "logits_unbiased",
        3,
        "2,048 pool features of the FID Inception network (2015-12-05) in torch-fidelity; RGB images; "
        "weights downloaded by it",
    ),
}
