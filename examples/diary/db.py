"""The database: one SQLite file for all threads and processes, opened at first use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.orm import Session

from examples.diary.models import Base
from examples.diary.settings import settings

#: How long a writer waits for another one, in milliseconds. SQLite has one writer at a time.
BUSY_TIMEOUT = 15_000


class Database:
    """Reads see one snapshot; a write takes the write lock when it begins.

    A transaction that reads first and writes later would fail at once ("database is locked") whenever another
    process wrote in between: SQLite does not wait there. So writes start with BEGIN IMMEDIATE, which does wait.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.engine: Engine = create_engine(f"sqlite:///{path}", pool_size=20, max_overflow=-1)
        event.listen(self.engine, "connect", _configure)
        event.listen(self.engine, "begin", _begin)
        self._writer = self.engine.execution_options(immediate=True)

    def create(self) -> None:
        """Make the file and its tables where they are missing; several processes may do so at once."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._writer.begin() as connection:
            Base.metadata.create_all(connection)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session over one snapshot; nothing is written."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session that holds the write lock until it is committed at the end (or rolled back by an error)."""
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        self.engine.dispose()


def _configure(connection: DBAPIConnection, _record: Any) -> None:
    connection.isolation_level = None  # the driver begins no transactions by itself: `_begin` does
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


_opened: dict[int, Database] = {}


def database() -> Database:
    """This process's database, with its tables. A forked child opens its own: SQLite forbids carrying one over."""
    pid = os.getpid()
    if pid not in _opened:
        fresh = Database(settings().database)
        fresh.create()
        _opened.setdefault(pid, fresh)  # two threads at once: the first one stays
    return _opened[pid]
