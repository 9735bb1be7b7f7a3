"""A function that makes the network: `package.module:factory` or `FILE.py:factory`, for what no file format says."""

from __future__ import annotations

import re
import traceback
from dataclasses import replace
from inspect import isfunction
from math import floor
from pathlib import Path

from ... import code
from ...diffusion.paths import schedule_from_config
from ...diffusion.schedule import NoiseSchedule
from ...errors import PluginError, UserError, contained, one_line, unknown
from ...importing import import_file, import_module, missing_module
from .format import Checkpoint, ModelFormat

__all__ = ["Factory"]

SPEC = re.compile(r"(?P<module>[A-Za-z_][\w.]*|.+\.py):(?P<name>[A-Za-z_]\w*)")


class Factory(ModelFormat):
    """A function without arguments that returns a `Checkpoint`. Its code, and all that it imports, is in the hash."""

    name = "factory"
    about = "package.module:factory or FILE.py:factory, a function that returns a samplerbench.Checkpoint"

    def recognises(self, spec: str) -> bool:
        return SPEC.fullmatch(spec) is not None and not spec.startswith("hf:")

    def load(self, spec: str) -> Checkpoint:
        match = SPEC.fullmatch(spec)
        assert match is not None
        where, name = match["module"], match["name"]
        module = import_file(Path(where), "--model") if where.endswith(".py") else import_module(where, "--model")
        factory = getattr(module, name, None)
        if not callable(factory):
            known = [n for n, one in vars(module).items() if isfunction(one) and one.__module__ == module.__name__]
            raise unknown(f"function of {where}", name, known)
        try:
            with contained(name):
                said = factory()
        except UserError:
            raise
        except Exception as error:
            if missing := missing_module(error, Path(str(module.__file__))):
                raise PluginError(f"model '{spec}': {missing}") from None
            raise PluginError(f"model '{spec}': {one_line(error)}", traceback.format_exc()) from None
        if not isinstance(said, Checkpoint):
            raise UserError(
                f"model '{spec}': {name}() returns {type(said).__name__}, expected a samplerbench.Checkpoint"
            )
        path = said.schedule if isinstance(said.schedule, NoiseSchedule) else schedule_from_config(dict(said.schedule))
        if problem := said.preconditioning.problem(path):  # with a wrong label the output may not be finite
            raise UserError(f"model '{spec}': {problem}")
        _check_output(spec, said, path)
        folder = Path(str(module.__file__)).parent
        files = tuple((folder / file).resolve() for file in said.files)
        for file in files:
            if not file.is_file():
                raise UserError(f"model '{spec}': its files name {file}, which is not there")
        reference = None if said.reference is None else (folder / said.reference).resolve()
        if reference is not None and not reference.is_file():
            raise UserError(f"model '{spec}': its reference is {reference}, which is not there")
        own = frozenset({module.__name__.partition(".")[0]})
        if not any(file.suffix == ".py" for file in files):
            for place in code.unheld(module.__name__, own=own):
                raise PluginError(
                    f"model '{spec}': {place} runs code that its hash would not hold; import it, or name its file in "
                    "the Checkpoint's files"
                )
        return replace(
            said,
            files=files,
            reference=reference,
            code={**code.code_of(module.__name__, own=own), "function": name},
        )


def _check_output(spec: str, said: Checkpoint, path: NoiseSchedule) -> None:
    """Raises UserError where the network does not give what it must, asked once: one sample of standard normal noise,
    and what it is given for a time in the middle of the path, and for something that it can be asked for.
    """
    import torch

    time = (path.t_min + path.t_max) / 2
    label = torch.tensor([float(said.preconditioning.label(path, floor(time) if path.discrete else time))])
    x = torch.randn(1, *said.sample_shape, generator=torch.Generator().manual_seed(0))
    try:
        with contained("the network"), torch.no_grad():
            asked = said.conditioner.rows([said.conditioner.example]) if said.conditioner else {}
            output = said.network.eval()(x, label, **asked)
    except Exception as error:
        raise PluginError(
            f"model '{spec}': network(x {list(x.shape)}, label [1]) fails: {one_line(error)}", traceback.format_exc()
        ) from None
    expected = [1, said.sample_shape[0] * (2 if said.learned_range else 1), *said.sample_shape[1:]]
    got = list(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    if got != expected:
        raise UserError(f"model '{spec}': its network gives {got} for x {list(x.shape)}, expected {expected}")
    if not torch.isfinite(output).all():
        raise UserError(
            f"model '{spec}': its network gives values that are not finite for standard normal x and label "
            f"{label.item():g}"
        )
