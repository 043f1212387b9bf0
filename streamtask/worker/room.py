"""Who is told when there is room, and whose turn it is to read.

A worker has one reader a consumer group, and all share its slots. With more room than readers nobody minds. With less,
a reader that has waited longest comes first: else one busy queue would keep the others out for ever.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from streamtask.task import Kind

#: Seconds for which a reader whose turn it is may look for what it can use.
PATIENCE = 0.1


class Bells:
    """Set for everybody at once; each waits on a bell of its own, so that nobody takes another's away."""

    def __init__(self) -> None:
        self._bells: list[asyncio.Event] = []

    def bell(self) -> asyncio.Event:
        """One more."""
        bell = asyncio.Event()
        self._bells.append(bell)
        return bell

    def set(self) -> None:
        """Ring them all."""
        for bell in self._bells:
            bell.set()


class Slots(Protocol):
    """The executor, as far as readers ask it."""

    def demand(self, kinds: Iterable[Kind]) -> int:
        """How many more messages may be asked for, whose tasks use slots of these kinds."""
        ...


class Turns:
    """The readers of one worker. `ring()` tells all that there may be room."""

    def __init__(self, slots: Slots, ring: Callable[[], None]) -> None:
        self._slots, self._ring = slots, ring
        self._members: list[Turn] = []

    def join(self, kinds: Collection[Kind], end: Callable[[], None]) -> Turn:
        """One more reader, for these kinds of slots; `end()` ends its read that waits, if it has one."""
        turn = Turn(self, kinds, end, len(self._members))
        self._members.append(turn)
        for member in self._members:
            member.shared = len(self._members) > 1
        return turn

    def demand(self, mine: Turn, kinds: Collection[Kind]) -> int:
        """What a reader may ask for: not what others wait for that were served longer ago."""
        found = self._slots.demand(kinds)
        if found <= 0:
            return found
        return found - sum(other.comes_before(mine, kinds) for other in self._members)

    def room(self, kinds: Collection[Kind]) -> int:
        """What there is, whoever waits for it."""
        return self._slots.demand(kinds)

    def ring(self) -> None:
        """There may be room for somebody."""
        self._ring()

    def full(self, mine: Turn) -> None:
        """A reader has just taken something; reads of others that wait while there is no room are ended."""
        for other in self._members:
            if other is not mine and self._slots.demand(other.kinds) <= 0:
                other.end()


class Turn:
    """One reader's place among them."""

    def __init__(self, turns: Turns, kinds: Collection[Kind], end: Callable[[], None], number: int) -> None:
        self._turns, self.kinds, self.end, self._number = turns, frozenset(kinds), end, number
        self.shared = False  # are there other readers?
        self.hungry = False
        self._served_at = self._looks_since = 0.0

    def demand(self, kinds: Collection[Kind]) -> int:
        """How many messages it may ask for."""
        return self._turns.demand(self, kinds)

    def comes_before(self, other: Turn, kinds: Collection[Kind]) -> bool:
        """Does it wait for room of these kinds, and was it served longer ago?"""
        if self is other or not self.hungry or not self.kinds.intersection(kinds):
            return False
        return (self._served_at, self._number) < (other._served_at, other._number)

    def waits(self) -> None:
        """There was no room."""
        self.hungry = True

    @contextmanager
    def reading(self, found: bool, all_streams: bool) -> Iterator[None]:
        """Around what takes in what was read; see `has_read`."""
        room = self._turns.room(self.kinds)
        yield
        self.has_read(room, found, all_streams)

    def has_read(self, room_before: int, found: bool, all_streams: bool = True) -> None:
        """It has had its turn, unless all that it found were events that nobody handles here: these take no room, and
        for a moment it goes on; or unless it found nothing, and has not looked at `all_streams` of its own yet. What it
        did not take may serve the others.
        """
        now, was_hungry = time.monotonic(), self.hungry
        if self._turns.room(self.kinds) < room_before:
            self.hungry, self._served_at, self._looks_since = False, now, 0.0
            self._turns.full(self)
        elif was_hungry and (found or not all_streams) and now - (self._looks_since or now) < PATIENCE:
            self._looks_since = self._looks_since or now
        else:
            self.hungry, self._served_at, self._looks_since = False, now if found else self._served_at, 0.0
            if was_hungry:
                self._turns.ring()
