"""Articles from feeds and pages: what is read, what is left out and named, and copies that say what they are."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from examples.alt.articles import Article, editions, parts
from examples.alt.feeds import FeedError, plain, read

RSS = """<rss version="2.0"><channel><title>T</title><link>https://a.example/</link><language>en-GB</language>
<item><title>One &amp; all</title><link>https://a.example/1</link><guid>g1</guid>
<pubDate>Mon, 02 Mar 2026 06:30:00 +0100</pubDate>
<description>&lt;p&gt;First.&lt;/p&gt;&lt;p&gt;Second.&lt;/p&gt;</description></item>
<item><description></description></item>
</channel></rss>"""
ATOM = """<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="de"><title>T</title><link href="https://b.example"/>
<entry><title>Eins</title><id>urn:1</id><updated>2026-03-02T06:30:00Z</updated><summary>Kurz.</summary>
<content type="html">&lt;p&gt;Das ist der ganze Text.&lt;/p&gt;</content></entry></feed>"""


def test_the_bundled_feeds_are_rss_atom_and_html_of_several_topics_and_two_languages() -> None:
    found = read()
    assert len(found.articles) == 32
    assert not found.problems
    assert len({article.article_id for article in found.articles}) == 32
    assert {article.language for article in found.articles} == {"en", "de"}
    assert len({article.feed_id for article in found.articles}) == 5
    assert all(len(article.content) > 500 and article.published_at is not None for article in found.articles)
    assert not any(
        word in article.content for article in found.articles for word in ("Imprint", "Subscribe now", "<p>")
    )


def test_an_rss_entry_with_markup_in_its_description(tmp_path: Path) -> None:
    (tmp_path / "a.rss").write_text(RSS)
    found = read([tmp_path])
    (article,) = found.articles
    assert (article.title, article.content) == ("One & all", "First.\n\nSecond.")
    assert (article.feed_id, article.language) == ("a.example", "en")
    assert article.published_at == datetime(2026, 3, 2, 5, 30, tzinfo=UTC)
    assert found.problems == ["a.rss: entry 2 has neither title nor text"]


def test_an_atom_entry_s_content_is_taken_before_its_shorter_summary(tmp_path: Path) -> None:
    (tmp_path / "b.xml").write_text(ATOM)
    (article,) = read([tmp_path / "b.xml"]).articles
    assert (article.content, article.language) == ("Das ist der ganze Text.", "de")


def test_reading_a_feed_again_gives_the_same_ids(tmp_path: Path) -> None:
    (tmp_path / "a.rss").write_text(RSS)
    assert read([tmp_path]).articles == read([tmp_path / "a.rss", tmp_path]).articles


def test_what_is_no_feed_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.rss").write_text(RSS)
    (tmp_path / "b.xml").write_text("this is no feed")
    (tmp_path / "c.html").write_text("")
    (tmp_path / "d.html").write_text("<html><nav>Home</nav></html>")
    found = read([tmp_path])
    assert len(found.articles) == 1
    told = "\n".join(found.problems)
    assert "b.xml is no RSS or Atom feed" in told
    assert "c.html is no HTML page" in told
    assert "d.html: has no text besides menus" in told


@pytest.mark.parametrize("content", [None, "nothing"])
def test_no_article_at_all_is_an_error(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "a.rss"
    if content is not None:
        path.write_text(content)
    with pytest.raises(FeedError, match=r"there is no"):
        read([path])


def test_markup_becomes_paragraphs() -> None:
    assert plain("hi <b>x</b>!<!-- c --> y<br>z<ul><li>1</li><li>2 &amp; 3</li></ul> end <script>bad()</script>") == (
        "hi x! y\n\nz\n\n1\n\n2 & 3\n\nend"
    )
    assert plain("no markup,\n\njust text") == "no markup,\n\njust text"
    assert plain("  ") == ""


def test_copies_have_ids_of_their_own_and_say_what_they_are() -> None:
    article = Article("a", "f", "Title", "u", datetime(2026, 3, 2, tzinfo=UTC), "en", "One.\n\nTwo.")
    whole, first, second = parts([article])
    assert whole is article
    assert [(part.title, part.content) for part in (first, second)] == [
        ("Title (1 of 2)", "One."),
        ("Title (2 of 2)", "Two."),
    ]
    same, copy = editions([article], 2)
    assert same is article
    assert (copy.title, copy.published_at) == ("Title (no 2)", datetime(2026, 3, 3, tzinfo=UTC))
    assert len({article.article_id, first.article_id, second.article_id, copy.article_id}) == 4
