"""decide(): every outcome of an attempt has one verdict, and no chain of verdicts runs a message more often than it may."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtask import Reject, Retry, RetryPolicy, Snooze, TaskOptions
from streamtask.message import MAX_MS, Message, decode
from streamtask.policy import (
    ERROR_TEXT,
    ERRORS_KEPT,
    FINAL,
    PARK,
    TRACEBACK_TEXT,
    TRANSITIONS,
    Again,
    Bury,
    DeadReason,
    Drop,
    Facts,
    Failure,
    Finish,
    Late,
    Lost,
    Misfit,
    Outcome,
    Poison,
    Raised,
    Release,
    Returned,
    Stopped,
    TimedOut,
    Verdict,
    decide,
    legal,
)

NOW = 1_763_700_000_000  # ms
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Custom(Exception):
    pass


class Broken(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


draws = st.floats(0, 1, exclude_max=True)
waits = st.none() | st.floats(0, 10**7) | st.integers(0, 1000).map(lambda s: timedelta(seconds=s))
moments = st.none() | st.datetimes(timezones=st.just(UTC))
errors: st.SearchStrategy[BaseException] = st.one_of(
    st.sampled_from([ValueError, TypeError, OSError, Custom, Broken, KeyboardInterrupt, SystemExit, asyncio.CancelledError])
    .flatmap(lambda kind: st.text().map(kind)),
    st.builds(Retry, waits, at=moments, reason=st.text(), counts=st.booleans()),
    st.builds(Snooze, st.floats(0, 10**7), at=moments),
    st.builds(Reject, st.text(), bury=st.booleans()),
)  # fmt: skip
failures = st.builds(Failure, st.just("KeyError"), st.text(max_size=5))
outcomes: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Returned, st.none() | st.just(b"1")),
    st.builds(Raised, errors),
    st.builds(TimedOut, st.floats(0.001, 1e6)),
    st.builds(Misfit, st.sampled_from(get_args(DeadReason)), failures),
    st.just(Late()),
    st.builds(Poison, st.integers(1, 100)),
    st.builds(Stopped, st.booleans()),
    st.just(Lost()),
)
policies = st.builds(
    RetryPolicy,
    base=st.floats(0, 100),
    max_delay=st.floats(0, 1000),
    jitter=st.sampled_from(["full", "none", 0.5]),
    never=st.sampled_from([(), (TypeError,), (SystemExit,)]),
    retry_after=st.sampled_from(
        [None, lambda _: None, lambda _: 7, lambda _: float("inf"), lambda _: -1, lambda _: 1 / 0]
    ),
)
options = st.builds(
    lambda idempotent, **rest: TaskOptions(idempotent=idempotent, **rest),
    st.booleans(),
    retry=policies,
    max_retries=st.none() | st.integers(0, 5),
    max_deliveries=st.integers(1, 5),
)
metas = st.fixed_dictionaries(
    {},
    optional={
        "attempt": st.integers(0, 10),
        "sent_at": st.just(NOW - 5000),
        "first_seen": st.integers(0, MAX_MS),
        "ttl": st.just(60.0),
        "unique": st.just("abc"),
        "errors": st.lists(st.just({"at": 1, "worker": "w", "type": "E", "message": "m"}), max_size=5),
        "of a later version": st.just([1]),
    },
)
facts = st.builds(
    Facts,
    message=st.builds(Message, st.just("1f"), st.just("t"), st.just(b"{}"), metas),
    options=options,
    sent_at=st.just(NOW - 5000),
    now=st.just(NOW),
    random=draws,
    worker=st.just("w"),
)


def some_facts(message: Message | None = Message("1f", "t"), **changes: Any) -> Facts:  # noqa: B008 - it is frozen
    base = Facts(message, TaskOptions(), sent_at=NOW - 5000, now=NOW, random=0.5, worker="w")
    return replace(base, **changes)


# -- properties of any verdict ---------------------------------------------------------------------------------------------


@given(facts, outcomes)
def test_every_outcome_has_one_verdict(facts: Facts, outcome: Outcome) -> None:
    verdict = decide(facts, outcome)
    assert isinstance(verdict, get_args(Verdict))
    assert decide(facts, outcome) == verdict, "pure: the same facts give the same verdict"


@given(outcomes.filter(lambda outcome: not isinstance(outcome, (Raised, TimedOut))), options)
def test_also_what_could_not_be_read_has_one(outcome: Outcome, options: TaskOptions) -> None:
    verdict = decide(some_facts(None, options=options), outcome)
    assert isinstance(verdict, get_args(Verdict))
    if isinstance(outcome, Misfit):
        assert verdict == Bury(outcome.reason, outcome.failure)


@given(facts, outcomes)
def test_a_message_that_goes_back_stays_the_same_message(facts: Facts, outcome: Outcome) -> None:
    verdict = decide(facts, outcome)
    if not isinstance(verdict, Again):
        return
    before, after = facts.message, verdict.message
    assert before is not None
    assert (after.id, after.task, after.args) == (before.id, before.task, before.args)
    assert after.meta["sent_at"] == facts.sent_at, "its new entry has another id, so its age must travel"
    assert len(after.meta.get("errors", ())) <= max(ERRORS_KEPT, len(before.meta.get("errors", ())))
    for key in before.meta.keys() - {"attempt", "errors", "first_seen", "sent_at"}:
        assert after.meta[key] == before.meta[key], key
    wire = [part if isinstance(part, bytes) else part.encode() for part in after.fields()]
    assert decode("1-1", wire) == after, "and the next worker can read it"


@given(facts, outcomes)
def test_only_a_failure_counts_as_an_attempt(facts: Facts, outcome: Outcome) -> None:
    verdict = decide(facts, outcome)
    if isinstance(verdict, Again):
        assert facts.message is not None
        risen = verdict.message.attempt - facts.message.attempt
        assert risen == (1 if verdict.kind == "retry" else 0)
        assert (verdict.failure is None) == (verdict.kind == "snooze")


@given(facts, outcomes)
def test_a_wait_is_what_was_asked_for_or_within_the_policy(facts: Facts, outcome: Outcome) -> None:
    verdict = decide(facts, outcome)
    if not isinstance(verdict, Again):
        return
    assert 0 <= verdict.delay < float("inf")
    error = outcome.error if isinstance(outcome, Raised) else None
    if isinstance(error, (Retry, Snooze)) and error.at is not None:
        assert verdict.delay == pytest.approx(max(0.0, error.at.timestamp() - NOW / 1000))
    elif isinstance(error, (Retry, Snooze)) and error.delay is not None:
        assert verdict.delay == error.delay
    elif verdict.kind == "park":
        assert verdict.delay <= PARK
    else:
        limit = facts.options.retry.max_delay
        asked_for = facts.options.retry.retry_after and verdict.delay == 7
        assert asked_for or verdict.delay <= limit


@given(options, st.lists(outcomes, min_size=1, max_size=60), draws)
def test_a_message_fails_at_most_max_retries_and_one_times(
    options: TaskOptions, life: list[Outcome], draw: float
) -> None:
    """Along any life: each verdict's message is what the next attempt is decided on."""
    message, failed = Message("1f", "t"), 0
    for outcome in life:
        verdict = decide(some_facts(message, options=options, random=draw), outcome)
        if isinstance(verdict, Again):
            assert verdict.message.attempt >= message.attempt
            message, failed = verdict.message, failed + (verdict.kind == "retry")
        elif not isinstance(verdict, (Release, Drop)):
            break
    if options.max_retries is not None:
        assert failed <= options.max_retries
        assert message.attempt <= options.max_retries


# -- one outcome at a time --------------------------------------------------------------------------------------------------


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
        assert verdict == Again(replace(message, meta={"attempt": 3, "sent_at": NOW - 5000}), 60.0, "snooze")


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


def test_at_most_once_never_goes_back_after_a_failure() -> None:
    once = some_facts(options=TaskOptions(idempotent=False))
    for outcome in (Raised(OSError()), TimedOut(1), Raised(Retry(1))):
        assert isinstance(decide(once, outcome), Bury), outcome


# -- parking -----------------------------------------------------------------------------------------------------------------

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


# -- errors as text ----------------------------------------------------------------------------------------------------------


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


# -- the table of states -----------------------------------------------------------------------------------------------------

STATES = {row.source for row in TRANSITIONS} | {row.target for row in TRANSITIONS}


def test_the_states_are_the_documented_ones() -> None:
    assert {"NONE", "DUE", "WAITING", "HELD", "PARKED", "DONE", "DEAD", "CANCELLED", "EXPIRED"} == STATES
    assert STATES >= FINAL


def test_every_state_can_be_reached() -> None:
    reached, edge = {"NONE"}, {"NONE"}
    while edge:
        edge = {row.target for row in TRANSITIONS if row.source in edge} - reached
        reached |= edge
    assert reached == STATES


def test_every_state_but_a_final_one_can_end() -> None:
    ending = set(FINAL)
    while more := {row.source for row in TRANSITIONS if row.target in ending} - ending:
        ending |= more
    assert ending == STATES


def test_only_an_operator_takes_a_message_out_of_a_final_state() -> None:
    assert {row.by for row in TRANSITIONS if row.source in FINAL} == {"operator"}
    assert {row.source for row in TRANSITIONS if row.source in FINAL} == {"DEAD"}
    assert not any(legal(state, target) for state in ("DONE", "CANCELLED", "EXPIRED") for target in STATES)


def test_a_delivery_moves_only_by_its_holder() -> None:
    """What is waiting can only be read; what is held leaves by the scripts that ask for the token."""
    assert {row.target for row in TRANSITIONS if row.source in ("WAITING", "PARKED")} == {"HELD"}
    leaving = {row.script for row in TRANSITIONS if row.source == "HELD" and row.target != "HELD"}
    assert leaving == {"RELEASE", "SETTLE", "DONE or SETTLE"}


def test_legal_is_the_table() -> None:
    assert legal("WAITING", "HELD")
    assert legal("HELD", "DUE")
    assert not legal("DUE", "HELD")
    assert not legal("DONE", "WAITING")
    assert not legal("HELD", "NONE")
