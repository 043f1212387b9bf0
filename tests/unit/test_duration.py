"""Durations: what counts as one, and how it is shown."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtask.duration import seconds, show


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (0, 0.0),
        (15, 15.0),
        (0.25, 0.25),
        (timedelta(minutes=5), 300.0),
        ("15", 15.0),
        ("250ms", 0.25),
        (".5s", 0.5),
        ("1.5 m", 90.0),
        (" 2 H ", 7200.0),
        ("1d", 86400.0),
    ],
)
def test_a_bare_number_is_seconds_and_units_are_understood(written: object, meant: float) -> None:
    assert seconds(written) == pytest.approx(meant)


@pytest.mark.parametrize(
    "wrong",
    [-1, -0.001, float("nan"), float("inf"), timedelta(-1), "", "5 weeks", "1m30s", "-3", "nan", True, None, [5], b"5"],
)
def test_what_is_no_duration_is_refused_by_name(wrong: object) -> None:
    with pytest.raises(ValueError, match="is no duration") as refused:
        seconds(wrong)
    assert repr(wrong) in str(refused.value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 s"),
        (0.4123, "0.412 s"),
        (15.0, "15 s"),
        (60.0, "1 min"),
        (90.4, "1 min 30 s"),
        (119.7, "2 min"),
        (3599.6, "1 h"),
        (7440.0, "2 h 4 min"),
        (2 * 86400.0, "2 d"),
        (3 * 86400 + 3600.0, "3 d 1 h"),
    ],
)
def test_people_read_the_two_largest_units(value: float, text: str) -> None:
    assert show(value) == text


LIMITS = {"s": 60, "min": 60, "h": 48, "d": float("inf")}


@given(st.floats(60, 10**9))
def test_no_unit_is_ever_full(value: float) -> None:
    words = show(value).split()
    assert all(float(number) < LIMITS[unit] for number, unit in zip(words[::2], words[1::2], strict=True))
