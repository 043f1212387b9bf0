"""The tag generator: tags new and changed articles, and answers who waits for the tags of a text.

    CONSUMER_ENABLED=true streamtask worker examples/alt/tag_generator.py

The two have a topic, a group and threads of their own: somebody waits for an answer, however many articles are queued.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from examples.alt import work
from examples.alt.events import (
    TAGS,
    ArticleCreated,
    ArticleUpdated,
    TagGenerationCompleted,
    TagGenerationRequested,
    TagsGenerated,
    on_topic,
)
from examples.alt.keywords import tags_of
from examples.alt.service import service
from examples.alt.wiring import announce, consumer_report
from streamtask import current

here = service("tag-generator")
app, settings = here.app, here.settings
Created, Updated = on_topic(ArticleCreated, settings.stream_key), on_topic(ArticleUpdated, settings.stream_key)
#: The hub lets nobody wait for longer.
NOBODY_WAITS_AFTER = timedelta(seconds=120)
_requests = ThreadPoolExecutor(2, thread_name_prefix="tag-requests")

announce(
    settings.service,
    consumer_report(
        settings,
        [
            f"{settings.stream_key} as {settings.group}: ArticleCreated, ArticleUpdated",
            f"{TAGS} as {settings.tags_group}: TagGenerationRequested",
        ],
        [f"{TAGS}: TagsGenerated", "the asker's reply stream: TagGenerationCompleted"],
    ),
)


@app.on(
    Created | Updated,
    group=settings.group,
    once="event_id",
    max_retries=here.max_retries,
    max_deliveries=settings.max_deliveries,
    retry=here.retry,
)
def tag_article(event: ArticleCreated | ArticleUpdated) -> None:
    """Tag, and tell; also when the tags stood there already (see the pre-processor)."""
    here.work_a_while()
    done = work.tag(here.database, event.article_id, "stream")
    if done is not None:
        app.publish(TagsGenerated(article_id=done.article_id, user_id=done.user_id, tags=done.tags))


@app.on(TagGenerationRequested, group=settings.tags_group, max_retries=0)
async def answer(event: TagGenerationRequested) -> None:
    """Tag the text of the request and answer it, also when that fails: the asker should know at once."""
    if datetime.now(UTC) - event.meta.created_at > NOBODY_WAITS_AFTER:
        current().logger.info("nobody waits any more for the tags of %s", event.article_id)
        return
    started = time.perf_counter()
    try:
        tags = await asyncio.get_running_loop().run_in_executor(_requests, tags_of, event.title, event.content)
    except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits
        current().logger.exception("the text of %s could not be tagged", event.article_id)
        answer = TagGenerationCompleted(success=False, article_id=event.article_id, error_message=type(error).__name__)
    else:
        took = (time.perf_counter() - started) * 1000
        answer = TagGenerationCompleted(success=True, article_id=event.article_id, tags=tags, inference_ms=took)
    await app.areply(event, answer)
