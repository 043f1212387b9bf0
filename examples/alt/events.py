"""The events of Alt: what happened to an article, on which topic, told by whom. Field for field those of mq-hub."""

from __future__ import annotations

from types import new_class

from pydantic import BaseModel, ConfigDict

from streamtask import Event

ARTICLES = "alt:events:articles"
SUMMARIES = "alt:events:summaries"
TAGS = "alt:events:tags"
INDEX = "alt:events:index"
TOPICS = (ARTICLES, SUMMARIES, TAGS, INDEX)

#: Who publishes.
BACKEND, PRE_PROCESSOR, TAG_GENERATOR, HUB = "alt-backend", "pre-processor", "tag-generator", "mq-hub"


class ArticleCreated(Event, topic=ARTICLES, type="ArticleCreated", source=BACKEND):
    """A new article is in the store. Its text is not in the event: consumers read what stands there now."""

    article_id: str
    user_id: str = ""
    feed_id: str = ""
    title: str = ""
    url: str = ""
    published_at: str = ""  # RFC 3339, or empty


class ArticleUpdated(Event, topic=ARTICLES, type="ArticleUpdated", source=BACKEND):
    """An article's title or text has changed, or it was deleted."""

    article_id: str
    user_id: str = ""
    feed_id: str = ""
    title: str = ""
    url: str = ""
    published_at: str = ""


class SummarizeRequested(Event, topic=ARTICLES, type="SummarizeRequested", source=BACKEND):
    """Somebody wants this article's summary (again)."""

    article_id: str
    user_id: str = ""
    title: str = ""
    streaming: bool = False


class ArticleSummarized(Event, topic=SUMMARIES, type="ArticleSummarized", source=PRE_PROCESSOR):
    """The article has a new summary."""

    article_id: str
    user_id: str = ""
    summary: str = ""


class GeneratedTag(BaseModel):
    """One tag."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    confidence: float


class TagsGenerated(Event, topic=TAGS, type="TagsGenerated", source=TAG_GENERATOR):
    """The article has new tags."""

    article_id: str
    user_id: str = ""
    tags: tuple[GeneratedTag, ...] = ()


class IndexArticle(Event, topic=INDEX, type="IndexArticle", source=BACKEND):
    """Write this article into the search index as it is now."""

    article_id: str
    user_id: str = ""
    feed_id: str = ""


class TagGenerationRequested(Event, topic=TAGS, type="TagGenerationRequested", source=HUB):
    """Somebody waits for the tags of this text: the hub's GenerateTagsForArticle."""

    article_id: str
    title: str = ""
    content: str = ""
    feed_id: str = ""


class TagGenerationCompleted(Event, topic=TAGS, type="TagGenerationCompleted", source=TAG_GENERATOR):
    """The answer to it; it goes to the asker's reply stream, not to the topic."""

    success: bool
    article_id: str
    tags: tuple[GeneratedTag, ...] = ()
    inference_ms: float = 0.0
    error_message: str = ""


def on_topic(kind: type[Event], topic: str) -> type[Event]:
    """The event class, or the same one on another topic: for who keeps these events under another key (STREAM_KEY)."""
    known = kind.__event__
    assert known is not None
    if known.topic == topic:
        return kind
    return new_class(kind.__name__, (kind,), {"topic": topic, "type": known.type, "source": known.source})
