"""What the services do with one article, whoever asks: an event, or a call of the backend. Knows no queue.

Each function may be called twice for the same article, also at the same time: the second one changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from examples.alt import store
from examples.alt.db import Database
from examples.alt.events import GeneratedTag
from examples.alt.keywords import tags_of
from examples.alt.store import Via
from examples.diary.extractive import ExtractiveSummarizer

#: Longest summary, in characters.
SUMMARY_LIMIT = 280
_summarizer = ExtractiveSummarizer()


@dataclass(frozen=True, slots=True)
class Summarized:
    """The summary that stands in the store now."""

    article_id: str
    user_id: str
    summary: str
    new: bool  # written by this call


@dataclass(frozen=True, slots=True)
class Tagged:
    """The tags that stand in the store now."""

    article_id: str
    user_id: str
    tags: tuple[GeneratedTag, ...]
    new: bool


def summarise(database: Database, article_id: str, via: Via) -> Summarized | None:
    """Summarise the article as it is now. None when it is gone, or has no text: there is nothing to do."""
    with database.reading() as connection:
        article = store.get_article(connection, article_id)
        version, summary = store.get_summary(connection, article_id)
    if article is None or not article.content.strip():
        return None
    if version >= article.version:
        return Summarized(article_id, article.user_id, summary, new=False)
    summary = _summarizer.summarize(article.content, SUMMARY_LIMIT)
    with database.writing() as connection:
        new = store.save_summary(connection, article, summary, via)
    return Summarized(article_id, article.user_id, summary, new)


def tag(database: Database, article_id: str, via: Via) -> Tagged | None:
    """Tag the article as it is now. None when it is gone, or has no text."""
    with database.reading() as connection:
        article = store.get_article(connection, article_id)
        version, tags = store.get_tags(connection, article_id)
    if article is None or not article.content.strip():
        return None
    if version >= article.version:
        return Tagged(article_id, article.user_id, tags, new=False)
    tags = tags_of(article.title, article.content, article.language)
    with database.writing() as connection:
        new = store.save_tags(connection, article, tags, via)
    return Tagged(article_id, article.user_id, tags, new)
