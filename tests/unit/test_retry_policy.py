"""RetryPolicy: how long to wait, and after which errors."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from streamtask import RetryPolicy, StreamTask

draws = st.floats(0, 1, exclude_max=True)
policies = st.builds(
    RetryPolicy,
    base=st.floats(0, 1e6) | st.integers(0, 100),
    factor=st.floats(0, 1e3) | st.integers(0, 100),
    max_delay=st.floats(0, 1e7),
    jitter=st.sampled_from(["full", "none"]) | st.floats(0, 1),
)


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
    with pytest.raises(ValidationError) as invalid:
        StreamTask("s").task(name="t")(_int).delay("x")
    assert policy.retries(OSError())
    assert policy.retries(ValueError("a ValidationError is one, and yet another thing"))
    assert not policy.retries(TypeError())
    assert not policy.retries(invalid.value)
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
