"""How much of a topic is kept, and what happens when a group does not keep up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from streamtask.checks import count

#: Entries of a topic that are kept for late groups, and those at which it is full (mq-hub's numbers, docs/reference).
MAX_LENGTH, HARD_MAX_LENGTH = 10_000, 50_000
Overflow = Literal["refuse", "drop"]


@dataclass(frozen=True, slots=True)
class TopicLimits:
    """Limits of a topic, in entries; 0 means none.

    Beyond `max_length` entries go that every group has done with, and no others. At `hard_max_length` some group does
    not keep up: "refuse" makes publishing fail with QueueFull, "drop" gives up the oldest entries and counts what each
    group lost.
    """

    max_length: int = MAX_LENGTH
    hard_max_length: int = HARD_MAX_LENGTH
    overflow: Overflow = "refuse"

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that cannot hold together."""
        for name in ("max_length", "hard_max_length"):
            try:
                count(0)(getattr(self, name))
            except ValueError as error:
                raise ValueError(f"a topic, {name}: {error}") from None
        if self.overflow not in ("refuse", "drop"):
            raise ValueError(f"a topic, overflow: {self.overflow!r} is neither 'refuse' nor 'drop'")
        if 0 < self.hard_max_length < self.max_length:
            raise ValueError(
                f"a topic, hard_max_length: {self.hard_max_length} is less than max_length={self.max_length}; the hard "
                f"limit is for what groups have not done with, on top of what is kept"
            )
