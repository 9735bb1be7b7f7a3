"""The names of the feature extractors, apart from their code so that they can be listed without loading torch."""

from __future__ import annotations

__all__ = ["EXTRACTORS", "INCEPTION", "SHIPPED"]

SHIPPED = "fashion-mnist-cnn"
INCEPTION = "inception-v3-compat"
EXTRACTORS = {
    SHIPPED: "128 features of a small classifier of Fashion-MNIST; 28×28 grey images; weights in the package",
    INCEPTION: "2,048 pool features of the FID Inception network (2015-12-05) in torch-fidelity; RGB images; "
    "weights downloaded by it",
}
