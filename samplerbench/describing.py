"""What a sampler's options may be and what they do, for people and for the shell. It is apart from what samples
depend on, so that no key of a result holds it.
"""

from __future__ import annotations

import re
from typing import Any, Literal, get_args, get_origin

from .diffusion.grid import FINALS
from .options import kinds_of, without_none
from .sampler import Sampler, options_of

__all__ = ["choices_of", "described"]

HEAD = re.compile(r"(?:(?<=^)|(?<=[.;:] ))(\w+(?:, \w+)*): ")


def choices_of(cls: type[Sampler]) -> dict[str, list[str]]:
    """The values that each option may have, as text, where they can be listed."""
    found = {"spacing": cls.spacings(), "final": list(FINALS)}
    for name, kind in kinds_of(cls).items():
        if listed := _listed(kind):
            found[name] = listed
    return found


def described(cls: type[Sampler]) -> dict[str, str]:
    """What each option does, as the docstrings of the class and those above it say it: 'name: text' or 'one, other:
    text', up to the next of that sort or the end of the paragraph.
    """
    names = {option.name for option in options_of(cls)}
    found: dict[str, str] = {}
    for each in cls.__mro__:
        if not issubclass(each, Sampler):
            continue
        for paragraph in re.split(r"\n\s*\n", each.__doc__ or ""):
            text = " ".join(paragraph.split())
            heads = [m for m in HEAD.finditer(text) if names.issuperset(m[1].split(", "))]
            ends = [*(m.start() for m in heads[1:]), len(text)]
            for head, end in zip(heads, ends, strict=False):
                for name in head[1].split(", "):
                    found.setdefault(name, text[head.end() : end].strip())
    return found


def _listed(kind: Any) -> list[str]:
    """The values of an option of that type, as text; none where they cannot be listed."""
    inner = without_none(kind)
    values = list(get_args(inner)) if get_origin(inner) is Literal else ["true", "false"] if inner is bool else []
    return [*values, "none"] if values and inner is not kind else values
