"""What user code raises to steer its own task: `Retry`, `Reject`, `Snooze`, and `BatchError` for some of a batch. They
become verdicts and are no errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from streamtask.duration import seconds


class Retry(Exception):
    """Raise in a task: again after `delay` seconds (or `at`); None takes the policy's wait. Counts as an attempt."""

    def __init__(
        self,
        delay: float | timedelta | None = None,
        *,
        at: datetime | None = None,
        reason: str = "",
        counts: bool = True,
    ) -> None:
        super().__init__(reason or "retry asked for")
        self.delay, self.at, self.reason, self.counts = _when("Retry", delay, at), at, reason, counts


class Reject(Exception):
    """Raise in a task: it can never succeed. It becomes a dead letter; `bury=False` drops it instead."""

    def __init__(self, reason: str, *, bury: bool = True) -> None:
        super().__init__(reason)
        self.reason, self.bury = str(reason), bury


class Snooze(Exception):
    """Raise in a task: not now, again after `delay` seconds (or `at`). Neither an attempt nor an error."""

    def __init__(self, delay: float | timedelta | None = None, *, at: datetime | None = None, reason: str = "") -> None:
        super().__init__(reason or "snoozed")
        if delay is None and at is None:
            raise ValueError("Snooze needs a delay in seconds or at=<aware datetime>")
        self.delay, self.at, self.reason = _when("Snooze", delay, at), at, reason


class BatchError(Exception):
    """Raise in a batch function: the items at these places failed, each by its own error; all others are done.

    An item's error counts as if its own task had raised it, so Retry, Reject and Snooze work too. Raises TypeError for
    what is no mapping of places to exceptions.
    """

    def __init__(self, errors: Mapping[int, Exception]) -> None:
        given: list[tuple[object, object]] = list(errors.items())  # whatever the types promise
        for place, error in given:
            if not isinstance(place, int) or isinstance(place, bool) or place < 0 or not isinstance(error, Exception):
                raise TypeError(f"BatchError takes {{place: exception}}, not {place!r}: {error!r}")
        self.errors = dict(errors)
        super().__init__("; ".join(f"{place}: {error!r:.100}" for place, error in sorted(self.errors.items())[:10]))


def _when(who: str, delay: float | timedelta | None, at: datetime | None) -> float | None:
    if at is not None and at.utcoffset() is None:
        raise ValueError(f"{who}(at={at.isoformat()}) has no time zone; write datetime.now(UTC) + ...")
    return None if delay is None else seconds(delay)
