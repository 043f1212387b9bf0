"""A diary database of one's own, and diaries to put into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from examples.diary import store
from examples.diary.db import Database

#: When the tests' diaries are written, unless they say otherwise.
NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
LONG = "A line of a diary. " * 60


@pytest.fixture
def diary_db(tmp_path: Path) -> Iterator[Database]:
    """A fresh SQLite file with the tables."""
    opened = Database(tmp_path / "diary.sqlite3")
    opened.create()
    yield opened
    opened.close()


@pytest.fixture
def write(diary_db: Database) -> Callable[..., None]:
    """`write("mara", "2025-03-14", content, at)` saves a diary of a user who is opted in."""

    def save(user: str, day: str, content: str = LONG, at: datetime = NOON) -> None:
        with diary_db.writing() as session:
            store.opt_in(session, user)
            store.save_diary(session, user, date.fromisoformat(day), content, at)

    return save
