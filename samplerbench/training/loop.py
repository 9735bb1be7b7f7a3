"""The training loop: optimiser, average of the weights, checkpoints, and a loss file. What is learned is the caller's
loss.

Everything random in step k is drawn from a generator seeded with (seed, k), so a run that was killed and goes on from
its checkpoint takes the same steps as one that was not.
"""

from __future__ import annotations

import copy
import csv
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import UserError
from .parts import OptimiserConfig

__all__ = ["Trainer", "generator"]

# the layers next to images and latents, which Muon leaves to Adam
ENDS = (
    "stem", "head", "unet.conv_in", "unet.conv_out", "encoder.stem", "encoder.head", "decoder.stem", "decoder.head",
    "network.stem", "network.head", "network.unet.conv_in", "network.unet.conv_out", "text.words", "text.positions",
)  # fmt: skip


def generator(seed: int, step: int, device: torch.device | str = "cpu") -> torch.Generator:
    """The source of everything random in one training step."""
    return torch.Generator(device=device).manual_seed(seed * 1_000_003 + step)


class Trainer:
    """Minimises `loss(step)` over the parameters of `network`.

    network: in training mode; `ema` holds the moving average of its weights.
    loss: step -> scalar tensor; where it is made of `parts`, which loss.csv has columns for, the values of those too.
    out: folder of `checkpoint.safetensors` and `loss.csv`; a checkpoint found there is gone on from.
    identity: what decides the weights, plain values by name; a checkpoint with other ones is refused.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Callable[[int], Tensor | tuple[Tensor, tuple[float, ...]]],
        config: OptimiserConfig,
        out: Path,
        identity: Mapping[str, Any],
        parts: tuple[str, ...] = (),
    ) -> None:
        self.network, self.loss, self.config, self.out, self.identity = network, loss, config, out, dict(identity)
        self.parts = parts
        self.ema = copy.deepcopy(network).eval().requires_grad_(False)
        self.step, self.seconds = 0, 0.0
        self._views: list[tuple[Tensor, nn.Parameter]] = []
        self._optimisers = self._make_optimisers()
        self._rates = [[group["lr"] for group in optimiser.param_groups] for optimiser in self._optimisers]

    def _make_optimisers(self) -> list[torch.optim.Optimizer]:
        config, adam = self.config, list(self.network.parameters())
        optimisers: list[torch.optim.Optimizer] = []
        if config.optimiser == "muon":
            hidden = [p for name, p in self.network.named_parameters() if p.ndim >= 2 and not name.startswith(ENDS)]
            adam = [p for p in adam if all(p is not q for q in hidden)]
            self._views = [(p, nn.Parameter(_as_matrix(p.detach()))) for p in hidden]
            if any(view.data_ptr() != p.data_ptr() for p, view in self._views):
                raise ValueError("muon needs the network in channels_last memory format")
            optimisers.append(
                torch.optim.Muon(
                    [view for _, view in self._views],
                    lr=config.muon_learning_rate,
                    weight_decay=config.weight_decay,
                    adjust_lr_fn="match_rms_adamw",
                )
            )
        return [
            *optimisers,
            torch.optim.AdamW(
                adam, lr=config.learning_rate, betas=(0.9, config.beta2), weight_decay=config.weight_decay
            ),
        ]

    def run(
        self, report: Callable[[int, float], None] = lambda step, loss: None, checkpoint_every: float = 60.0
    ) -> None:
        """Trains to the recipe's last step. `report(step, loss)` is called after each; a checkpoint is written every so
        many seconds.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        self._resume()
        started = last_saved = time.monotonic()
        before = self.seconds
        recent: list[tuple[float, ...]] = []
        rows: list[list[object]] = []
        while self.step < self.config.total:
            values = self._one_step()
            recent.append(values)
            self.seconds = before + time.monotonic() - started
            if self.step % 50 == 0 or self.step == self.config.total:
                means = [f"{sum(column) / len(recent):.8f}" for column in zip(*recent, strict=True)]
                rows.append([self.step, *means, f"{self.config.rate(self.step - 1):.6f}", f"{self.seconds:.1f}"])
                recent = []
            report(self.step, values[0])
            due = time.monotonic() - last_saved > checkpoint_every and not recent
            if due or self.step == self.config.total:
                self._save(rows)
                rows, last_saved = [], time.monotonic()

    def _one_step(self) -> tuple[float, ...]:
        """The loss, and its parts."""
        config, rate = self.config, self.config.rate(self.step)
        for optimiser, rates in zip(self._optimisers, self._rates, strict=True):
            for group, full in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = full * rate
        self.network.zero_grad(set_to_none=True)
        found = self.loss(self.step)
        loss, parts = found if isinstance(found, tuple) else (found, ())
        value = float(loss.detach())
        if value != value or value in (float("inf"), float("-inf")):
            if self.step == 0:
                raise UserError(
                    f"the loss is {value} at the first step, before any weight moved; it is the recipe's schedule, "
                    "network or precision, not the learning rate"
                )
            raise UserError(f"the loss became {value} at step {self.step + 1}; lower the learning rate")
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        for parameter, view in self._views:
            view.grad = None if parameter.grad is None else _as_matrix(parameter.grad)
        for optimiser in self._optimisers:
            optimiser.step()
        self.step += 1
        decay = min(config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            averages: list[Tensor] = [*self.ema.parameters()]
            current: list[Tensor] = [*self.network.parameters()]
            torch._foreach_lerp_(averages, current, 1 - decay)
            for average, buffer in zip(self.ema.buffers(), self.network.buffers(), strict=True):
                average.copy_(buffer)
        return value, *parts

    def _save(self, rows: list[list[object]]) -> None:
        tensors: dict[str, Tensor] = {}
        for prefix, module in (("network", self.network), ("ema", self.ema)):
            tensors |= {f"{prefix}/{name}": value.contiguous() for name, value in module.state_dict().items()}
        for i, optimiser in enumerate(self._optimisers):
            for j, state in optimiser.state_dict()["state"].items():
                tensors |= {f"optimiser/{i}/{j}/{name}": value.contiguous() for name, value in state.items()}
        part = self.out / "checkpoint.safetensors.part"
        metadata = {"step": self.step, "seconds": self.seconds, "recipe": self.identity}
        save_file(
            {name: value.clone() for name, value in tensors.items()}, part, metadata={"json": json.dumps(metadata)}
        )
        _append(self.out / "loss.csv", ["step", "loss", *self.parts, "rate", "seconds"], rows)
        part.replace(self.out / "checkpoint.safetensors")

    def _resume(self) -> None:
        path = self.out / "checkpoint.safetensors"
        if not path.exists():
            (self.out / "loss.csv").unlink(missing_ok=True)
            return
        with safe_open(path, framework="pt") as file:
            metadata = json.loads(file.metadata()["json"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if differing := _differing(metadata["recipe"], self.identity):
            raise UserError(
                f"{path} belongs to another recipe: {differing}; name another --out, or remove it to start again"
            )
        for prefix, module in (("network", self.network), ("ema", self.ema)):
            module.load_state_dict(
                {name.split("/", 1)[1]: value for name, value in tensors.items() if name.startswith(f"{prefix}/")}
            )
        for i, optimiser in enumerate(self._optimisers):
            states: dict[int, dict[str, Tensor]] = {}
            for name, value in tensors.items():
                if name.startswith(f"optimiser/{i}/"):
                    _, _, j, key = name.split("/")
                    states.setdefault(int(j), {})[key] = value
            optimiser.load_state_dict({"state": states, "param_groups": optimiser.state_dict()["param_groups"]})
        self.step, self.seconds = metadata["step"], metadata["seconds"]
        _drop_rows_after(self.out / "loss.csv", self.step)


def _differing(there: object, here: Mapping[str, Any]) -> str:
    """The keys in which a checkpoint's recipe is another, with both values; empty where there is none."""
    if not isinstance(there, dict):
        return "an older samplerbench wrote it, which did not say its recipe"
    names = [name for name in {**there, **here} if name not in there or name not in here or there[name] != here[name]]
    return ", ".join(f"{name} is {_value(there, name)} there and {_value(here, name)} here" for name in names)


def _value(said: Mapping[str, Any], name: str) -> str:
    if name not in said:
        return "not set"
    text = json.dumps(said[name], ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:36]} …"


def _as_matrix(weight: Tensor) -> Tensor:
    """A filter bank [O, I, H, W] as the matrix [O, H·W·I], a view where the memory is channels-last; matrices as they
    are.
    """
    return weight.permute(0, 2, 3, 1).flatten(1) if weight.ndim == 4 else weight


def _append(path: Path, header: list[str], rows: list[list[object]]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(header)
        writer.writerows(rows)


def _drop_rows_after(path: Path, step: int) -> None:
    """Removes what was logged after the checkpoint: those steps are taken again."""
    if path.exists():
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[:1] + [line for line in lines[1:] if int(line.split(",")[0]) <= step]))
