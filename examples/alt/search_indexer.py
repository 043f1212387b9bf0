"""The search indexer: brings the full text index up to date, by batches.

CONSUMER_ENABLED=true streamtask worker examples/alt/search_indexer.py
"""

from __future__ import annotations

import os

from examples.alt import search
from examples.alt.environment import seconds, value
from examples.alt.events import (
    INDEX,
    SUMMARIES,
    TAGS,
    ArticleCreated,
    ArticleSummarized,
    ArticleUpdated,
    IndexArticle,
    TagsGenerated,
    on_topic,
)
from examples.alt.service import service
from examples.alt.wiring import announce, consumer_report
from streamtask import BatchError

here = service("search-indexer")
app, settings = here.app, here.settings
Created, Updated = on_topic(ArticleCreated, settings.stream_key), on_topic(ArticleUpdated, settings.stream_key)
#: Seconds that the first event of a batch waits for others.
WAIT = value(os.environ, "ALT_BATCH_WAIT", seconds, "2s")

announce(
    settings.service,
    consumer_report(
        settings,
        [
            f"{topic} as {settings.group}: {types} (batches of {settings.batch_size}, or {WAIT:g} s)"
            for topic, types in (
                (settings.stream_key, "ArticleCreated, ArticleUpdated"),
                (SUMMARIES, "ArticleSummarized"),
                (TAGS, "TagsGenerated"),
                (INDEX, "IndexArticle"),
            )
        ],
        ["nothing: it is the end of the line"],
    ),
)


@app.on(
    Created | Updated | ArticleSummarized | TagsGenerated | IndexArticle,
    group=settings.group,
    max_retries=here.max_retries,
    max_deliveries=settings.max_deliveries,
    retry=here.retry,
)
@app.batch(size=settings.batch_size, wait=WAIT)
def index(events: list[ArticleCreated | ArticleUpdated | ArticleSummarized | TagsGenerated | IndexArticle]) -> None:
    """Write what the store says of these articles now, in one transaction; they are acknowledged after it.

    An article that is gone is done. One that cannot be indexed fails alone: its events are tried again, or buried.
    """
    result = search.index(here.database, [event.article_id for event in events], "stream")
    if result.failed:
        raise BatchError(
            {
                place: result.failed[event.article_id]
                for place, event in enumerate(events)
                if event.article_id in result.failed
            }
        )
