"""An article, as feeds bring it and the store keeps it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5


@dataclass(frozen=True, slots=True)
class Article:
    """One article. Its id follows from where it came from, so reading a feed again makes no second one."""

    article_id: str
    feed_id: str
    title: str
    url: str
    published_at: datetime | None
    language: str  # "en", "de", or "" when nobody says
    content: str  # plain text, an empty line between paragraphs


def article_id(feed_id: str, entry: str) -> str:
    """The id of a feed's entry: the same for ever, and another one for every other entry."""
    return str(uuid5(NAMESPACE_URL, f"{feed_id} {entry}"))


def parts(articles: Iterable[Article]) -> Iterator[Article]:
    """Each article, and behind it each of its paragraphs as an article of its own ("2 of 4"): more texts to work on."""
    for article in articles:
        yield article
        paragraphs = article.content.split("\n\n")
        for number, paragraph in enumerate(paragraphs if len(paragraphs) > 1 else (), start=1):
            yield _copy(article, f"{number} of {len(paragraphs)}", content=paragraph)


def editions(articles: Iterable[Article], days: int) -> Iterator[Article]:
    """The articles in `days` daily editions: copies that differ in id, title and date. The first are the originals."""
    originals = list(articles)
    for day in range(days):
        for article in originals:
            date = article.published_at and article.published_at + timedelta(days=day)
            yield _copy(article, f"no {day + 1}", published_at=date) if day else article


def _copy(article: Article, name: str, **changes: Any) -> Article:
    """A copy that says what it is, under an id of its own."""
    return replace(
        article,
        article_id=article_id(article.feed_id, f"{article.article_id} {name}"),
        title=f"{article.title} ({name})",
        url=f"{article.url}#{name.replace(' ', '-')}",
        **changes,
    )
