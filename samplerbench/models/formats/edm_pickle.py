"""EDM's and EDM2's network pickles, which are recognised and refused."""

from __future__ import annotations

from pathlib import Path

from ...errors import UserError
from .format import Checkpoint, ModelFormat

__all__ = ["EDMPickle"]


class EDMPickle(ModelFormat):
    """A `.pkl` carries the source code of its network, which runs when it is loaded."""

    name = "edm-pickle"
    about = "EDM's and EDM2's pickles (.pkl): refused, as they run code when loaded; says how to convert them"

    def recognises(self, spec: str) -> bool:
        return Path(spec).suffix in (".pkl", ".pickle")

    def load(self, spec: str) -> Checkpoint:
        name = Path(spec).name
        if not Path(spec).is_file():
            raise UserError(f"model '{spec}': there is no file {spec}")
        raise UserError(
            f"model '{spec}': {name} is a pickle with its own source code, which would run when loaded, and is "
            "refused; where you trust it, take its weights out inside EDM's repository, "
            f"safetensors.torch.save_file(pickle.load(open('{name}', 'rb'))['ema'].state_dict(), "
            f"'{Path(spec).stem}.safetensors'), and load them into its network by a plugin of yours"
        )
