"""The backend: reads feeds into the store, and tells what happened to articles: by the hub, directly, or both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from examples.alt import direct, store
from examples.alt.articles import Article
from examples.alt.db import Database
from examples.alt.events import ArticleCreated, ArticleUpdated, IndexArticle, SummarizeRequested
from examples.alt.hub import HubClient, HubError
from examples.alt.publisher import Publisher
from examples.alt.settings import BackendSettings
from examples.alt.store import Stored
from streamtask import Event

#: Seconds that an event waits for a hub that is away before the fallback does its work directly.
PATIENCE = 2.0


@dataclass(slots=True)
class Told:
    """What became of the events of this backend."""

    published: int = 0  # accepted by the publisher
    directly: int = 0  # worked on in this process
    failed: list[str] = field(default_factory=list)  # direct work that went wrong
    lost: list[str] = field(default_factory=list)  # nobody did it: `catch_up` will


class Backend:
    """Use `opened(settings)`: it starts the publisher, and flushes it at the end."""

    def __init__(self, settings: BackendSettings, database: Database, hub: HubClient | None) -> None:
        self.settings, self.database, self.hub = settings, database, hub
        self.told = Told()
        self._undelivered: list[Event] = []
        self.publisher = hub and Publisher(
            hub,
            size=settings.queue_size,
            patience=PATIENCE if settings.direct == "fallback" else None,
            undelivered=lambda event, _error: self._undelivered.append(event),
        )

    async def save(self, articles: Iterable[Article]) -> dict[str, int]:
        """Write the articles, and tell of each that is new or changed; returns how many are what.

        An article is in the store before its event is told: a consumer that is fast finds it there.
        """
        counts = {"added": 0, "changed": 0, "unchanged": 0}
        for article in articles:
            outcome, stored = await asyncio.to_thread(self._save, article)
            counts[outcome] += 1
            if outcome == "added":
                await self.tell(_about(ArticleCreated, stored))
            elif outcome == "changed":
                await self.tell(_about(ArticleUpdated, stored))
                await self.tell(_summary_wanted(stored))
        return counts

    def _save(self, article: Article) -> tuple[str, Stored]:
        with self.database.writing() as connection:
            outcome = store.save_article(connection, article, self.settings.user_id)
            stored = store.get_article(connection, article.article_id)
        assert stored is not None
        return outcome, stored

    async def delete(self, article_id: str) -> bool:
        """Delete an article; False when there was none."""
        with self.database.writing() as connection:
            stored = store.get_article(connection, article_id)
            deleted = store.delete_article(connection, article_id)
        if stored is not None:
            await self.tell(_about(ArticleUpdated, stored))
        return deleted

    async def summarize(self, article_id: str) -> None:
        """Ask for a summary. Raises LookupError when there is no such article."""
        await self.tell(_summary_wanted(self._stored(article_id)))

    async def reindex(self) -> int:
        """Have every article written into the index, should it not be there as it is now; returns how many."""
        with self.database.reading() as connection:
            ids = store.article_ids(connection)
        for article_id in ids:
            stored = self._stored(article_id)
            await self.tell(IndexArticle(article_id=article_id, user_id=stored.user_id, feed_id=stored.feed_id))
        return len(ids)

    async def catch_up(self) -> int:
        """Tell again of every article whose work is not done: an event may have been lost before it was published."""
        with self.database.reading() as connection:
            ids = store.unfinished(connection)
        for article_id in ids:
            stored = self._stored(article_id)
            await self.tell(_about(ArticleUpdated, stored))
            await self.tell(_summary_wanted(stored))
        return len(ids)

    def _stored(self, article_id: str) -> Stored:
        with self.database.reading() as connection:
            stored = store.get_article(connection, article_id)
        if stored is None:
            raise LookupError(f"there is no article {article_id}")
        return stored

    async def tell(self, event: Event) -> None:
        """Hand the event to the publisher, do its work directly, or both, as the settings say."""
        if self.publisher is not None:
            await self.publisher.wait_put(event)
            self.told.published += 1
        if self.settings.direct == "on":
            await self._directly(event)
        await self.fall_back()

    async def fall_back(self) -> None:
        """See to the events that the hub did not take: directly where that is the fallback, else they are named."""
        while self._undelivered:
            event = self._undelivered.pop(0)
            if self.settings.direct == "fallback":
                await self._directly(event)
            elif self.settings.direct == "off":
                self.told.lost.append(f"{event.meta.type} {event.meta.id}")

    async def _directly(self, event: Event) -> None:
        try:
            await asyncio.to_thread(direct.handle, self.database, event)
            self.told.directly += 1
        except Exception as error:  # noqa: BLE001 - one article's fault is not the next one's
            self.told.failed.append(f"{event.meta.type} {event.meta.id}: {error}")


@asynccontextmanager
async def opened(settings: BackendSettings) -> AsyncIterator[Backend]:
    """A backend at work. When the block ends, what waits is published, or falls back."""
    database = Database(settings.database)
    database.create()
    hub = HubClient(settings) if settings.mqhub_enabled else None
    backend = Backend(settings, database, hub)
    try:
        if backend.publisher is None:
            yield backend
        else:
            async with backend.publisher:
                yield backend
        await backend.fall_back()
    finally:
        if hub is not None:
            await hub.aclose()
        database.close()


async def tags_now(hub: HubClient, article: Stored) -> str:
    """The article's tags, made while we wait: one line of text."""
    try:
        answer = await hub.generate_tags(article.article_id, article.title, article.content, article.feed_id)
    except HubError as error:
        return f"no answer: {error}"
    if not answer.success:
        return f"no tags: {answer.error}"
    return ", ".join(tag.name for tag in answer.tags)


def _about(kind: type[ArticleCreated | ArticleUpdated], article: Stored) -> Event:
    return kind(
        article_id=article.article_id,
        user_id=article.user_id,
        feed_id=article.feed_id,
        title=article.title,
        url=article.url,
        published_at=article.published_at,
    )


def _summary_wanted(article: Stored) -> SummarizeRequested:
    return SummarizeRequested(article_id=article.article_id, user_id=article.user_id, title=article.title)
