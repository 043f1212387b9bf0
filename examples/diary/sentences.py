"""Text in any language as sentences and as terms, by what Unicode says of its characters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

#: Ends a sentence wherever it stands: the full stops of scripts that use them for nothing else.
FULL_STOPS = frozenset("。！？｡‼⁇⁈⁉؟۔।॥።፧፨။។៕᠃᠉։")
#: Ends a sentence when a space or the text's end follows: these also stand in numbers, initials and dots.
STOPS = frozenset(".!?…")
_OPEN, _CLOSE = "「『（【《〈([{", "」』）】》〉)]}"
#: A bracket that is still open after so many characters was never closed.
_LONGEST_ASIDE = 300
_QUOTES = frozenset("\"'”’»›") | frozenset(_CLOSE)

#: Scripts written without spaces between words: there a term is a pair of neighbouring characters.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]+"
)
_HIRAGANA = re.compile("[\u3040-\u309f]+")
_WORD = re.compile(r"\w+(?:['’]\w+)*")


def sentences(text: str) -> list[str]:
    """The text's sentences in order, each on one line; never an empty one."""
    found = []
    for paragraph in re.split(r"\n\s*\n", unicodedata.normalize("NFC", text)):
        start = 0
        for end in _ends(paragraph):
            found.append(paragraph[start:end])
            start = end
        found.append(paragraph[start:])
    return [line for line in (" ".join(piece.split()) for piece in found) if line]


def _ends(text: str) -> Iterator[int]:
    """Positions just after each sentence of a paragraph, with the quotes that close it."""
    depth = opened = 0
    index = 0
    while index < len(text):
        char = text[index]
        index += 1
        if depth and index - opened > _LONGEST_ASIDE:
            depth = 0
        if char in _OPEN:
            depth, opened = depth + 1, index
        elif char in _CLOSE:
            depth = max(0, depth - 1)
        elif depth == 0 and (char in FULL_STOPS or (char in STOPS and _is_end(text, index))):
            while index < len(text) and (text[index] in _QUOTES or text[index] in FULL_STOPS or text[index] in STOPS):
                index += 1
            yield index
        elif char == "\n" and index > 1 and _UNSPACED.match(text[index - 2]) is not None and depth == 0:
            yield index  # a line break inside a text without spaces is no word wrap: it ends a line


def _is_end(text: str, index: int) -> bool:
    """Does the stop before `index` end a sentence? Not within `3.5` or `e.g.`, nor after `Mr` or an initial."""
    rest = text[index:].lstrip("".join(_QUOTES | STOPS))
    if rest and not rest[0].isspace():
        return False
    if text[index - 1] != ".":
        return True
    following = rest.lstrip()[:1]
    if following.islower():
        return False
    word = re.search(r"(\w+)\.$", text[max(0, index - 12) : index])
    short = word is not None and len(word[1]) <= 3 and word[1][0].isupper() and not word[1].isupper()
    initial = word is not None and len(word[1]) == 1 and word[1].isupper() and word[1] != "I"
    return not (short or initial)


def terms(sentence: str) -> Iterator[str]:
    """What a sentence speaks of: its words in lower case, or pairs of characters where words are not spaced."""
    for word in _WORD.finditer(unicodedata.normalize("NFKC", sentence).casefold()):
        rest = word[0]
        for run in _UNSPACED.findall(rest):
            yield from _pairs(run)
        for part in _UNSPACED.split(rest):
            if len(part) > 1:
                yield part


def _pairs(run: str) -> Iterator[str]:
    if len(run) == 1:
        yield run
    for index in range(len(run) - 1):
        pair = run[index : index + 2]
        if not _HIRAGANA.fullmatch(pair):  # endings and particles: they stand in every sentence
            yield pair
