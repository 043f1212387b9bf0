"""Options: what may be written on a task and a call, and what wins where it is written twice."""

from __future__ import annotations

import itertools
from dataclasses import FrozenInstanceError
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from streamtask import CallOptions, RetryPolicy, StreamTask, TaskOptions, Unique
from streamtask.options import CallOptionsDict, TaskOptionsDict

draws = st.floats(0, 1, exclude_max=True)
policies = st.builds(
    RetryPolicy,
    base=st.floats(0, 1e6) | st.integers(0, 100),
    factor=st.floats(0, 1e3) | st.integers(0, 100),
    max_delay=st.floats(0, 1e7),
    jitter=st.sampled_from(["full", "none"]) | st.floats(0, 1),
)


def test_the_defaults_are_the_documented_ones() -> None:
    options = TaskOptions()
    assert (options.queue, options.max_retries, options.max_deliveries, options.result) == ("default", 3, 3, True)
    assert (options.timeout, options.expires, options.unique, options.idempotent) == (None, None, None, True)
    assert (options.result_ttl, options.unknown_grace, options.retry) == (900.0, None, RetryPolicy())


@pytest.mark.parametrize(
    ("typo", "meant"), [("max_retry", "max_retries"), ("time_out", "timeout"), ("queu", "queue"), ("uniq", "unique")]
)
def test_a_typo_fails_at_import_and_names_the_option(typo: str, meant: str) -> None:
    with pytest.raises(TypeError, match=f"no option '{typo}'; did you mean '{meant}'"):
        StreamTask("shop").task(**{typo: 1})  # type: ignore[call-overload]


def test_an_option_that_resembles_none_lists_them() -> None:
    with pytest.raises(TypeError, match="known: countdown, eta, expires, queue, message_id, headers"):
        CallOptions(zzz=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("queue", "a b"),
        ("queue", ""),
        ("queue", "x" * 65),
        ("queue", "{q}"),
        ("queue", None),
        ("name", 5),
        ("max_retries", -1),
        ("max_retries", True),
        ("max_retries", 1.5),
        ("max_deliveries", 0),
        ("max_deliveries", None),
        ("timeout", -1),
        ("timeout", "5 weeks"),
        ("expires", float("nan")),
        ("result_ttl", None),
        ("retry", 5),
        ("unique", 5),
        ("result", "no"),
        ("idempotent", None),
        ("log_args", 1),
    ],
)
def test_a_bad_value_names_its_option(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"a task, {option}: "):
        TaskOptions(**{option: value})


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("countdown", -1, "is no duration"),
        ("eta", datetime(2026, 11, 21, 12), "has no time zone; write"),  # noqa: DTZ001 - that is the mistake
        ("eta", "2026-11-21T12:00:00Z", "is no datetime"),
        ("message_id", "", "is no message id"),
        ("message_id", "a b", "is no message id"),
        ("message_id", "x" * 129, "is no message id"),
        ("headers", {"a": 1}, "are no headers"),
        ("headers", ["a"], "are no headers"),
        ("queue", "a b", "is no queue name"),
    ],
)
def test_a_bad_value_of_a_call_names_its_option(option: str, value: Any, why: str) -> None:
    with pytest.raises(ValueError, match=f"a call, {option}: .*{why}"):
        CallOptions(**{option: value})


def test_durations_may_be_numbers_timedeltas_and_text() -> None:
    assert TaskOptions(timeout=timedelta(minutes=1)).timeout == 60.0
    assert TaskOptions(expires=2).expires == 2.0
    assert CallOptions(countdown=0.5).countdown == 0.5


def test_options_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        TaskOptions().queue = "x"  # type: ignore[misc]


def test_countdown_and_eta_exclude_each_other_also_one_after_the_other() -> None:
    soon = datetime.now(UTC)
    with pytest.raises(ValueError, match="not both"):
        CallOptions(countdown=1, eta=soon)
    with pytest.raises(ValueError, match="not both"):
        CallOptions(eta=soon).over(CallOptions(countdown=1))


# -- what wins -----------------------------------------------------------------------------------------------------------

_CHOICES: dict[str, list[Any]] = {
    "queue": ["a", "b"],
    "max_retries": [None, 0, 7],
    "timeout": [None, 1.0, 60.0],
    "max_deliveries": [1, 5],
    "result": [True, False],
    "idempotent": [True, False],
    "unknown_grace": [None, 5.0],
}
written = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in _CHOICES.items()})


@given(written, written)
def test_a_task_option_beats_the_apps_and_that_beats_the_default(app: TaskOptionsDict, task: TaskOptionsDict) -> None:
    effective = TaskOptions(**task).over(TaskOptions(**app))
    for name in _CHOICES:
        if name in ("max_retries", "max_deliveries") and not effective.idempotent:
            continue  # the next test
        expected = task.get(name, app.get(name, getattr(TaskOptions(), name)))
        assert getattr(effective, name) == expected, name


@given(written, written)
def test_at_most_once_is_one_delivery_and_no_retry_unless_asked_for(
    app: TaskOptionsDict, task: TaskOptionsDict
) -> None:
    effective = TaskOptions(**(task | {"idempotent": False})).over(TaskOptions(**app))
    assert effective.max_deliveries == task.get("max_deliveries", 1)
    assert effective.max_retries == task.get("max_retries", 0)


@given(written, written, written)
def test_it_does_not_matter_in_which_order_layers_are_put_together(
    a: TaskOptionsDict, b: TaskOptionsDict, c: TaskOptionsDict
) -> None:
    options = {"idempotent": True}
    low, middle, high = (TaskOptions(**(layer | options)) for layer in (a, b, c))
    assert high.over(middle).over(low) == high.over(middle.over(low))


calls = st.fixed_dictionaries(
    {},
    optional={
        "countdown": st.sampled_from([None, 1.0, 2.0]),
        "queue": st.sampled_from([None, "a", "b"]),
        "message_id": st.sampled_from([None, "x"]),
        "headers": st.sampled_from([None, {"a": "b"}]),
    },
)


@given(calls, calls)
def test_a_later_call_option_wins_also_with_none(first: CallOptionsDict, second: CallOptionsDict) -> None:
    both = CallOptions(**second).over(CallOptions(**first))
    assert both == CallOptions(**(first | second))
    assert both.given == first.keys() | second.keys()


# -- retry policy --------------------------------------------------------------------------------------------------------


@given(policies, st.integers(1, 10**15), draws)
def test_a_wait_is_never_negative_and_never_above_the_limit(policy: RetryPolicy, attempt: int, random: float) -> None:
    assert 0 <= policy.delay(attempt, random) <= policy.max_delay


@given(st.integers(1, 30), draws)
def test_full_jitter_draws_between_zero_and_the_exponential_wait(attempt: int, random: float) -> None:
    policy = RetryPolicy(base=2, factor=3, max_delay=1000)
    full = min(1000, 2 * 3 ** (attempt - 1))
    assert policy.delay(attempt, random) == pytest.approx(full * random)
    assert RetryPolicy(base=2, factor=3, max_delay=1000, jitter="none").delay(attempt, random) == full
    part = RetryPolicy(base=2, factor=3, max_delay=1000, jitter=0.25).delay(attempt, random)
    assert full * 0.75 <= part <= full


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=5), st.integers(1, 20), draws)
def test_waits_by_hand_are_taken_as_they_are_and_the_last_repeats(waits: list[float], n: int, random: float) -> None:
    assert RetryPolicy(delays=waits).delay(n, random) == waits[min(n, len(waits)) - 1]


def test_types_and_values_are_never_retried_by_default_but_may_be_chosen() -> None:
    policy = RetryPolicy()
    invalid = pytest.raises(ValidationError, StreamTask("s").task(name="t")(_int).delay, "x").value
    assert policy.retries(OSError())
    assert policy.retries(ValueError("a ValidationError is one, and yet another thing"))
    assert not policy.retries(TypeError())
    assert not policy.retries(invalid)
    assert RetryPolicy(on=(OSError,), never=(FileNotFoundError,)).retries(ConnectionError())
    assert not RetryPolicy(on=(OSError,), never=(FileNotFoundError,)).retries(FileNotFoundError())
    assert not RetryPolicy(on=(OSError,)).retries(KeyError())


def _int(x: int) -> None: ...


@pytest.mark.parametrize(
    "wrong",
    [
        {"base": -1},
        {"factor": float("nan")},
        {"max_delay": float("inf")},
        {"jitter": "some"},
        {"jitter": 1.1},
        {"delays": []},
        {"delays": [1, -1]},
        {"delays": [float("inf")]},
        {"delays": [float("nan")]},
    ],
)
def test_a_policy_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"RetryPolicy\\({next(iter(wrong))}="):
        RetryPolicy(**wrong)


# -- unique ----------------------------------------------------------------------------------------------------------------

arguments = st.dictionaries(
    st.sampled_from("abcde"), st.integers() | st.text("xyz", max_size=3) | st.booleans(), max_size=5
)


@given(arguments, arguments)
def test_two_calls_have_one_key_exactly_when_their_arguments_are_equal(
    one: dict[str, Any], two: dict[str, Any]
) -> None:
    equal = repr(sorted(one.items())) == repr(sorted(two.items()))  # True == 1 in Python, not in JSON
    assert (Unique().key(one) == Unique().key(two)) == equal


@given(arguments)
def test_the_order_of_arguments_makes_no_other_key(values: dict[str, Any]) -> None:
    keys = {Unique().key(dict(pairs)) for pairs in itertools.islice(itertools.permutations(values.items()), 10)}
    nested = {
        Unique().key({"x": dict(pairs)}) for pairs in itertools.islice(itertools.permutations(values.items()), 10)
    }
    assert len(keys) == len(nested) == 1


def test_only_the_parameters_that_are_named_make_the_key() -> None:
    unique = Unique(by=("user", "day"))
    assert unique.key({"user": 1, "day": date(2026, 11, 21), "note": "a"}) == unique.key(
        {"note": "b", "day": date(2026, 11, 21), "user": 1}
    )
    assert unique.key({"user": 1, "day": date(2026, 11, 21)}) != unique.key({"user": 1, "day": date(2026, 11, 22)})
    assert Unique(by="user day") == unique
    assert Unique(by=()).key({"user": 1}) == Unique(by=()).key({"user": 2}), "no parameter: one message at a time"


def test_a_function_may_make_the_key() -> None:
    unique = Unique(by=lambda user, day: f"{user}:{day:%Y-%m}")
    assert unique.key({"user": 1, "day": date(2026, 11, 1)}) == unique.key({"user": 1, "day": date(2026, 11, 30)})
    assert unique.key({"user": 1, "day": date(2026, 11, 1)}) != unique.key({"user": 1, "day": date(2026, 12, 1)})


def test_keys_stay_the_same_from_release_to_release() -> None:
    """A deploy must find the locks of the one before: a change here releases every lock once."""
    assert Unique(by=("user",)).key({"user": "ada"}) == "61a5f2f4ad13f1d11d4ef5e44e4bcf22"


def test_bytes_and_infinity_make_keys_too() -> None:
    assert Unique().key({"x": b"\xff"}) != Unique().key({"x": b"\xfe"})
    assert Unique().key({"x": float("inf")}) != Unique().key({"x": float("-inf")})


@pytest.mark.parametrize(
    ("spelled", "meant"),
    [
        (True, Unique()),
        (False, None),
        (None, None),
        ("user day", Unique(by=("user", "day"))),
        (["user"], Unique(by=("user",))),
        (Unique(until=timedelta(seconds=5)), Unique(until=timedelta(seconds=5))),
    ],
)
def test_unique_has_short_spellings(spelled: Any, meant: Unique | None) -> None:
    assert TaskOptions(unique=spelled).unique == meant


def test_a_lock_ends_after_its_ttl_or_its_fixed_time() -> None:
    assert Unique().seconds == 7 * 86400
    assert Unique(ttl=60).seconds == 60
    assert Unique(until=timedelta(minutes=5), ttl=60).seconds == 300


@pytest.mark.parametrize(
    "wrong", [{"by": 5}, {"until": "started"}, {"until": 5}, {"on_conflict": "replace"}, {"until": timedelta()}]
)
def test_what_unique_cannot_do_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"Unique\\({next(iter(wrong))}="):
        Unique(**wrong)
