"""What a model is asked for: a prompt or a class, one line of text a sample.

Sample i is asked for line i mod n of a list, whatever the seed, so two samplers draw sample i from the same noise and
for the same line. A list that goes through the classes in turn asks for each equally often.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..files import content_key
from .words import WORD

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .text import Text

__all__ = ["Asked", "Classes", "Conditioner", "Words", "read_lines", "read_prompts"]

MOST = 10**6  # lines


@dataclass(frozen=True)
class Asked:
    """The lines that samples are asked for in turn; none of a model that is asked for nothing."""

    lines: tuple[str, ...] = ()

    def of(self, indices: Sequence[int]) -> list[str]:
        """What these samples are asked for."""
        return [self.lines[i % len(self.lines)] for i in indices]

    @cached_property
    def sha256(self) -> str:
        """Of the lines; empty where there are none."""
        return content_key(list(self.lines)) if self.lines else ""


class Conditioner(ABC):
    """How what is asked for becomes tensors for a network.

    Attributes:
        kind: what a line is: a `prompt` or a `class`.
        default: the lines of a run that names none; empty where it has to name some.
        nothing: what stands for no condition, which guidance needs; None where the network always needs one.
    """

    kind: str
    default: tuple[str, ...]
    nothing: str | None = None

    @abstractmethod
    def rows(self, asked: Sequence[str]) -> dict[str, Tensor]:
        """Arguments of the network by name, a row for each line. Raises UserError for what cannot be asked for."""

    @abstractmethod
    def check(self, lines: Sequence[str]) -> None:
        """Raises UserError for the first line that cannot be asked for."""

    def told(self, lines: Sequence[str]) -> str:
        """What a person should know before these lines are asked for, in a line; empty where there is nothing."""
        return ""

    @property
    def example(self) -> str:
        """Something that it can be asked for."""
        return self.default[0] if self.default else self.nothing or ""

    def label(self, asked: str) -> int | None:
        """The class that a line names; None where it names none."""
        return None

    def networks(self) -> dict[str, nn.Module]:
        """What it is computed with, by name."""
        return {}


class Words(Conditioner):
    """Prompts, through a text encoder of ours."""

    kind, nothing = "prompt", ""

    def __init__(self, text: Text, default: tuple[str, ...]) -> None:
        self.text, self.default = text, default

    def rows(self, asked: Sequence[str]) -> dict[str, Tensor]:
        return {"text": self.text.encode(asked)}

    def check(self, lines: Sequence[str]) -> None:
        self.text.vocabulary.tokens(lines)

    def label(self, asked: str) -> int | None:
        found = {self.text.classes[word] for word in WORD.findall(asked.lower()) if word in self.text.classes}
        return found.pop() if len(found) == 1 else None

    def networks(self) -> dict[str, nn.Module]:
        return {"text": self.text.network}


class Classes(Conditioner):
    """Classes 0 to count - 1, as their numbers or names. null: the number that stands for no class, where the network
    was trained with one. argument: of the network, None where only a classifier is told the class.
    """

    kind = "class"

    def __init__(
        self, count: int, null: int | None = None, names: Sequence[str] = (), argument: str | None = "labels"
    ) -> None:
        self.count, self.null, self.names, self.argument = count, null, tuple(names), argument
        self.default = tuple(map(str, range(count)))
        self.nothing = None if null is None else ""

    def rows(self, asked: Sequence[str]) -> dict[str, Tensor]:
        import torch

        if self.argument is None:
            self.check(asked)
            return {}
        return {self.argument: torch.tensor([self._number(line) for line in asked])}

    def check(self, lines: Sequence[str]) -> None:
        for line in dict.fromkeys(lines):
            self._number(line)

    def label(self, asked: str) -> int | None:
        return None if asked == "" else self._number(asked)

    def _number(self, line: str) -> int:
        if line == "" and self.null is not None:
            return self.null
        if line in self.names:
            return self.names.index(line)
        if line.isascii() and line.isdigit() and int(line) < self.count:
            return int(line)
        named = f" or one of {', '.join(self.names[:10])}" if self.names else ""
        raise UserError(f"class '{line[:40]}' is not among this model's: a number from 0 to {self.count - 1}{named}")


def read_prompts(path: Path) -> tuple[str, ...]:
    """Those of a file that the user names."""
    return read_lines(path, f"--prompts {path}")


def read_lines(path: Path, what: str) -> tuple[str, ...]:
    """The lines of a text file; empty ones are left out. `what` names it in errors. Raises UserError
    where there is none."""
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise UserError(f"{what} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UserError(f"{what} is not text in UTF-8; it has a prompt a line") from None
    if "\x00" in text:
        raise UserError(f"{what} is not text in UTF-8; it has a prompt a line")
    lines = tuple(" ".join(line.split()) for line in text.splitlines() if line.strip())
    if not lines:
        raise UserError(f"{what} is empty; it has a prompt a line")
    if len(lines) > MOST:
        raise UserError(f"{what} has {len(lines)} lines, at most {MOST} are taken")
    return lines
