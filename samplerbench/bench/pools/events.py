"""What workers say."""

from __future__ import annotations

from dataclasses import dataclass

from ..maker import Failure, Filmed, Made

__all__ = ["Advanced", "Died", "Event", "Finished", "Found", "Noticed", "Ready", "Refused", "Unfit"]


@dataclass(frozen=True)
class Event:
    """What a worker says. place: its number."""

    place: int


@dataclass(frozen=True)
class Ready(Event):
    """It has loaded what it needs. about: its device, by name."""

    about: str


@dataclass(frozen=True)
class Unfit(Event):
    """It cannot work, and no other in its place could. reason: in a line."""

    reason: str


@dataclass(frozen=True)
class Refused(Event):
    """It cannot do the task that it is at, nor others of that cell; one elsewhere may. reason: in a line."""

    reason: str


@dataclass(frozen=True)
class Advanced(Event):
    """So many more samples of the task that it is at were drawn."""

    samples: int


@dataclass(frozen=True)
class Found(Event):
    """So many samples of the task that it is at were there already."""

    samples: int


@dataclass(frozen=True)
class Finished(Event):
    """The task that it was at, or why there is nothing of it."""

    outcome: Made | Filmed | Failure


@dataclass(frozen=True)
class Noticed(Event):
    """A line that the user should know."""

    text: str


@dataclass(frozen=True)
class Died(Event):
    """It is gone, with what it had in hand. reason: in a line."""

    reason: str
