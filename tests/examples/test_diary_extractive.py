"""The built-in summarizer: whole sentences, in order, within the limit, in any script."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.diary.extractive import ExtractiveSummarizer, width
from examples.diary.load import BUNDLED
from examples.diary.sentences import sentences, terms

SUMMARIZER = ExtractiveSummarizer()
DIARIES = [json.loads(line)["content"] for line in BUNDLED.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It rained. We stayed in! Did we? Yes…", ["It rained.", "We stayed in!", "Did we?", "Yes…"]),
        ("It cost 3.50 at 10.30 p.m. on the day. Dear.", ["It cost 3.50 at 10.30 p.m. on the day.", "Dear."]),
        ("Mr. Hale met J. S. Bach. Then he left.", ["Mr. Hale met J. S. Bach.", "Then he left."]),
        ('"Sit down." He sat.', ['"Sit down."', "He sat."]),
        ("She laughed (it was late. Very late.) and went.", ["She laughed (it was late. Very late.) and went."]),
        ("雨が降った。傘がない！どうする？", ["雨が降った。", "傘がない！", "どうする？"]),
        ("母は「寒い。早く入りなさい」と言った。入った。", ["母は「寒い。早く入りなさい」と言った。", "入った。"]),
        ("今天下雨了。我们在家。", ["今天下雨了。", "我们在家。"]),
        ("बारिश हुई। हम घर पर थे।", ["बारिश हुई।", "हम घर पर थे।"]),
        ("ذهبت إلى السوق. هل اشتريت شيئا؟ لا.", ["ذهبت إلى السوق.", "هل اشتريت شيئا؟", "لا."]),
        ("Один. Два.", ["Один.", "Два."]),
        ("one line\nwrapped here.\n\nA title\n\nText.", ["one line wrapped here.", "A title", "Text."]),
        ("一行目\n二行目\n", ["一行目", "二行目"]),
        ("( never closed. " + "x" * 320 + ". Ended. Fine.", ["( never closed. " + "x" * 320 + ".", "Ended.", "Fine."]),
        (" \n ", []),
    ],
)
def test_sentences_end_where_their_script_ends_them(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_terms_are_words_where_words_are_spaced_and_pairs_where_they_are_not() -> None:
    assert list(terms("The Café's 2 doors")) == ["the", "café's", "doors"]
    assert list(terms("図書館の本")) == ["図書", "書館", "館の", "の本"]
    assert list(terms("ありがとう")) == []
    assert list(terms("ＡＢＣ and ﾃﾚﾋﾞ")) == ["abc", "and", "テレ", "レビ"]
    assert list(terms("ฝนตก")) == ["ฝน", "นต", "ตก"]


@pytest.mark.parametrize("limit", [60, 200, 400, 900])
@pytest.mark.parametrize("number", range(0, len(DIARIES), 5))
def test_a_summary_is_made_of_the_diarys_own_sentences_in_order(number: int, limit: int) -> None:
    text = DIARIES[number]
    summary = SUMMARIZER.summarize(text, limit)
    assert 0 < width(summary) <= limit
    if width(text) <= limit:
        assert summary == text
        return
    if summary.endswith("…"):
        assert sentences(text)[0].startswith(summary[:-1].rstrip())
        return
    position = 0
    for sentence in sentences(summary):
        position = " ".join(text.split()).replace("。 ", "。").find(sentence, position)
        assert position >= 0, sentence


def test_it_chooses_what_the_text_is_about() -> None:
    text = (
        "The harbour froze on Monday. My left shoe pinched. By Tuesday the harbour ice carried a horse. "
        "Soup for lunch. On Wednesday the whole town walked over the frozen harbour. I mended a sock. "
        "The ice in the harbour broke on Thursday with a sound like thunder."
    )
    summary = SUMMARIZER.summarize(text, 150)
    assert "harbour" in summary
    assert not {"shoe", "Soup", "sock"} & set(summary.replace(".", "").split())


def test_it_chooses_in_japanese_as_well() -> None:
    text = (
        "図書館は雪で休館した。靴下に穴があいた。図書館の本が雪で濡れた。昼は蕎麦。"
        "濡れた本を図書館のストーブで乾かした。眠い。"
    )
    assert "図書館" in SUMMARIZER.summarize(text, 60)
    assert "靴下" not in SUMMARIZER.summarize(text, 60)


def test_it_does_not_say_the_same_thing_twice() -> None:
    text = (
        "The bakery oven broke in the night. " * 5
        + "Jonas repaired the bakery chimney himself. "
        + "Then we slept. " * 5
    )
    assert SUMMARIZER.summarize(text, 120).count("oven broke") == 1


@given(st.text(), st.integers(1, 300))
def test_any_text_has_a_summary_within_the_limit(text: str, limit: int) -> None:
    summary = SUMMARIZER.summarize(text, limit)
    assert width(summary) <= limit or limit == 1
    assert bool(summary) == bool(text.strip())
