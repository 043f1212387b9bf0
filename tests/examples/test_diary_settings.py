"""The diary's environment: durations, zones, and errors that name the variable."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from examples.diary.choice import summarizer_from
from examples.diary.extractive import ExtractiveSummarizer
from examples.diary.settings import DiarySettings, SettingError, duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5m", 300),
        ("30s", 30),
        ("90", 90),
        ("0.5", 0.5),
        ("250ms", 0.25),
        ("1h30m", 5400),
        ("1d", 86400),
        (" 10m ", 600),
    ],
)
def test_a_duration_is_a_number_of_seconds_or_has_units(text: str, seconds: float) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5x", "m", "-5m", "5 m", "5m!", "0", "0s", "1e3", "nan", "inf", "٥m٥", "9" * 30])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        duration(text)


def test_an_empty_environment_gives_the_production_intervals_and_the_zone_of_tokyo() -> None:
    settings = DiarySettings.read({})
    assert (settings.daily_interval, settings.monthly_interval) == (timedelta(minutes=5), timedelta(minutes=5))
    assert settings.timezone.key == "Asia/Tokyo"
    assert settings.database == Path("diary.sqlite3")
    assert settings.simulated_delay is None


def test_each_interval_has_its_own_variable() -> None:
    settings = DiarySettings.read({"SCHEDULER_DAILY_INTERVAL": "10m", "SCHEDULER_MONTHLY_INTERVAL": "1800"})
    assert (settings.daily_interval, settings.monthly_interval) == (timedelta(minutes=10), timedelta(minutes=30))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SCHEDULER_DAILY_INTERVAL", "five minutes"),
        ("SCHEDULER_MONTHLY_INTERVAL", "0"),
        ("DIARY_TIMEZONE", "Tokyo"),
        ("DIARY_TIMEZONE", "../etc/passwd"),
        ("DIARY_TIMEZONE", "Asia"),
        ("DIARY_MAX_RETRIES", "-1"),
        ("DIARY_RETRY_BASE", "soon"),
        ("DIARY_SIMULATED_DELAY", "x"),
    ],
)
def test_a_bad_value_is_an_error_that_names_variable_and_value(name: str, value: str) -> None:
    with pytest.raises(SettingError, match=name) as caught:
        DiarySettings.read({name: value})
    assert repr(value) in str(caught.value)


def test_without_an_address_the_summarizer_is_the_built_in_one() -> None:
    assert isinstance(summarizer_from({}), ExtractiveSummarizer)


def test_a_model_behind_an_address_takes_its_key_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret\n")
    env = {"SUMMARIZER_URL": "http://127.0.0.1:1/v1/", "SUMMARIZER_MODEL": "m1"}
    chosen = summarizer_from(env | {"SUMMARIZER_API_KEY_FILE": str(tmp_path / "key")})
    assert chosen.model_version == "m1"


@pytest.mark.parametrize(
    ("env", "word"),
    [
        ({"SUMMARIZER_URL": "localhost:11434"}, "SUMMARIZER_URL"),
        ({"SUMMARIZER_URL": "http://127.0.0.1:1/v1"}, "SUMMARIZER_MODEL"),
        ({"SUMMARIZER_API_KEY": "a", "SUMMARIZER_API_KEY_FILE": "b"}, "one of them"),
        ({"SUMMARIZER_API_KEY_FILE": "/no/such/file"}, "SUMMARIZER_API_KEY_FILE"),
        ({"SUMMARIZER_API_KEY": "two\nlines"}, "header"),
    ],
)
def test_a_summarizer_that_cannot_work_is_named_at_the_start(env: dict[str, str], word: str) -> None:
    complete = {"SUMMARIZER_URL": "http://127.0.0.1:1/v1", "SUMMARIZER_MODEL": "m1"}
    with pytest.raises(SettingError, match=word):
        summarizer_from(env if "SUMMARIZER_URL" in env else complete | env)
