"""Unique: which calls have the same key."""

from __future__ import annotations

import itertools
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtask import TaskOptions, Unique

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
