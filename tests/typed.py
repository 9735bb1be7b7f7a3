"""What mypy has to say of calls that are wrong. `make lint` reads this file, and a `type: ignore` without an error
is an error there; nothing here is run.
"""

import samplerbench


def wrong() -> None:
    """A typo, and values of other types."""
    samplerbench.run("ddim", sampels=3)  # type: ignore[arg-type]
    samplerbench.run("ddim", samples="3")  # type: ignore[arg-type]
    samplerbench.run(3)  # type: ignore[arg-type]
    samplerbench.sample("ddim", "fashion-mnist", nfe=5, sample=3)  # type: ignore[call-arg]


def right() -> None:
    """The same, as they are meant."""
    samplerbench.run("ddim", samples=3, nfe=5)
    samplerbench.run(["ddim", "dpm"], nfe=[5, 10], model=samplerbench.load_model("fashion-mnist"))
    samplerbench.sample("ddim", "fashion-mnist", nfe=5, samples=3)
