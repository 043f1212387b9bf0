"""The database: one SQLite file for all threads and processes."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Seconds that a writer waits for another one; SQLite has one at a time.
BUSY_TIMEOUT = 15.0

_TABLES = """
CREATE TABLE IF NOT EXISTS articles (
    article_id TEXT PRIMARY KEY,
    version INTEGER NOT NULL,      -- rises with every change of title or text
    user_id TEXT NOT NULL,
    feed_id TEXT NOT NULL,
    title TEXT NOT NULL,
    url TEXT NOT NULL,
    published_at TEXT NOT NULL,
    language TEXT NOT NULL,
    content TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS summaries (
    article_id TEXT PRIMARY KEY,
    version INTEGER NOT NULL,      -- of the article that it was made of
    summary TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS tags (
    article_id TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    tags TEXT NOT NULL             -- JSON
);
CREATE TABLE IF NOT EXISTS effects (  -- one row for each time that something was really written
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,            -- summary, tags, index
    article_id TEXT NOT NULL,
    state TEXT NOT NULL,           -- what it was made of
    via TEXT NOT NULL              -- direct, stream
);
CREATE INDEX IF NOT EXISTS effects_by_article ON effects (article_id);
CREATE TABLE IF NOT EXISTS documents (
    number INTEGER PRIMARY KEY,    -- the row of the search index
    article_id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL            -- versions of article, summary and tags that stand there
);
CREATE TABLE IF NOT EXISTS archive (
    event_id TEXT PRIMARY KEY,
    event_type TEXT NOT NULL,
    source TEXT NOT NULL,
    created_at TEXT NOT NULL,
    payload BLOB NOT NULL
);
CREATE VIRTUAL TABLE IF NOT EXISTS search USING fts5 (
    title, content, summary, tags, tokenize = 'unicode61 remove_diacritics 2'
);
"""


class Database:
    """Readers see one snapshot, a writer has the lock from its beginning, and connections are used again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._idle: list[sqlite3.Connection] = []
        self._guard = threading.Lock()

    def create(self) -> None:
        """Make the file and its tables where they are missing; several processes may do so at once."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.writing() as connection:
            for statement in _statements(_TABLES):
                connection.execute(statement)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection within one snapshot."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection with the write lock, committed at the end, rolled back by an error."""
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._guard:
            connection = self._idle.pop() if self._idle else None
        connection = connection or self._connect()
        try:
            connection.execute(begin)
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            connection.close()  # rolls back; what state it is in is nobody's business any more
            raise
        with self._guard:
            self._idle.append(connection)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
        )  # no thread shares one with another: each takes it out of the list
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")  # readers and the writer do not wait for each other
        connection.execute("PRAGMA synchronous = NORMAL")  # survives a kill -9; a power cut may cost the last moments
        return connection

    def close(self) -> None:
        """Close the connections that nobody uses."""
        with self._guard:
            while self._idle:
                self._idle.pop().close()


def _statements(script: str) -> Iterator[str]:
    """The script's statements one by one: `executescript` would commit, and let two processes create at once."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
