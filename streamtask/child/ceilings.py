"""What a child process may keep in memory between two calls. It looks at itself, and says so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from streamtask.memory import KNOWS_OTHERS
from streamtask.options import TaskOptions


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What a child may keep between two calls, in bytes: less than `max_rss`; and less than half of the room that the
    `tightest` of the tasks' limits leaves to a fresh one, so that what one call left behind does not fail the next.
    """

    max_rss: int | None = None
    tightest: int | None = None

    @classmethod
    def of(cls, max_rss: int | None, tasks: Iterable[TaskOptions]) -> Self:
        """Those of a worker and its tasks."""
        limits = [task.max_memory for task in tasks if task.process and task.max_memory is not None and KNOWS_OTHERS]
        return cls(max_rss, min(limits, default=None))

    @property
    def given(self) -> bool:
        """Is there one at all?"""
        return self.max_rss is not None or self.tightest is not None

    def reached(self, held: int, fresh: int) -> bool:
        """Is one that held `fresh` at its start to be replaced? Not where a fresh one would be, for ever."""
        half = None if self.tightest is None else fresh + (self.tightest - fresh) // 2
        return any(ceiling is not None and fresh < ceiling <= held for ceiling in (self.max_rss, half))


NO_CEILINGS = Ceilings()
