"""Writing: an older version never goes over a newer one, and many processes may write at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from examples.diary import store
from examples.diary.db import Database
from examples.diary.models import Diary, Execution, Utc
from examples.diary.store import Source, Written
from examples.diary.targets import Day, Month
from tests.examples.conftest import LONG, NOON

DAY, MONTH = Day("a", date(2025, 3, 1)), Month("a", 2025, 3)
HOUR = timedelta(hours=1)


def save(db: Database, item: Day | Month, version: timedelta, text: str | None, error: str | None = None) -> bool:
    with db.writing() as session:
        return store.save_summary(session, item, NOON + version, Written(text, error, "test"), NOON)


def stored(db: Database, item: Day | Month) -> tuple[str | None, str | None]:
    with db.reading() as session:
        row = store.summary_of(session, item)
        assert row is not None
        return row.summary, row.error_reason


@pytest.mark.parametrize("item", [DAY, MONTH])
def test_the_newer_version_stays_in_whatever_order_they_are_written(
    diary_db: Database, write: Callable[..., None], item: Day | Month
) -> None:
    write("a", "2025-03-01")
    assert save(diary_db, item, HOUR, "new")
    assert not save(diary_db, item, timedelta(0), "old")
    assert not save(diary_db, item, timedelta(0), None, "old error")
    assert stored(diary_db, item) == ("new", None)
    assert save(diary_db, item, 2 * HOUR, None, "newest error")
    assert stored(diary_db, item) == (None, "newest error")


def test_an_error_never_replaces_a_summary_of_the_same_version_but_a_summary_replaces_an_error(
    diary_db: Database, write: Callable[..., None]
) -> None:
    write("a", "2025-03-01")
    assert save(diary_db, DAY, HOUR, None, "worker died")
    assert save(diary_db, DAY, HOUR, None, "worker died again")
    assert save(diary_db, DAY, HOUR, "made it")
    assert not save(diary_db, DAY, HOUR, None, "late error")
    assert stored(diary_db, DAY) == ("made it", None)


def test_a_month_is_read_from_its_diaries_in_order(diary_db: Database, write: Callable[..., None]) -> None:
    for day, text in [
        ("2025-03-31", "last"),
        ("2025-03-01", "first"),
        ("2025-02-28", "before"),
        ("2025-04-01", "after"),
    ]:
        write("a", day, text)
    write("b", "2025-03-02", "somebody else")
    with diary_db.reading() as session:
        assert store.source_of(session, MONTH) == Source("first\n\nlast", NOON + timedelta(microseconds=1))
        assert store.source_of(session, Month("a", 2025, 5)) is None
        assert store.source_of(session, Day("a", date(2025, 3, 2))) is None


def test_a_moment_comes_back_in_utc_and_a_naive_one_is_refused(diary_db: Database, write: Callable[..., None]) -> None:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    write("a", "2025-03-01", at=datetime(2025, 3, 1, 21, tzinfo=ZoneInfo("Asia/Tokyo")))
    with diary_db.reading() as session:
        diary = session.get_one(Diary, ("a", date(2025, 3, 1)))
        assert (diary.updated_at, diary.updated_at.utcoffset()) == (NOON, timedelta(0))
        # The text in the file sorts as the moments do: a whole second, too, has its microseconds.
        assert session.scalar(select(func.typeof(Diary.updated_at))) == "text"
        assert diary_db.engine.dialect.name == "sqlite"
    with pytest.raises(ValueError, match="no time zone"):
        Utc().process_bind_param(datetime(2025, 3, 1), diary_db.engine.dialect)  # noqa: DTZ001


def test_a_failed_write_leaves_nothing_behind(diary_db: Database) -> None:
    def write_and_fail() -> None:
        with diary_db.writing() as session:
            store.opt_in(session, "a")
            store.save_diary(session, "a", date(2025, 3, 1), LONG, NOON)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    with diary_db.reading() as session:
        assert session.scalar(select(func.count()).select_from(Diary)) == 0


WRITER = """
import sys, threading
from datetime import UTC, date, datetime
from examples.diary import executions, store
from examples.diary.db import database
from examples.diary.executions import Attempt

def work(thread):
    for turn in range(10):
        item = f"{sys.argv[1]}/{thread}/{turn}"
        row = executions.start(database(), "daily", item, Attempt("m"), None)
        with database().writing() as session:
            executions.end(session, row, "done")

threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
"""


def test_processes_and_threads_that_open_a_fresh_file_at_once_all_write(tmp_path: Path) -> None:
    path = tmp_path / "new" / "diary.sqlite3"
    env = {"DIARY_DATABASE": str(path), "PATH": "/usr/bin:/bin"}
    root = Path(__file__).parents[2]
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(n)], env=env, cwd=root, stderr=subprocess.PIPE)
        for n in range(4)
    ]
    errors = [writer.communicate(timeout=60)[1].decode() for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 4, errors
    db = Database(path)
    with db.reading() as session:
        assert session.scalar(select(func.count()).where(Execution.outcome == "done")) == 160
    db.close()
