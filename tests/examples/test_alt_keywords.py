"""Tags: key phrases of real texts, in any language, and of what is hardly a text."""

from __future__ import annotations

import pytest

from examples.alt.feeds import read
from examples.alt.keywords import LIMIT, guess, tags_of


def test_an_article_is_tagged_with_what_it_is_about() -> None:
    article = next(article for article in read().articles if "sourdough" in article.title)
    tags = tags_of(article.title, article.content, article.language)
    assert "sourdough starter" in [tag.name for tag in tags]
    assert len(tags) <= LIMIT
    assert len({tag.id for tag in tags}) == len(tags)
    assert all(0 < tag.confidence <= 1 for tag in tags)
    assert [tag.confidence for tag in tags] == sorted((tag.confidence for tag in tags), reverse=True)


def test_every_bundled_article_gets_tags_and_the_same_ones_each_time() -> None:
    for article in read().articles:
        tags = tags_of(article.title, article.content, article.language)
        assert len(tags) >= 3, article.title
        assert tags == tags_of(article.title, article.content, article.language)


def test_an_id_is_made_of_the_name_s_words() -> None:
    tags = tags_of("", "The dead-letter queue, the Dead Letter queue.", "en")
    assert all(tag.id == "-".join(tag.name.replace("-", " ").split()) for tag in tags)


def test_the_language_is_guessed_where_nobody_says_it() -> None:
    for article in read().articles:
        assert guess(article.content) == article.language
    assert guess("") == "en"


@pytest.mark.parametrize("text", ["", "   ", "...", "12 13 14", "日本語のテキスト。", "a\x00b", "x" * 5000])
@pytest.mark.parametrize("language", ["", "en", "xx", "ja"])
def test_what_is_hardly_a_text_harms_nobody(text: str, language: str) -> None:
    assert all(tag.id and not tag.id.isdigit() for tag in tags_of("", text, language))
