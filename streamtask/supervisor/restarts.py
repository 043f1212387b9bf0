"""When a process that has ended is started again, and what its end means for the whole. Pure."""

from __future__ import annotations

import signal
from collections.abc import Iterable

#: Exit codes (docs/reference/cli.md).
OK, FAILED, USAGE, NO_REDIS, NO_APP, GAVE_BACK, HUNG, FORCED = 0, 1, 2, 3, 4, 5, 70, 130
#: Seconds before a process is started again: after its first death at once, then longer and longer, then the last of
#: these. That is eight starts in the first minute of a crash loop, and four in each later one.
PAUSES = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0)
#: Seconds after which a process that served is not taken for a part of a crash loop.
STEADY = 60.0
#: Ends in order: nothing that was read is left behind unseen.
IN_ORDER = (OK, GAVE_BACK, FORCED)
#: From the worst to the best, as the exit code of the whole.
_WORST = (FORCED, HUNG, USAGE, NO_APP, FAILED, NO_REDIS, GAVE_BACK, OK)


class Restarts:
    """The deaths in a row of one place among the processes."""

    def __init__(self) -> None:
        self._deaths = 0

    def pause(self, served: float) -> float:
        """Seconds to wait before the next start; `served`: for how many seconds the one that died took messages."""
        if served >= STEADY:
            self._deaths = 0
        pause = PAUSES[min(self._deaths, len(PAUSES) - 1)]
        self._deaths += 1
        return pause


def ends_all(code: int, any_was_ready: bool) -> bool:
    """Does this exit code of one process end all of them, because another start would end the same way?

    A wrong flag and an app that cannot be imported get better by a change only. Any other refusal (Redis is not
    there, or evicts keys) ends all while nothing has worked yet, as it would end a worker without a parent; later it is
    a passing state.
    """
    return code in (USAGE, NO_APP) or (code in (FAILED, NO_REDIS) and not any_was_ready)


def worst(codes: Iterable[int]) -> int:
    """The exit code of the whole. A crash at a stop counts as tasks that were given back: so they are."""
    known = [code if code in _WORST else GAVE_BACK for code in codes]
    return min(known, key=_WORST.index, default=OK)


def how_it_ended(code: int) -> str:
    """An exit code in words; negative for a signal."""
    if code >= 0:
        return f"exit code {code}"
    known = {number.value: number.name for number in signal.Signals}
    return known.get(-code, f"signal {-code}")
