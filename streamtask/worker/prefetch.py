"""How much to read ahead, measured in time: at most `window` seconds of work at the current rate.

Short tasks stream in hundreds, and a worker with long tasks hoards none. The rate is what completed in the last second.
"""

from __future__ import annotations

from collections import deque

from streamtask.task import Kind

#: Parts into which the last second is cut.
PARTS = 4


class Prefetch:
    """Counts completions a kind of slot; `beat()` is called every 1/PARTS s."""

    def __init__(self, window: float) -> None:
        self.window = window
        self._done: dict[Kind, int] = {}
        self._before = 0
        self._past: dict[Kind, deque[int]] = {}
        self._held: set[Kind] = set()

    def completed(self, kind: Kind) -> None:
        """A slot has turned over."""
        self._done[kind] = self._done.get(kind, 0) + 1
        if self._held:
            self._held.discard(kind)

    def beat(self) -> None:
        """A part of a second is over."""
        for kind, count in self._done.items():
            self._past.setdefault(kind, deque(maxlen=PARTS)).append(count)
            self._before += count
            self._done[kind] = 0

    @property
    def ended(self) -> int:
        """Completions of all kinds since the beginning."""
        return self._before + sum(self._done.values())

    def rate(self, kind: Kind) -> float:
        """Completions in the last second."""
        return sum(self._past.get(kind, ())) + self._done.get(kind, 0)

    def held_up(self, kind: Kind) -> None:
        """What was read ahead waited too long: read nothing ahead until a slot of this kind has turned over."""
        self._held.add(kind)

    def size(self, kind: Kind, slots: int) -> int:
        """Messages to hold ready beyond the slots."""
        if kind in self._held:
            return 0
        return int(min(self.rate(kind) * self.window, max(64, min(2 * slots, 512))))
