"""The import: good lines go in, bad and repeated ones are named by number, and the bundled diaries are what we say."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import func, select

from examples.diary.db import Database
from examples.diary.load import BUNDLED, LoadError, load, main
from examples.diary.models import Diary, User
from tests.examples.conftest import NOON


def line(user: str = "a", day: str = "2025-03-01", content: str = "Rain.") -> str:
    return json.dumps({"user_id": user, "date": day, "content": content}, ensure_ascii=False)


def file_of(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "diaries.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_every_user_of_the_file_is_opted_in_to_both(diary_db: Database, tmp_path: Path) -> None:
    result = load(file_of(tmp_path, line("a"), line("b"), line("a", "2025-03-02", "雪。")), diary_db, NOON)
    assert (result.added, result.users, result.problems) == (3, {"a", "b"}, [])
    with diary_db.reading() as session:
        users = session.scalars(select(User)).all()
        assert all(user.auto_summary_daily and user.auto_summary_monthly for user in users)
        assert len(users) == 2


BAD = [
    "not json",
    "[]",
    "{}",
    line(user=""),
    line(day="2025-02-30"),
    line(day="1 March 2025"),
    line(day="2025-03-01T00:00:00Z"),
    line(content=""),
    line(content="a\x00b"),
    json.dumps({"user_id": 7, "date": "2025-03-01", "content": "x"}),
    json.dumps({"user_id": "a", "date": 20250301, "content": "x"}),
    json.dumps({"user_id": "a" * 65, "date": "2025-03-01", "content": "x"}),
    '{"user_id": "a", "date": "2025-03-01", "content": "\\ud800"}',
]


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_line_is_named_by_number_and_the_others_go_in(diary_db: Database, tmp_path: Path, bad: str) -> None:
    result = load(file_of(tmp_path, line(), "", bad, line(day="2025-03-02")), diary_db, NOON)
    assert (result.added, result.bad, result.repeated) == (2, 1, 0)
    assert [problem.split(":")[0] for problem in result.problems] == ["line 3"]


def test_bytes_that_are_no_text_are_a_bad_line_like_any_other(diary_db: Database, tmp_path: Path) -> None:
    path = tmp_path / "diaries.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + line().encode() + b"\r\n" + b'{"user_id": "\xff"}\n' + line("b").encode())
    result = load(path, diary_db, NOON)
    assert (result.added, result.bad) == (2, 1)
    assert result.problems[0].startswith("line 2:")


def test_of_a_repeated_day_the_first_line_stands(diary_db: Database, tmp_path: Path) -> None:
    result = load(file_of(tmp_path, line(content="one"), line("b"), line(content="two")), diary_db, NOON)
    assert (result.added, result.repeated, result.problems) == (2, 1, ["line 3: repeats a 2025-03-01 of line 1"])
    with diary_db.reading() as session:
        assert session.scalar(select(Diary.content).where(Diary.user_id == "a")) == "one"


def test_loading_again_changes_only_what_changed(diary_db: Database, tmp_path: Path) -> None:
    load(file_of(tmp_path, line(), line("b")), diary_db, NOON)
    later = datetime(2025, 4, 1, tzinfo=UTC)
    result = load(file_of(tmp_path, line(), line("b", content="Sun."), line("c")), diary_db, later)
    assert (result.added, result.changed, result.unchanged, result.entries) == (1, 1, 1, 3)
    with diary_db.reading() as session:
        versions = {diary.user_id: diary.updated_at for diary in session.scalars(select(Diary))}
    assert versions == {"a": NOON, "b": later, "c": later}


def test_a_file_with_nothing_in_it_is_an_error_that_names_it(diary_db: Database, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"missing\.jsonl cannot be read"):
        load(tmp_path / "missing.jsonl", diary_db, NOON)
    with pytest.raises(LoadError, match="cannot be read"):
        load(tmp_path, diary_db, NOON)
    with pytest.raises(LoadError, match="is empty"):
        load(file_of(tmp_path, "", "  "), diary_db, NOON)
    with pytest.raises(LoadError, match=r"holds no diary\nline 1: "):
        load(file_of(tmp_path, "nonsense"), diary_db, NOON)
    with diary_db.reading() as session:
        assert session.scalar(select(func.count()).select_from(User)) == 0


def test_the_command_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 2
    assert "python -m examples.diary.load" in capsys.readouterr().err


def test_the_bundled_diaries_are_three_users_two_scripts_and_over_three_past_months(diary_db: Database) -> None:
    result = load(BUNDLED, diary_db, NOON)
    assert result.problems == []
    assert len(result.users) == 3
    assert result.entries >= 45
    with diary_db.reading() as session:
        diaries = session.scalars(select(Diary)).all()
        assert len({(diary.date.year, diary.date.month) for diary in diaries}) >= 3
        assert max(diary.date for diary in diaries) < NOON.date().replace(year=2026)
        long = [diary for diary in diaries if len(diary.content) >= 1000]
        assert len(diaries) * 0.6 < len(long) < len(diaries)
        assert len({diary.user_id for diary in diaries if "の" in diary.content}) == 1
