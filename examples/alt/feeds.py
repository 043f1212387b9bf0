"""Articles from RSS and Atom feeds and from HTML pages: files, or folders of them."""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import feedparser
import justext
import lxml.html
from lxml.etree import ParserError, iterwalk

from examples.alt.articles import Article, article_id

#: The feeds and pages that come with the example.
BUNDLED = Path(__file__).parent / "data"
FEEDS, PAGES = frozenset({".rss", ".atom", ".xml"}), frozenset({".html", ".htm"})
#: Bytes; a larger file is no feed that somebody wrote.
LARGEST = 20 * 2**20

_BLOCKS = frozenset(
    ["address", "article", "blockquote", "dd", "div", "dt", "figcaption", "h1", "h2", "h3", "h4", "h5", "h6", "li", "p",
     "pre", "section", "td", "tr"]
)  # fmt: skip
_LANGUAGES = {"da": "Danish", "de": "German", "en": "English", "es": "Spanish", "fr": "French", "it": "Italian",
              "nl": "Dutch", "pl": "Polish", "pt": "Portuguese", "sv": "Swedish"}  # fmt: skip


class FeedError(Exception):
    """There is nothing to read: no such file, or no article in it."""


@dataclass(frozen=True, slots=True)
class Found:
    """The articles of some files, and a line for each entry or file that gave none."""

    articles: list[Article]
    problems: list[str]


def read(paths: Iterable[Path] = (BUNDLED,)) -> Found:
    """All articles of these files and folders, in the order of their names; the first of two with one id stands.

    Raises FeedError when a path cannot be read, or when there is not a single article.
    """
    articles: dict[str, Article] = {}
    problems: list[str] = []
    for file in _files(paths):
        try:
            found = list(_read_file(file))
        except FeedError as error:
            problems.append(str(error))
            continue
        for article in found:
            if isinstance(article, str):
                problems.append(f"{file.name}: {article}")
            elif article.article_id not in articles:
                articles[article.article_id] = article
    if not articles:
        raise FeedError("\n".join(["there is no article in the given feeds and pages", *problems[:20]]))
    return Found(list(articles.values()), problems)


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if file.suffix.lower() in FEEDS | PAGES)
        elif path.is_file():
            yield path
        else:
            raise FeedError(f"there is no file or folder {path}")


def _read_file(file: Path) -> Iterator[Article | str]:
    """The file's articles, and a text for each entry that is none."""
    try:
        if file.stat().st_size > LARGEST:
            raise FeedError(f"{file} is larger than {LARGEST // 2**20} MiB")
        data = file.read_bytes()
    except OSError as error:
        raise FeedError(f"{file} cannot be read: {error.strerror}") from None
    return _page(data, file) if file.suffix.lower() in PAGES else _feed(data, file)


def _feed(data: bytes, file: Path) -> Iterator[Article | str]:
    parsed = feedparser.parse(data)  # bytes: a path would be taken for an address first
    if not parsed.version and not parsed.entries:
        raise FeedError(f"{file} is no RSS or Atom feed: {parsed.get('bozo_exception', 'nothing in it is known')}")
    feed_id = urlsplit(parsed.feed.get("link", "")).hostname or file.stem
    spoken = parsed.feed.get("language", "")
    for number, entry in enumerate(parsed.entries, start=1):
        title, content = _line(entry.get("title", "")), _content(entry)
        key = entry.get("id") or entry.get("link") or title
        if not key or not (title or content):
            yield f"entry {number} has neither title nor text"
            continue
        yield Article(
            article_id=article_id(feed_id, key),
            feed_id=feed_id,
            title=title or content.partition("\n")[0][:120],
            url=entry.get("link", ""),
            published_at=_moment(entry),
            language=_language(spoken or entry.get("content", [{}])[0].get("language") or ""),
            content=content,
        )


def _content(entry: Any) -> str:
    """The longest text that the entry brings: feeds put it into `content` or `description`, or shorten one of them."""
    texts = [part.get("value", "") for part in entry.get("content", [])] + [entry.get("summary", "")]
    return max((plain(text) for text in texts), key=len)


def _moment(entry: Any) -> datetime | None:
    told = entry.get("published_parsed") or entry.get("updated_parsed")
    return datetime.fromtimestamp(timegm(told), UTC) if told else None


def _page(data: bytes, file: Path) -> Iterator[Article | str]:
    """The one article of a page: its paragraphs without the menus and footers around them."""
    try:
        page = lxml.html.document_fromstring(data)
    except (ParserError, ValueError) as error:
        raise FeedError(f"{file} is no HTML page: {error}") from None
    language = _language(page.get("lang") or "")
    paragraphs = [part.text for part in _paragraphs(data, language) if not part.is_heading]
    title = _meta(page, "og:title") or _line(page.findtext(".//title") or "")
    url = "".join(page.xpath("//link[@rel='canonical']/@href")[:1])
    if not paragraphs:
        yield "has no text besides menus"
        return
    feed_id = urlsplit(url).hostname or file.parent.name
    yield Article(
        article_id=article_id(feed_id, url or file.name),
        feed_id=feed_id,
        title=title or paragraphs[0][:120],
        url=url or file.absolute().as_uri(),
        published_at=_iso(_meta(page, "article:published_time")),
        language=language,
        content="\n\n".join(_line(text) for text in paragraphs),
    )


def _paragraphs(data: bytes, language: str) -> list[Any]:
    """The page's paragraphs that are text. Where the language is not known, its little words cannot help to tell."""
    words = _stop_words(language)
    limits = {} if words else {"stopwords_low": 0, "stopwords_high": 0}
    return [part for part in justext.justext(data, words, **limits) if not part.is_boilerplate]


@cache
def _stop_words(language: str) -> frozenset[str]:
    return justext.get_stoplist(_LANGUAGES[language]) if language in _LANGUAGES else frozenset()


def _meta(page: Any, name: str) -> str:
    return _line("".join(page.xpath("//meta[@property=$name or @name=$name]/@content", name=name)[:1]))


def _iso(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _language(tag: str) -> str:
    """`de` of `de-CH`."""
    return re.split(r"[-_]", tag.strip().lower(), maxsplit=1)[0]


def _line(text: str) -> str:
    return " ".join(text.split())


def plain(markup: str) -> str:
    """The text of a piece of HTML, an empty line between its blocks; text without markup stays as it is."""
    if not markup.strip():
        return ""
    root = lxml.html.fragment_fromstring(markup.replace("\x00", ""), create_parent="div")
    for hidden in root.xpath("//script | //style"):
        hidden.drop_tree()
    pieces = [""]
    for event, element in _walk(root):
        if element.tag in _BLOCKS or element.tag == "br":
            pieces.append("")
        pieces[-1] += (element.text if event == "start" else element.tail) or ""
    return "\n\n".join(filter(None, (_line(piece) for piece in "\n\n".join(pieces).split("\n\n"))))


def _walk(root: Any) -> Iterator[tuple[str, Any]]:
    """Each element before its text and before its tail; a comment has only a tail."""
    for event, element in iterwalk(root, events=("start", "end", "comment")):
        if event == "comment":
            yield "end", element
        else:
            yield event, element
