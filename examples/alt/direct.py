"""The way before the hub: the backend does the services' work itself, in its own process, one article at a time."""

from __future__ import annotations

from examples.alt import search, work
from examples.alt.db import Database
from examples.alt.events import ArticleCreated, ArticleUpdated, IndexArticle, SummarizeRequested
from streamtask import Event


def handle(database: Database, event: Event) -> None:
    """Do what the services would do when this event came, and what would come of it. Raises what the work raises."""
    match event:
        case ArticleCreated(article_id=article_id):
            work.summarise(database, article_id, "direct")
            work.tag(database, article_id, "direct")
        case SummarizeRequested(article_id=article_id):
            work.summarise(database, article_id, "direct")
        case ArticleUpdated(article_id=article_id):
            work.tag(database, article_id, "direct")
        case IndexArticle(article_id=article_id):
            pass
        case _:
            raise TypeError(f"nobody does {type(event).__name__} directly")
    for error in search.index(database, [article_id], "direct").failed.values():
        raise error
