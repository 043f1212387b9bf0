"""The built-in summarizer: picks the sentences that speak most of what the whole text speaks of. Any language."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Sequence

from examples.diary.sentences import sentences, terms

#: A sentence that shares more than this part of its terms with one already chosen says nothing new.
TOO_ALIKE = 0.5
#: A sentence with less than this part of the best one's score is no filler for the room that is left.
WORTH_SAYING = 0.5


class ExtractiveSummarizer:
    """Chooses whole sentences and keeps their order; the words are the writer's own.

    A sentence scores by the weights of its terms over the whole text (frequent here, but not in every sentence:
    TF-IDF against the text's own sentences), divided by a power of its length so that long ones do not always win.
    Short words weigh less: in every language written with spaces the little words are the ones that say nothing.
    """

    model_version = "extractive-1"

    def summarize(self, text: str, limit: int) -> str:
        """At most `limit` characters, wide ones (Chinese, Japanese, Korean) counted twice: they say twice as much.

        A text that is short enough is its own summary.
        """
        if limit < 1:
            raise ValueError(f"limit {limit}: a summary needs room for at least one character")
        if width(text.strip()) <= limit:
            return text.strip()
        found = sentences(text)
        bags = [frozenset(terms(sentence)) for sentence in found]
        chosen = _choose(found, bags, _scores(found, bags), limit)
        if not chosen:  # no sentence fits: the beginning of the first one
            return _cut(found[0], limit)
        return join([found[index] for index in sorted(chosen)])


def _scores(found: Sequence[str], bags: Sequence[frozenset[str]]) -> list[float]:
    """How much each sentence says of the whole, by position."""
    spread = Counter(term for bag in bags for term in bag)
    count = Counter(term for sentence in found for term in terms(sentence))
    weight = {
        term: min(1.0, width(term) / 6 + 0.2) * math.log(count[term] + 0.5) * math.log((1 + len(found)) / spread[term])
        for term in spread
    }
    scores = [sum(weight[term] for term in bag) / (len(bag) + 8) ** 0.75 for bag in bags]
    if scores:
        scores[0] *= 1.2  # a diary's first sentence says where the day went
    return scores


def _choose(found: Sequence[str], bags: Sequence[frozenset[str]], scores: Sequence[float], limit: int) -> set[int]:
    """Positions of the best sentences that fit together and do not repeat each other."""
    chosen: set[int] = set()
    room, best = limit, max(scores, default=0.0)
    for index in sorted(range(len(found)), key=lambda i: (-scores[i], i)):
        if chosen and (room < limit // 10 or scores[index] < WORTH_SAYING * best):
            break
        size = width(found[index]) + (1 if chosen else 0)
        if size <= room and bags[index] and not any(_alike(bags[index], bags[other]) for other in chosen):
            chosen.add(index)
            room -= size
    return chosen


def _alike(one: frozenset[str], other: frozenset[str]) -> bool:
    return len(one & other) > TOO_ALIKE * min(len(one), len(other))


def _cut(sentence: str, limit: int) -> str:
    """The sentence's beginning, ended at a space when there is one, with an ellipsis."""
    head = ""
    for char in sentence:
        if width(head) + width(char) > limit - 1:
            break
        head += char
    else:
        return sentence
    space = head.rfind(" ")
    return (head[:space] if space > limit // 2 else head).rstrip() + "…"


def width(text: str) -> int:
    """The text's length with wide characters counted twice."""
    return len(text) + sum(unicodedata.east_asian_width(char) in "WF" for char in text)


def join(chosen: Sequence[str]) -> str:
    """Sentences as running text: a space between them, except after a full-width stop, which brings its own."""
    text = ""
    for sentence in chosen:
        text += sentence if not text or ord(text[-1]) > 0x2E80 else " " + sentence
    return text
