"""What is written about articles: each write says whether it changed anything, and none puts old over new."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from examples.alt.articles import Article
from examples.alt.events import GeneratedTag

#: On which way a piece of work came: by a call of the backend, or by an event.
Via = Literal["direct", "stream"]
Kind = Literal["summary", "tags", "index"]


@dataclass(frozen=True, slots=True)
class Stored:
    """An article as it stands in the store."""

    article_id: str
    version: int
    user_id: str
    feed_id: str
    title: str
    url: str
    published_at: str
    language: str
    content: str


def save_article(
    connection: sqlite3.Connection, article: Article, user_id: str
) -> Literal["added", "changed", "unchanged"]:
    """Write the article; its version rises when its title or text changed, and only then."""
    known = get_article(connection, article.article_id)
    if known is not None and (known.title, known.content) == (article.title, article.content):
        return "unchanged"
    connection.execute(
        "INSERT OR REPLACE INTO articles VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            article.article_id,
            known.version + 1 if known else 1,
            user_id,
            article.feed_id,
            article.title,
            article.url,
            article.published_at.isoformat() if article.published_at else "",
            article.language,
            article.content,
        ),
    )
    return "changed" if known else "added"


def delete_article(connection: sqlite3.Connection, article_id: str) -> bool:
    """Delete it with its summary and tags; the search index learns of it by its next event."""
    connection.execute("UPDATE documents SET state = '' WHERE article_id = ?", (article_id,))  # should it come back
    for table in ("summaries", "tags"):
        connection.execute(f"DELETE FROM {table} WHERE article_id = ?", (article_id,))
    return connection.execute("DELETE FROM articles WHERE article_id = ?", (article_id,)).rowcount == 1


def get_article(connection: sqlite3.Connection, article_id: str) -> Stored | None:
    """The article, None when it is gone (or was never there)."""
    row = connection.execute("SELECT * FROM articles WHERE article_id = ?", (article_id,)).fetchone()
    return None if row is None else Stored(*row)


def article_ids(connection: sqlite3.Connection) -> list[str]:
    """All articles, in the order in which they came."""
    return [row[0] for row in connection.execute("SELECT article_id FROM articles ORDER BY rowid")]


def save_summary(connection: sqlite3.Connection, article: Stored, summary: str, via: Via) -> bool:
    """Write the summary of this version of the article; False when it, or a newer one's, stands there."""
    return _save(connection, "summary", "summaries", article, summary, via)


def save_tags(connection: sqlite3.Connection, article: Stored, tags: Sequence[GeneratedTag], via: Via) -> bool:
    """Write the tags of this version of the article; False when they, or a newer one's, stand there."""
    return _save(connection, "tags", "tags", article, json.dumps([tag.model_dump() for tag in tags]), via)


def _save(connection: sqlite3.Connection, kind: Kind, table: str, article: Stored, value: str, via: Via) -> bool:
    """One row an article. Two ways may bring the same work at the same time: whoever is second changes nothing."""
    column = {"summaries": "summary", "tags": "tags"}[table]
    written = connection.execute(
        f"INSERT INTO {table} (article_id, version, {column}) VALUES (?, ?, ?) ON CONFLICT (article_id) DO UPDATE "
        f"SET version = excluded.version, {column} = excluded.{column} WHERE excluded.version > {table}.version",
        (article.article_id, article.version, value),
    )
    if written.rowcount != 1:
        return False
    record(connection, kind, article.article_id, str(article.version), via)
    return True


def get_summary(connection: sqlite3.Connection, article_id: str) -> tuple[int, str]:
    """Version and text; (0, "") when there is none yet."""
    row = connection.execute("SELECT version, summary FROM summaries WHERE article_id = ?", (article_id,)).fetchone()
    return (0, "") if row is None else (row[0], row[1])


def get_tags(connection: sqlite3.Connection, article_id: str) -> tuple[int, tuple[GeneratedTag, ...]]:
    """Version and tags; (0, ()) when there are none yet."""
    row = connection.execute("SELECT version, tags FROM tags WHERE article_id = ?", (article_id,)).fetchone()
    return (0, ()) if row is None else (row[0], tuple(GeneratedTag(**tag) for tag in json.loads(row[1])))


def record(connection: sqlite3.Connection, kind: Kind, article_id: str, state: str, via: Via) -> None:
    """Note, in the transaction of the write itself, that it happened: work done twice would show as two rows."""
    connection.execute(
        "INSERT INTO effects (kind, article_id, state, via) VALUES (?, ?, ?, ?)", (kind, article_id, state, via)
    )


def unfinished(connection: sqlite3.Connection) -> list[str]:
    """The articles whose summary, tags or index entry is missing or too old. Those without text want none."""
    rows = connection.execute(
        "SELECT a.article_id FROM articles a LEFT JOIN summaries s USING (article_id) "
        "LEFT JOIN tags t USING (article_id) LEFT JOIN documents d USING (article_id) WHERE trim(a.content) <> '' "
        "AND (s.version IS NOT a.version OR t.version IS NOT a.version "
        "OR d.state IS NOT (a.version || '.' || s.version || '.' || t.version)) ORDER BY a.rowid"
    )
    return [row[0] for row in rows]


def effects(connection: sqlite3.Connection) -> dict[tuple[str, str, str], list[str]]:
    """Every piece of work that was done: (kind, article, state) to the ways on which it was, one for each time."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for row in connection.execute("SELECT kind, article_id, state, via FROM effects ORDER BY id"):
        found.setdefault((row["kind"], row["article_id"], row["state"]), []).append(row["via"])
    return found
