"""When Redis was last heard, and whether this worker may claim what others hold.

Idle times go on while Redis stands still or is away, so afterwards everybody's leases look run out although their
owners are well. A worker that has not heard Redis for half a lease claims nothing for a while (the claim holiday), and
a claim that was sent before the gap is carried out only until its deadline. A healthy worker renews what it holds
before it is idle for half a lease, so neither can take a healthy worker's tasks.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from streamtask.worker.clock import RedisClock
from streamtask.worker.delivery import QueueState

#: Seconds after which an answer came so late that Redis must have stood still.
LATE = 1.0
#: Part of a lease, since Redis was last heard, for which a claim holds.
HOLDS = 0.4


class Contact:
    """The lease thread and the fetcher say when they heard Redis; the fetcher asks. Times are monotonic seconds."""

    def __init__(self, queues: Sequence[QueueState], clock: RedisClock) -> None:
        self._queues, self._clock = queues, clock
        self._heard_at = time.monotonic()
        self._holiday_until = 0.0
        self.told_lost = False  # by one of the readers, for all of them
        self.agreed()

    def agreed(self) -> None:
        """The queues' leases were agreed on. The shortest is kept at hand, since each start of a task asks for it."""
        self.lease = min((queue.lease for queue in self._queues), default=0.0)  # what is safe for it is safe for all

    def heard(self, sent_at: float) -> None:
        """Redis has answered what was sent at `sent_at` and did not have to wait."""
        now = time.monotonic()
        if now - self._heard_at > self.lease / 2:
            self.holiday()  # first, so that no other thread sees the contact without the gap
        elif now - sent_at > LATE:
            self.rest()
        self._heard_at = max(self._heard_at, sent_at)

    def rest(self) -> None:
        """Claim nothing for a moment, in which others renew: they do within a second after Redis is back.

        After each standstill, however short, for there may have been another one just before, and together they may
        have been longer than a lease; and at a worker's start, which cannot know what was before.
        """
        self._until(min(1.0, self.lease / 3) + 0.25)

    def holiday(self) -> None:
        """Claim nothing for a while: after an outage the owners need time to come back and to renew."""
        lease = max((queue.lease for queue in self._queues), default=0.0)
        self._until(lease / 3 + min(5.0, lease / 3))

    def _until(self, rest: float) -> None:
        self._holiday_until = max(self._holiday_until, time.monotonic() + rest)

    @property
    def claims_from(self) -> float:
        """When the holiday is over; in the past when there is none."""
        return self._holiday_until

    def deadline(self) -> int:
        """Until when a claim that is sent now may be carried out, in ms of Redis time."""
        return self._clock.now() + int((self._heard_at + HOLDS * self.lease - time.monotonic()) * 1000)
