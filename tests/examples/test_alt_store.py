"""The store, the search index and the work on both: once each, on whatever way it comes, and never old over new."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from examples.alt import direct, search, store, work
from examples.alt.articles import Article
from examples.alt.db import Database
from examples.alt.events import ArticleCreated, ArticleSummarized, ArticleUpdated, IndexArticle, SummarizeRequested
from examples.alt.feeds import read
from examples.alt.search import LONGEST, TooLong, index

ARTICLES = read().articles[:6]
FIRST = ARTICLES[0]


@pytest.fixture
def alt_db(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "alt.sqlite3")
    opened.create()
    opened.create()  # twice does no harm
    save(opened, *ARTICLES)
    yield opened
    opened.close()


def save(database: Database, *articles: Article) -> list[str]:
    with database.writing() as connection:
        return [store.save_article(connection, article, "reader") for article in articles]


def effects(database: Database) -> dict[tuple[str, str, str], list[str]]:
    with database.reading() as connection:
        return store.effects(connection)


def unfinished(database: Database) -> list[str]:
    with database.reading() as connection:
        return store.unfinished(connection)


def test_an_article_has_a_new_version_when_its_text_changed_and_only_then(alt_db: Database) -> None:
    changed = replace(FIRST, content="Another text.")
    assert save(alt_db, FIRST, changed, changed) == ["unchanged", "changed", "unchanged"]
    with alt_db.reading() as connection:
        stored = store.get_article(connection, FIRST.article_id)
    assert stored is not None
    assert (stored.version, stored.content) == (2, "Another text.")


def test_work_is_written_once_however_often_and_on_whatever_way_it_comes(alt_db: Database) -> None:
    with ThreadPoolExecutor(8) as threads:
        for via in ("direct", "stream") * 4:
            for article in ARTICLES:
                threads.submit(work.summarise, alt_db, article.article_id, via)
                threads.submit(work.tag, alt_db, article.article_id, via)
    index(alt_db, [article.article_id for article in ARTICLES], "stream")
    index(alt_db, [article.article_id for article in ARTICLES], "direct")
    done = effects(alt_db)
    assert len(done) == 3 * len(ARTICLES)
    assert all(len(ways) == 1 for ways in done.values())
    assert not unfinished(alt_db)


def test_a_summary_is_short_and_its_sentences_are_the_article_s(alt_db: Database) -> None:
    done = work.summarise(alt_db, FIRST.article_id, "direct")
    assert done is not None
    assert done.new
    assert 50 < len(done.summary) <= work.SUMMARY_LIMIT
    assert done.summary.partition(". ")[0] in FIRST.content
    again = work.summarise(alt_db, FIRST.article_id, "direct")
    assert again == replace(done, new=False)


def test_old_work_never_goes_over_newer(alt_db: Database) -> None:
    with alt_db.reading() as connection:
        old = store.get_article(connection, FIRST.article_id)
    assert old is not None
    save(alt_db, replace(FIRST, content="A newer text. It is short."))
    work.summarise(alt_db, FIRST.article_id, "stream")
    with alt_db.writing() as connection:
        assert not store.save_summary(connection, old, "of the old text", "direct")
        assert store.get_summary(connection, FIRST.article_id) == (2, "A newer text. It is short.")


def test_there_is_nothing_to_do_for_what_is_gone_or_empty(alt_db: Database) -> None:
    save(alt_db, replace(FIRST, article_id="empty", content="  "))
    assert work.summarise(alt_db, "empty", "stream") is None
    assert work.tag(alt_db, "empty", "stream") is None
    assert work.summarise(alt_db, "never there", "stream") is None
    assert "empty" not in unfinished(alt_db)


def test_a_batch_merges_what_is_repeated_and_says_of_each_what_became_of_it(alt_db: Database) -> None:
    save(alt_db, replace(FIRST, article_id="huge", content="long " * (LONGEST // 5 + 1)))
    ids = [article.article_id for article in ARTICLES]
    index(alt_db, ids[:1], "stream")
    result = index(alt_db, [*ids, *ids, "gone", "huge"], "stream")
    assert result.written == set(ids[1:])
    assert result.unchanged == set(ids[:1])
    assert result.gone == {"gone"}
    assert list(result.failed) == ["huge"]
    assert isinstance(result.failed["huge"], TooLong)
    assert len(search.search(alt_db, "earthquakes", 100)) <= len(ids)


def test_the_index_follows_text_summary_tags_and_deletion(alt_db: Database) -> None:
    index(alt_db, [FIRST.article_id], "stream")
    assert [hit.article_id for hit in search.search(alt_db, "moon tides")] == [FIRST.article_id]
    save(alt_db, replace(FIRST, content="Nothing but cheese."))
    index(alt_db, [FIRST.article_id], "stream")
    assert not search.search(alt_db, "tides")
    assert [hit.article_id for hit in search.search(alt_db, "chee")] == [FIRST.article_id]
    work.summarise(alt_db, FIRST.article_id, "stream")
    work.tag(alt_db, FIRST.article_id, "stream")
    assert index(alt_db, [FIRST.article_id], "stream").written
    with alt_db.writing() as connection:
        assert store.delete_article(connection, FIRST.article_id)
    assert index(alt_db, [FIRST.article_id], "stream").gone
    assert not search.search(alt_db, "cheese")
    save(alt_db, FIRST)
    assert index(alt_db, [FIRST.article_id], "stream").written


@pytest.mark.parametrize("words", ["", "  ", "'\" * OR (", "NEAR(", "-", 'moon" OR "tides'])
def test_no_query_is_an_error(alt_db: Database, words: str) -> None:
    index(alt_db, [FIRST.article_id], "stream")
    search.search(alt_db, words)


def test_the_direct_way_does_what_the_services_would_do(alt_db: Database) -> None:
    for article in ARTICLES:
        direct.handle(alt_db, ArticleCreated(article_id=article.article_id))
    assert not unfinished(alt_db)
    save(alt_db, replace(FIRST, content="A new text."))
    assert unfinished(alt_db) == [FIRST.article_id]
    for kind in (ArticleUpdated, SummarizeRequested, IndexArticle):
        direct.handle(alt_db, kind(article_id=FIRST.article_id))
    assert not unfinished(alt_db)
    assert all(ways == ["direct"] for ways in effects(alt_db).values())
    with pytest.raises(TypeError, match="ArticleSummarized"):
        direct.handle(alt_db, ArticleSummarized(article_id="a"))


def test_a_failed_write_leaves_nothing_and_harms_nobody(alt_db: Database) -> None:
    def write() -> None:
        with alt_db.writing() as connection:
            connection.execute("DELETE FROM articles")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert len(unfinished(alt_db)) == len(ARTICLES)
