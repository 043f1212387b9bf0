"""decide() on a message that this worker cannot run: it waits for one that can, but not for ever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtask.message import MAX_MS, Message
from streamtask.policy import (
    PARK,
    Again,
    Bury,
    Failure,
    Misfit,
    Raised,
    decide,
)
from tests.unit.policy_facts import NOW, some_facts

MISFIT = Misfit("unknown_task", Failure("UnknownTask", "new.f"))


def test_an_unknown_task_is_parked_until_its_grace_is_over() -> None:
    """A rolling deploy makes no dead letters: each old worker parks it, until one knows it or the grace is over."""
    message, now, parked = Message("1f", "new.f"), NOW, 0
    while isinstance(verdict := decide(some_facts(message, now=now), MISFIT), Again):
        assert verdict.kind == "park"
        assert 0 < verdict.delay <= PARK
        assert verdict.message.meta["first_seen"] == NOW
        message, now, parked = verdict.message, now + int(verdict.delay * 1000), parked + 1
        assert now <= NOW + 600_000
    assert verdict == Bury("unknown_task", MISFIT.failure)
    assert (now, parked) == (NOW + 600_000, 600 / PARK)


def test_no_grace_buries_at_once_and_arguments_have_the_same_grace() -> None:
    assert decide(some_facts(unknown_grace=0.0), MISFIT) == Bury("unknown_task", MISFIT.failure)
    assert isinstance(decide(some_facts(), Misfit("arguments", MISFIT.failure)), Again)


def test_what_no_worker_will_ever_do_is_buried_at_once() -> None:
    assert decide(some_facts(), Misfit("result", MISFIT.failure)) == Bury("result", MISFIT.failure)
    assert decide(some_facts(None), Misfit("decode", MISFIT.failure)) == Bury("decode", MISFIT.failure)


@given(st.integers(0, MAX_MS))
def test_no_first_seen_keeps_a_message_for_ever(first_seen: int) -> None:
    """It may come from a clock that was ahead, or from a stranger."""
    message, now = Message("1f", "new.f", meta={"first_seen": first_seen}), NOW
    for _ in range(int(600 / PARK) + 1):
        verdict = decide(some_facts(message, now=now), MISFIT)
        if isinstance(verdict, Bury):
            return
        assert isinstance(verdict, Again)
        message, now = verdict.message, now + int(verdict.delay * 1000)
    pytest.fail("still parked")


def test_a_message_that_ran_has_its_whole_grace_again() -> None:
    seen = Message("1f", "t", meta={"first_seen": NOW - 10**9})
    verdict = decide(some_facts(seen), Raised(OSError()))
    assert isinstance(verdict, Again)
    assert "first_seen" not in verdict.message.meta
    assert isinstance(decide(some_facts(verdict.message), MISFIT), Again)
