"""The search indexer's handler: a batch in which one cannot be written."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from examples.alt import store
from examples.alt.events import ArticleCreated, ArticleSummarized, IndexArticle
from examples.alt.feeds import read
from examples.alt.search import LONGEST, TooLong, search
from streamtask import BatchError

FIRST, SECOND = read().articles[:2]
NAME = "examples.alt.search_indexer"


@pytest.fixture
def indexer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The service as a worker imports it."""
    monkeypatch.setenv("CONSUMER_ENABLED", "true")
    monkeypatch.setenv("CONSUMER_BATCH_SIZE", "25")
    monkeypatch.setenv("STREAM_KEY", "alt:events:news")
    monkeypatch.setenv("ALT_DATABASE", str(tmp_path / "alt.sqlite3"))
    yield import_module(NAME)
    sys.modules.pop(NAME).here.database.close()


def test_only_the_events_of_what_cannot_be_indexed_fail(indexer: ModuleType) -> None:
    huge = replace(FIRST, article_id="huge", content="long " * (LONGEST // 5 + 1))
    with indexer.here.database.writing() as connection:
        for article in (FIRST, huge, SECOND):
            store.save_article(connection, article, "reader")
    with pytest.raises(BatchError) as failed:
        indexer.index(
            [
                ArticleCreated(article_id=FIRST.article_id),
                ArticleCreated(article_id="huge"),
                IndexArticle(article_id="gone"),
                ArticleSummarized(article_id="huge"),
                ArticleCreated(article_id=SECOND.article_id),
            ]
        )
    assert {place: type(error) for place, error in failed.value.errors.items()} == {1: TooLong, 3: TooLong}
    assert {hit.article_id for hit in search(indexer.here.database, "moon")} == {FIRST.article_id, SECOND.article_id}


def test_its_wiring_follows_the_environment(capsys: pytest.CaptureFixture[str], indexer: ModuleType) -> None:
    told = capsys.readouterr().err
    assert "search-indexer: this is wired" in told
    assert "alt:events:news as search-indexer-group: ArticleCreated, ArticleUpdated (batches of 25, or 2 s)" in told
    assert set(indexer.app.subscriptions) == {
        f"{topic}/search-indexer-group"
        for topic in ("alt:events:news", "alt:events:summaries", "alt:events:tags", "alt:events:index")
    }
