"""When a worker may claim what others hold: not after a gap, and never later than its deadline."""

from __future__ import annotations

import pytest

from streamtask.broker.keys import queue_keys
from streamtask.worker import contact as module
from streamtask.worker.clock import RedisClock
from streamtask.worker.contact import Contact
from streamtask.worker.delivery import QueueState


class Clock:
    """A monotonic clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now

    def time(self) -> float:
        """Seconds since the epoch, as far off as may be."""
        return 5_000_000 + self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr("streamtask.worker.clock.time", clock)
    return clock


def contact_of(*leases: float) -> Contact:
    """A contact for queues with these leases."""
    queues = [QueueState(str(n), queue_keys("ns", str(n)), ("coroutine",), lease) for n, lease in enumerate(leases)]
    return Contact(queues, RedisClock())


def holiday(contact: Contact, clock: Clock) -> float:
    """Seconds until claims are allowed again."""
    return max(0.0, contact.claims_from - clock.now)


def test_steady_contact_needs_no_holiday(clock: Clock) -> None:
    contact = contact_of(15.0)
    for _ in range(20):
        clock.now += 7.0
        contact.heard(clock.now - 0.1)
    assert holiday(contact, clock) == 0


def test_a_gap_of_half_a_lease_is_followed_by_a_holiday(clock: Clock) -> None:
    """What a healthy worker holds is idle for half a lease at most: so long may Redis stand still without harm."""
    contact = contact_of(15.0)
    clock.now += 7.6
    contact.heard(clock.now)
    assert holiday(contact, clock) == 10.0
    clock.now += 5.0
    contact.heard(clock.now)
    assert holiday(contact, clock) == 5.0


def test_the_gap_counts_from_when_the_answered_command_was_sent(clock: Clock) -> None:
    """An answer that lay about says nothing of the time since."""
    contact = contact_of(15.0)
    clock.now += 5.0
    contact.heard(clock.now - 4.0)
    clock.now += 4.0
    contact.heard(clock.now)
    assert holiday(contact, clock) == 10.0


def test_the_shortest_lease_makes_a_gap_and_the_longest_a_holiday(clock: Clock) -> None:
    contact = contact_of(1.0, 60.0)
    clock.now += 0.6
    contact.heard(clock.now)
    assert holiday(contact, clock) == pytest.approx(25.0)


@pytest.mark.parametrize(("lease", "rest"), [(0.6, 0.45), (15.0, 1.25)])
def test_a_worker_that_starts_claims_nothing_until_others_have_renewed(clock: Clock, lease: float, rest: float) -> None:
    contact = contact_of(lease)
    contact.rest()
    assert holiday(contact, clock) == pytest.approx(rest)


def test_an_answer_that_comes_late_is_followed_by_a_rest(clock: Clock) -> None:
    """Redis stood still, and may have done so just before, too: together perhaps for longer than a lease."""
    contact = contact_of(15.0)
    clock.now += 3.0
    contact.heard(clock.now - 0.9)
    assert holiday(contact, clock) == 0
    contact.heard(clock.now - 1.1)
    assert holiday(contact, clock) == 1.25


def test_a_claim_holds_for_less_than_half_a_lease_since_redis_was_heard(clock: Clock) -> None:
    queues = [QueueState("q", queue_keys("ns", "q"), ("coroutine",), 10.0)]
    redis = RedisClock()
    contact = Contact(queues, redis)
    redis.saw(70_000_000)
    assert contact.deadline() == 70_004_000
    clock.now += 3.0
    assert contact.deadline() == 70_004_000
    contact.heard(clock.now - 1.0)
    assert contact.deadline() == 70_006_000
