"""The pre-processor: summarises new articles, and those that somebody asks for.

CONSUMER_ENABLED=true streamtask worker examples/alt/pre_processor.py
"""

from __future__ import annotations

from examples.alt import work
from examples.alt.events import SUMMARIES, ArticleCreated, ArticleSummarized, SummarizeRequested, on_topic
from examples.alt.service import service
from examples.alt.wiring import announce, consumer_report

here = service("pre-processor")
app, settings = here.app, here.settings
Created, Requested = on_topic(ArticleCreated, settings.stream_key), on_topic(SummarizeRequested, settings.stream_key)

announce(
    settings.service,
    consumer_report(
        settings,
        [f"{settings.stream_key} as {settings.group}: ArticleCreated, SummarizeRequested"],
        [f"{SUMMARIES}: ArticleSummarized"],
    ),
)


@app.on(
    Created | Requested,
    group=settings.group,
    once="event_id",
    max_retries=here.max_retries,
    max_deliveries=settings.max_deliveries,
    retry=here.retry,
)
def summarise(event: ArticleCreated | SummarizeRequested) -> None:
    """Summarise, and tell.

    Told also when the summary stood there already: whoever wrote it may have died before it could tell.
    """
    here.work_a_while()
    done = work.summarise(here.database, event.article_id, "stream")
    if done is not None:
        app.publish(ArticleSummarized(article_id=done.article_id, user_id=done.user_id, summary=done.summary))
