"""What a Cron refuses, and in which words; Celery's crontab."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamtask.cron import Cron
from streamtask.walltime import to_ms


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("61 * * * *", ['"61 * * * *"', 'minute "61"', "0 to 59"]),
        ("0 24 * * *", ['hour "24"', "0 to 23"]),
        ("0 0 0 * *", ['day of month "0"', "1 to 31"]),
        ("0 0 1 13 *", ['month "13"']),
        ("0 0 * * mon-fry", ['day of week "mon-fry"', "sun to sat"]),
        ("* * * * * 60", ['second "60"']),
        ("*/0 * * * *", ['minute "*/0"']),
        ("* * * *", ['"* * * *"', "5 fields", "second last", "not 4"]),
        ("0 0 1 1 * 0 2030", ["not 7"]),
        ("", ['Cron("")', "5 fields"]),
        ("@reboot", ["@reboot", "@daily"]),
        ("@every 5m", ["Every(minutes=5)"]),
        ("0 0 30 2 *", ["never fires", '"30"', '"2"']),
        ("0 0 31 4,6 *", ["never fires"]),
        ("R * * * *", ['minute "R"', "random"]),  # two beats would draw two numbers
        ("0 H(0-7) * * *", ['hour "H(0-7)"']),
        ("5-5 * * * *", ['minute "5-5"', 'write "5"']),  # croniter: each minute
        ("0 0 * * sun-sun", ['write "sun"']),
        ("*/90 * * * *", ['"*/90"', "Every"]),  # croniter: once an hour
        ("0 0 1 * 1#2", ["cannot be combined"]),
        ("0 0 15W * mon", ["cannot be combined"]),
        ("0 0 * * 1#1,mon", ["mixes"]),
    ],
)
def test_a_bad_expression_names_itself_and_the_field(expression: str, words: list[str]) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the words are checked below
        Cron(expression, "UTC")
    assert all(word in str(error.value) for word in words), str(error.value)


@settings(max_examples=300)
@given(st.one_of(st.text(max_size=20), st.lists(st.text("0123456789*/-,LWHR#@?monjan ", max_size=6)).map(" ".join)))
def test_any_text_is_a_cron_or_a_value_error(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            cron = Cron(text, "UTC")
        except ValueError as error:
            cron, words = None, str(error)
    assert cron.next_after(0) is not None if cron else words.startswith("Cron(")


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        ("Asia/Tokio", ['"Asia/Tokio"', "did you mean", "Asia/Tokyo"]),
        ("europe/berln", ["Europe/Berlin"]),
        ("Europe", ["did you mean"]),
        ("../../etc/passwd", ["IANA"]),
        ("", ["IANA"]),
    ],
)
def test_an_unknown_zone_comes_with_a_hint(zone: str, words: list[str]) -> None:
    with pytest.raises(ValueError, match="unknown time zone") as error:
        Cron("0 4 * * *", zone)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_other_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="fold='never'"):
        Cron("0 4 * * *", "UTC", fold="never")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="gap='before'"):
        Cron("0 4 * * *", "UTC", gap="before")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be text"):
        Cron(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="IANA"):
        Cron("0 4 * * *", UTC)  # type: ignore[arg-type]


def test_without_a_zone_there_are_no_ticks() -> None:
    cron = Cron("0 4 * * *")
    for ask in (lambda: cron.next_after(0), lambda: cron.newest(0, 10**12), lambda: cron.ticks(0, 10**12, 1)):
        with pytest.raises(ValueError, match="no time zone"):
            ask()
    assert cron.with_timezone("Asia/Tokyo") == Cron("0 4 * * *", "Asia/Tokyo")


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("0 4 * * *", True),
        ("@daily", True),
        ("0 */6,3 * * *", True),
        ("*/5 * * * *", False),
        ("0 */6 * * *", False),
        ("0 0-23 * * *", False),
        ("@hourly", False),
        ("*/5 * * * mon", False),
    ],
)
def test_which_expressions_name_an_hour(expression: str, *, names: bool) -> None:
    assert Cron(expression).names_hour is names


def test_both_days_fire_on_either_and_warn() -> None:
    with pytest.warns(UserWarning, match="or the day of week") as record:
        cron = Cron("0 0 1 * mon", "UTC")
    assert record[0].filename == __file__
    july = [day.day for day in cron.upcoming(datetime(2024, 6, 30, tzinfo=UTC), 5)]
    assert july == [1, 8, 15, 22, 29]  # 1 July 2024 is a Monday
    assert [day.day for day in cron.upcoming(datetime(2024, 7, 29, tzinfo=UTC), 2)] == [1, 5]
    cron.with_timezone("Asia/Tokyo")  # does not warn again


def test_from_crontab_reads_as_in_celery() -> None:
    assert Cron.from_crontab() == Cron("* * * * *")
    assert Cron.from_crontab(minute=0, hour=4, timezone="Asia/Tokyo") == Cron("0 4 * * *", "Asia/Tokyo")
    assert Cron.from_crontab("*/15", "8-18", "mon-fri") == Cron("*/15 8-18 * * mon-fri")
    assert Cron.from_crontab(minute=[30, 0], month_of_year={1, 7}, day_of_month="1, 15") == Cron("0,30 * 1,15 1,7 *")


@pytest.mark.parametrize("bad", [{"minute": True}, {"hour": []}, {"minute": 60}, {"hour": [1, "2"]}])
def test_from_crontab_refuses_what_is_no_number(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"minute|hour"):
        Cron.from_crontab(**bad)  # type: ignore[arg-type]


def test_from_crontab_refuses_both_days_since_celery_means_and() -> None:
    with pytest.raises(ValueError, match="Celery fires when both match"):
        Cron.from_crontab(0, 0, day_of_week="mon", day_of_month=1)


def test_ticks_lie_on_whole_seconds() -> None:
    now = to_ms(datetime(2030, 6, 1, 12, 0, 30, 500_000, tzinfo=UTC))
    assert Cron("* * * * *", "UTC").next_after(now) == now + 29_500
    assert Cron("* * * * *", "UTC").newest(0, now) == now - 30_500
    assert Cron("* * * * * *", "UTC").next_after(now) == now + 500
