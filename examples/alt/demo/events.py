"""The events that the demo publishes besides the good ones: bad ones, a repeated one, and one about nothing."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import httpx

from examples.alt.articles import Article, article_id
from examples.alt.backend import Backend
from examples.alt.events import ARTICLES, ArticleCreated
from examples.alt.search import LONGEST


@dataclass(frozen=True, slots=True)
class Bad:
    """What must come of it for the end to add up."""

    oversized: str  # an article that summariser and tagger take, and the index does not
    dead: dict[str, int]  # dead letters by group


async def publish_bad(backend: Backend, sample: Article) -> Bad:
    """Publish them, through the hub like all others."""
    raw = [
        _raw("demo-no-json", "ArticleCreated", b"{this is no JSON"),
        _raw("demo-no-id", "ArticleCreated", b'{"title": "an article without an id"}'),
        _raw("demo-unknown", "ArticleLiked", b'{"article_id": "a"}'),  # nobody subscribes to it: no harm
    ]
    # The same event twice, under one event id, as a publisher does that got no answer the first time.
    repeated = _raw(
        "demo-twice", "ArticleCreated", ArticleCreated(article_id=sample.article_id).model_dump_json().encode()
    )
    async with httpx.AsyncClient(base_url=backend.settings.mqhub_connect_url, trust_env=False) as http:
        for event in (*raw, repeated, repeated):
            answer = await http.post(
                "/services.mqhub.v1.MQHubService/Publish", json={"stream": ARTICLES, "event": event}
            )
            answer.raise_for_status()
    await backend.tell(ArticleCreated(article_id=article_id("demo", "deleted"), title="Gone before anybody looks"))
    return Bad(
        oversized=await _oversized(backend, sample),
        # The two that cannot be read, in each group; of the oversized one its creation, summary, tags, and reindexing.
        dead={"pre-processor-group": 2, "search-indexer-group": 2 + 4, "tag-generator-group": 2},
    )


async def _oversized(backend: Backend, sample: Article) -> str:
    paragraph = "This text has no end, and no end has this text. " * 20
    text = "\n\n".join([paragraph] * (LONGEST // len(paragraph) + 1))
    huge = replace(sample, article_id=article_id("demo", "oversized"), title="A text without end", content=text)
    await backend.save([huge])
    return huge.article_id


def _raw(event_id: str, event_type: str, payload: bytes) -> dict[str, Any]:
    return {
        "eventId": event_id,
        "eventType": event_type,
        "source": "alt-demo",
        "createdAt": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "payload": b64encode(payload).decode(),
    }
