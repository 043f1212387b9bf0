"""Tags for a text: its key phrases, as YAKE finds them (statistics of the text itself, no model, no network)."""

from __future__ import annotations

import re
from functools import cache

from yake_rust import Yake

from examples.alt.events import GeneratedTag

#: Languages whose little words YAKE knows. It aborts on others, so they are never asked for.
SPOKEN = ("en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "pl")
#: How many tags an article gets at most.
LIMIT = 6
_WORD = re.compile(r"\w+")


def tags_of(title: str, content: str, language: str = "", limit: int = LIMIT) -> tuple[GeneratedTag, ...]:
    """The best key phrases of one or two words, best first; () for a text without any.

    YAKE's scores are small for good phrases; a confidence is 1 for the best there can be, and falls towards 0.
    """
    text = f"{title}.\n\n{content}".replace("\x00", " ")
    found: dict[str, GeneratedTag] = {}
    for phrase, score in _yake(language if language in SPOKEN else guess(text)).get_n_best(text, n=4 * limit):
        name = " ".join(phrase.casefold().split())
        tag_id = "-".join(_WORD.findall(name))
        if tag_id and not tag_id.replace("-", "").isdigit():
            found.setdefault(tag_id, GeneratedTag(id=tag_id, name=name, confidence=round(1 / (1 + 4 * score), 4)))
    return tuple(found.values())[:limit]


def guess(text: str) -> str:
    """The language whose little words are the most in it; English when none are."""
    words = _WORD.findall(text[:5000].casefold())
    return max(SPOKEN, key=lambda language: sum(word in _little_words(language) for word in words))


@cache
def _little_words(language: str) -> frozenset[str]:
    return frozenset(_yake(language).stopwords)


@cache
def _yake(language: str) -> Yake:
    return Yake(language=language, ngrams=2, deduplication_threshold=0.8, minimum_chars=3)
