"""decide(), one outcome at a time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtask import Reject, Retry, RetryPolicy, Snooze, TaskOptions
from streamtask.envelope import EventMessage, EventMeta
from streamtask.message import Message
from streamtask.policy import (
    ERROR_TEXT,
    TRACEBACK_TEXT,
    Again,
    Bury,
    Died,
    Drop,
    Failure,
    Finish,
    Ignore,
    Late,
    Lost,
    OverMemory,
    Raised,
    Release,
    Returned,
    Stopped,
    Stray,
    TimedOut,
    decide,
    gone,
)
from streamtask.size import MIB
from tests.unit.policy_facts import NOW, Broken, Custom, some_facts


def test_what_returned_is_done_with_its_result() -> None:
    assert decide(some_facts(), Returned(b"42")) == Finish("done", b"42")
    assert decide(some_facts(), Returned()) == Finish("done", None)


def test_the_last_attempt_buries_with_the_last_error_and_its_traceback() -> None:
    error = OSError("disk full")
    verdict = decide(some_facts(Message("1f", "t", meta={"attempt": 3})), Raised(error))
    assert isinstance(verdict, Bury)
    assert (verdict.reason, verdict.failure.type, verdict.failure.message) == ("retries", "OSError", "disk full")
    assert "OSError: disk full" in verdict.failure.traceback


def test_no_retries_means_one_attempt_and_none_means_for_ever() -> None:
    assert isinstance(decide(some_facts(options=TaskOptions(max_retries=0)), Raised(OSError())), Bury)
    old = Message("1f", "t", meta={"attempt": 10**6})
    assert isinstance(decide(some_facts(old, options=TaskOptions(max_retries=None)), Raised(OSError())), Again)


def test_there_are_as_many_retries_as_allowed() -> None:
    verdicts = [
        decide(
            some_facts(Message("1f", "t", meta={"attempt": n}), options=TaskOptions(max_retries=2)), Raised(OSError())
        )
        for n in range(3)
    ]
    assert [type(verdict) for verdict in verdicts] == [Again, Again, Bury]
    assert [verdict.message.attempt for verdict in verdicts if isinstance(verdict, Again)] == [1, 2]


def test_a_failed_attempt_is_remembered_and_the_oldest_forgotten() -> None:
    message = Message("1f", "t")
    for n in range(5):
        verdict = decide(
            some_facts(message, options=TaskOptions(max_retries=None), now=NOW + n), Raised(OSError(str(n)))
        )
        assert isinstance(verdict, Again)
        message = verdict.message
    assert [entry["message"] for entry in message.meta["errors"]] == ["2", "3", "4"]
    assert message.meta["errors"][-1] == {"at": NOW + 4, "worker": "w", "type": "OSError", "message": "4"}


def test_an_error_that_is_not_to_be_retried_is_buried_at_once() -> None:
    assert isinstance(decide(some_facts(), Raised(TypeError())), Bury)
    only_io = TaskOptions(retry=RetryPolicy(on=(OSError,)))
    assert isinstance(decide(some_facts(options=only_io), Raised(KeyError())), Bury)
    assert isinstance(decide(some_facts(options=only_io), Raised(OSError())), Again)


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), asyncio.CancelledError()])
def test_an_exit_or_a_stray_cancel_is_a_failure_of_the_task(error: BaseException) -> None:
    verdict = decide(some_facts(), Raised(error))
    assert isinstance(verdict, Again)
    assert verdict.kind == "retry"


def test_retry_counts_and_names_its_cause() -> None:
    error = Retry(5)
    error.__cause__ = OSError("429")
    verdict = decide(some_facts(), Raised(error))
    assert isinstance(verdict, Again)
    assert (verdict.delay, verdict.message.attempt, verdict.failure and verdict.failure.type) == (5.0, 1, "OSError")
    assert isinstance(decide(some_facts(Message("1f", "t", meta={"attempt": 3})), Raised(Retry(5))), Bury)


def test_retry_zero_is_honoured_and_retry_without_a_time_takes_the_policy() -> None:
    fixed = TaskOptions(retry=RetryPolicy(base=8, jitter="none"))
    now, later = decide(some_facts(options=fixed), Raised(Retry(0))), decide(some_facts(options=fixed), Raised(Retry()))
    assert isinstance(now, Again)
    assert isinstance(later, Again)
    assert (now.delay, later.delay) == (0.0, 8.0)


def test_snooze_and_an_uncounted_retry_may_go_on_for_ever() -> None:
    message = Message("1f", "t", meta={"attempt": 3})
    for error in (Snooze(60), Retry(60, counts=False)):
        verdict = decide(some_facts(message), Raised(error))
        assert verdict == Again(message._replace(meta={"attempt": 3, "sent_at": NOW - 5000}), 60.0, "snooze")


def test_a_time_of_day_becomes_a_wait_by_the_servers_clock() -> None:
    at = datetime.fromtimestamp(NOW / 1000 + 90, UTC)
    verdict = decide(some_facts(), Raised(Snooze(at=at)))
    assert isinstance(verdict, Again)
    assert verdict.delay == pytest.approx(90)
    past = decide(some_facts(), Raised(Retry(at=at - timedelta(hours=1))))
    assert isinstance(past, Again)
    assert past.delay == 0.0


def test_reject_buries_or_drops() -> None:
    buried = decide(some_facts(), Raised(Reject("no such user")))
    assert isinstance(buried, Bury)
    assert (buried.reason, buried.failure.message) == ("reject", "no such user")
    assert decide(some_facts(), Raised(Reject("too late", bury=False))) == Finish("cancelled", note="too late")


def test_the_wait_that_an_error_names_is_obeyed() -> None:
    def retry_after(error: BaseException) -> float | None:
        return float(str(error)) if str(error) else None

    options = TaskOptions(retry=RetryPolicy(base=3, jitter="none", retry_after=retry_after))
    named, unnamed = (decide(some_facts(options=options), Raised(OSError(text))) for text in ("77", ""))
    assert isinstance(named, Again)
    assert isinstance(unnamed, Again)
    assert (named.delay, unnamed.delay) == (77.0, 3.0)


def test_a_timeout_is_a_failure() -> None:
    verdict = decide(some_facts(), TimedOut(60))
    assert isinstance(verdict, Again)
    assert verdict.failure == Failure("TimeoutError", "took longer than its timeout of 60 s")


def test_too_much_memory_is_a_failure() -> None:
    over = OverMemory(611 * MIB, 512 * MIB)
    verdict = decide(some_facts(), over)
    assert isinstance(verdict, Again)
    assert (verdict.kind, verdict.message.attempt) == ("retry", 1)
    text = "it used 611 MiB, 512 MiB are allowed (max_memory)"
    assert verdict.failure == Failure("MemoryLimitExceeded", text)
    last = some_facts(Message("1f", "t", meta={"attempt": 3}))
    assert decide(last, over) == Bury("retries", verdict.failure)
    closely = decide(last, OverMemory(512 * MIB + 300_000, 512 * MIB))
    assert isinstance(closely, Bury)
    assert closely.failure.message == "it used 512.3 MiB, 512 MiB are allowed (max_memory)"


def test_late_is_expired_and_lost_is_dropped() -> None:
    assert decide(some_facts(), Late()) == Finish("expired", note="not started in time")
    assert decide(some_facts(), Lost()) == Drop()


def test_a_stop_gives_back_and_at_most_once_is_never_given_back_once_it_started() -> None:
    once = some_facts(options=TaskOptions(idempotent=False))
    assert decide(some_facts(), Stopped(started=False)) == Release(started=False)
    assert decide(some_facts(), Stopped(started=True)) == Release(started=True)
    assert decide(once, Stopped(started=False)) == Release(started=False)
    verdict = decide(once, Stopped(started=True))
    assert isinstance(verdict, Bury)
    assert verdict.reason == "interrupted"


def test_the_death_of_a_child_gives_back_until_the_deliveries_are_used_up() -> None:
    assert [decide(some_facts(), Died("SIGSEGV", n)) for n in (1, 2)] == [Release(started=True)] * 2
    verdict = decide(some_facts(), Died("SIGSEGV", 3))
    assert isinstance(verdict, Bury)
    assert (verdict.reason, verdict.failure.type) == ("poison", "ChildDied")
    assert "SIGSEGV" in verdict.failure.message
    assert "delivery 3 of 3" in verdict.failure.message
    for once in (TaskOptions(idempotent=False), TaskOptions(idempotent=False, max_deliveries=5)):
        assert isinstance(decide(some_facts(options=once), Died("exit code 1", 1)), Bury)


def test_at_most_once_never_goes_back_after_a_failure() -> None:
    once = some_facts(options=TaskOptions(idempotent=False))
    for outcome in (Raised(OSError()), TimedOut(1), OverMemory(2, 1), Raised(Retry(1))):
        assert isinstance(decide(once, outcome), Bury), outcome


def test_an_error_is_cut_to_size_at_the_right_end() -> None:
    failure = Failure.of(Custom("x" * 50_000 + "end"))
    assert len(failure.message) == ERROR_TEXT
    assert len(failure.traceback) == TRACEBACK_TEXT + 1
    assert failure.traceback.startswith("…")
    assert failure.traceback.rstrip().endswith("end")


def test_an_error_without_a_text_still_has_a_name() -> None:
    failure = Failure.of(Broken())
    assert (failure.type, failure.message) == ("Broken", "<RuntimeError in Broken.__str__>")


@given(st.text())
def test_any_error_text_can_be_stored(text: str) -> None:
    """Also half characters, which Python puts into the names of files whose bytes are no UTF-8."""
    verdict = decide(some_facts(), Raised(OSError(text + "\udcff")))
    assert isinstance(verdict, Again)
    verdict.message.fields()


# -- events ------------------------------------------------------------------------------------------------------------

EVENT = EventMessage(
    "5-5", "shop.index", b"{}", {}, EventMeta("e", "Made", "s", datetime.now(UTC)), (b"event_id", b"e")
)


def test_an_event_without_a_handler_here_is_ignored_unless_a_sibling_has_one() -> None:
    """Which one it is, Redis says in the step that acknowledges; so long a sibling may be away."""
    assert decide(some_facts(EVENT, unknown_grace=90), Stray("Made")) == Ignore("Made", 90)
    assert decide(some_facts(None, unknown_grace=90), Stray("Made")) == Ignore("Made", 90)


def test_an_event_whose_handlers_are_gone_is_a_dead_letter_that_says_since_when() -> None:
    verdict = gone("Made", 601.4)
    assert (verdict.reason, verdict.failure.type) == ("unknown_task", "UnknownEventType")
    assert verdict.failure.message.endswith("has a handler for Made any more; the last one was there 601 s ago")


def test_an_event_that_failed_keeps_its_fields_and_counts_its_attempts_for_its_group() -> None:
    verdict = decide(some_facts(EVENT), Raised(OSError("x")))
    assert isinstance(verdict, Again)
    again = verdict.message
    assert isinstance(again, EventMessage)
    assert (again.id, again.raw, again.args, again.event) == (EVENT.id, EVENT.raw, EVENT.args, EVENT.event)
    assert (again.attempt, again.meta["sent_at"]) == (1, some_facts().sent_at)
    assert EVENT.meta == {}
