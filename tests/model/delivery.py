"""What a worker of the model has in its hands, and what it has under way to the server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .server import Entry
from .verdicts import Verdict


@dataclass(slots=True)
class Delivery:
    """As streamtask.worker.delivery.Delivery; `n` names it inside its worker. Times in ms of the worker's own clock."""

    n: int
    id: int
    entry: Entry
    count: int
    confirmed: int
    received: int
    state: str = "buffered"  # starting, running, settling
    marked: bool = False
    read: bool = False  # decoded
    stopped: str = ""  # outcome that a stopped attempt counts as
    given_back: bool = False
    uncertain: bool = False
    reserved: bool = False
    asked: bool = False  # waits for a renewal
    doubted: bool = False  # has ever waited for one
    tried: int | None = None  # when its release was first sent
    verdict: Verdict | None = None

    def copied(self) -> Delivery:
        """Another object with the same content."""
        new = object.__new__(Delivery)
        for name in Delivery.__slots__:
            setattr(new, name, getattr(self, name))
        return new


@dataclass(slots=True)
class Flight:
    """One request on one connection: `calls` still to be carried out, `replies` so far, `what` each was about."""

    kind: str
    sent: int
    calls: tuple[Any, ...]
    what: Any = None
    replies: tuple[Any, ...] = ()

    @property
    def replied(self) -> bool:
        """Has the server carried out all of it?"""
        return len(self.replies) == len(self.calls)

    def copied(self) -> Flight:
        """Another object with the same content."""
        return Flight(self.kind, self.sent, self.calls, self.what, self.replies)
