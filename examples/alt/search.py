"""The search index: SQLite's FTS5, written in batches, always from what the store says now."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field

from examples.alt import store
from examples.alt.db import Database
from examples.alt.store import Via

#: Characters; a longer text is no article, and would fill the index with its words.
LONGEST = 200_000
#: How much a word counts in title, text, summary and tags.
_WEIGHTS = "6.0, 1.0, 2.0, 4.0"


class TooLong(ValueError):
    """An article that the index does not take: trying again would not make it shorter."""


@dataclass(slots=True)
class Indexed:
    """What became of the articles of a batch; each of them is in exactly one of these."""

    written: set[str] = field(default_factory=set)
    unchanged: set[str] = field(default_factory=set)  # the index said the same already
    gone: set[str] = field(default_factory=set)  # no such article: taken out of the index, too
    failed: dict[str, Exception] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hit:
    """An article that was found."""

    article_id: str
    title: str
    feed_id: str
    snippet: str


def index(database: Database, article_ids: Iterable[str], via: Via) -> Indexed:
    """Bring the index up to date for these articles, in one transaction.

    The document is made of article, summary and tags as they are now, so several events of one article are one
    write, and their order does not matter. What is wrong with one article fails that one alone.
    """
    result = Indexed()
    with database.writing() as connection:
        for article_id in dict.fromkeys(article_ids):
            try:
                getattr(result, _index_one(connection, article_id, via)).add(article_id)
            except TooLong as error:
                result.failed[article_id] = error
    return result


def _index_one(connection: sqlite3.Connection, article_id: str, via: Via) -> str:
    article = store.get_article(connection, article_id)
    document = connection.execute("SELECT number, state FROM documents WHERE article_id = ?", (article_id,)).fetchone()
    if article is None:
        if document is not None:
            connection.execute("DELETE FROM search WHERE rowid = ?", (document["number"],))
            connection.execute("DELETE FROM documents WHERE number = ?", (document["number"],))
        return "gone"
    if len(article.content) > LONGEST:
        raise TooLong(f"article {article_id} has {len(article.content):,} characters, more than {LONGEST:,}")
    summary_version, summary = store.get_summary(connection, article_id)
    tags_version, tags = store.get_tags(connection, article_id)
    state = f"{article.version}.{summary_version}.{tags_version}"
    if document is not None and document["state"] == state:
        return "unchanged"
    connection.execute(
        "INSERT INTO documents (article_id, state) VALUES (?, ?) ON CONFLICT (article_id) DO UPDATE "
        "SET state = excluded.state",
        (article_id, state),
    )
    (number,) = connection.execute("SELECT number FROM documents WHERE article_id = ?", (article_id,)).fetchone()
    connection.execute(
        "INSERT OR REPLACE INTO search (rowid, title, content, summary, tags) VALUES (?, ?, ?, ?, ?)",
        (number, article.title, article.content, summary, ", ".join(tag.name for tag in tags)),
    )
    store.record(connection, "index", article_id, state, via)
    return "written"


def search(database: Database, words: str, limit: int = 10) -> list[Hit]:
    """The articles with all of these words (the last one may be a beginning), best first."""
    terms = re.findall(r"\w+", words)
    if not terms:
        return []
    query = " ".join(f'"{term}"' for term in terms) + "*"
    with database.reading() as connection:
        rows = connection.execute(
            "SELECT a.article_id, a.title, a.feed_id, snippet(search, 1, '[', ']', ' ... ', 12) AS snippet "
            "FROM search JOIN documents d ON d.number = search.rowid JOIN articles a ON a.article_id = d.article_id "
            f"WHERE search MATCH ? ORDER BY bm25(search, {_WEIGHTS}), a.rowid LIMIT ?",
            (query, limit),
        ).fetchall()
    return [Hit(*row[:3], " ".join(row["snippet"].split())) for row in rows]
