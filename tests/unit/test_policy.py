"""decide(): every outcome has one verdict, and no chain of verdicts runs a message more often than it may."""

from __future__ import annotations

import asyncio
from datetime import UTC, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtask import Reject, Retry, RetryPolicy, Snooze, TaskOptions
from streamtask.message import MAX_MS, Message, decode
from streamtask.policy import (
    ERRORS_KEPT,
    PARK,
    Again,
    Bury,
    DeadReason,
    Died,
    Drop,
    Facts,
    Failure,
    Late,
    Lost,
    Misfit,
    Outcome,
    OverMemory,
    Poison,
    Raised,
    Release,
    Returned,
    Stopped,
    TimedOut,
    Verdict,
    decide,
)
from tests.unit.policy_facts import NOW, Broken, Custom, some_facts

draws = st.floats(0, 1, exclude_max=True)
waits = st.none() | st.floats(0, 10**7) | st.integers(0, 1000).map(lambda s: timedelta(seconds=s))
moments = st.none() | st.datetimes(timezones=st.just(UTC))
KINDS = [ValueError, TypeError, OSError, Custom, Broken, KeyboardInterrupt, SystemExit, asyncio.CancelledError]
errors: st.SearchStrategy[BaseException] = st.one_of(
    st.builds(lambda kind, text: kind(text), st.sampled_from(KINDS), st.text()),
    st.builds(Retry, waits, at=moments, reason=st.text(), counts=st.booleans()),
    st.builds(Snooze, st.floats(0, 10**7), at=moments),
    st.builds(Reject, st.text(), bury=st.booleans()),
)  # fmt: skip
failures = st.builds(Failure, st.just("KeyError"), st.text(max_size=5))
outcomes: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Returned, st.none() | st.just(b"1")),
    st.builds(Raised, errors),
    st.builds(TimedOut, st.floats(0.001, 1e6)),
    st.builds(OverMemory, st.integers(1, 2**40), st.integers(1, 2**40)),
    st.builds(Misfit, st.sampled_from(get_args(DeadReason)), failures),
    st.just(Late()),
    st.builds(Poison, st.integers(1, 100)),
    st.builds(Stopped, st.booleans()),
    st.builds(Died, st.text(), st.integers(1, 100)),
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


@given(facts, outcomes)
def test_every_outcome_has_one_verdict(facts: Facts, outcome: Outcome) -> None:
    verdict = decide(facts, outcome)
    assert isinstance(verdict, get_args(Verdict))
    assert decide(facts, outcome) == verdict, "pure: the same facts give the same verdict"


@given(outcomes.filter(lambda outcome: not isinstance(outcome, (Raised, TimedOut, OverMemory))), options)
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
