"""The HTTP summarizer against a real server on the loopback: what it sends, and what it makes of each answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from examples.diary.chat import DEFAULT_WAIT, ChatSummarizer, wait_of
from examples.diary.summarizer import RateLimited, Refused, SummarizerError
from tests.examples.model_server import ModelServer


@pytest.fixture
def model() -> Iterator[ModelServer]:
    server = ModelServer()
    yield server
    server.close()


@pytest.fixture
def chat(model: ModelServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ChatSummarizer]]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    opened: list[ChatSummarizer] = []

    def make(**options: Any) -> ChatSummarizer:
        opened.append(ChatSummarizer(model.url, "m1", **options))
        return opened[-1]

    yield make
    for summarizer in opened:
        summarizer.close()


Chat = Callable[..., ChatSummarizer]


def test_it_asks_the_model_with_the_key_and_gives_back_its_text(model: ModelServer, chat: Chat) -> None:
    model.says_text("  It rained. \n")
    assert chat(key="secret").summarize("Rain all day.", 100) == "It rained."
    path, headers, body = model.requests[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    assert body["model"] == "m1"
    assert body["messages"][-1] == {"role": "user", "content": "Rain all day."}
    assert "100 characters" in body["messages"][0]["content"]


def test_without_a_key_no_key_is_sent(model: ModelServer, chat: Chat) -> None:
    model.says_text("ok")
    chat().summarize("x", 10)
    assert "Authorization" not in model.requests[0][1]


def test_the_address_may_name_the_endpoint_itself() -> None:
    summarizer = ChatSummarizer("http://127.0.0.1:1/v1/chat/completions/", "m1")
    assert summarizer.url == "http://127.0.0.1:1/v1/chat/completions"
    summarizer.close()


def test_an_answer_without_end_is_cut(model: ModelServer, chat: Chat) -> None:
    model.says_text("x" * 100_000)
    assert len(chat().summarize("x", 100)) == 400


def test_429_says_how_long_to_wait(model: ModelServer, chat: Chat) -> None:
    model.says(429, {"error": {"message": "slow down"}}, Retry_After="17")
    with pytest.raises(RateLimited) as caught:
        chat().summarize("x", 10)
    assert caught.value.delay == 17


NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("17", 17),
        (" 2.5 ", 2.5),
        (format_datetime(NOW.replace(minute=1), usegmt=True), 60),
        ("Sat, 01 Mar 2025 12:00:30 -0000", 30),
        ("Sat, 01 Mar 2025 11:00:00 GMT", 1),  # a moment that has passed: not at once, all the same
        ("0", 1),
        ("-5", 1),
        ("31536000", 3600),
        ("inf", 3600),
        ("nan", DEFAULT_WAIT),
        ("soon", DEFAULT_WAIT),
        ("", DEFAULT_WAIT),
        (None, DEFAULT_WAIT),
    ],
)
def test_retry_after_is_seconds_or_a_date_within_reason(header: str | None, wait: float) -> None:
    assert wait_of(header, NOW) == pytest.approx(wait)


@pytest.mark.parametrize(
    "error",
    [
        {"code": "content_filter", "message": "no"},
        {"code": "content_policy_violation"},
        {"type": "content_filter", "code": None},
        {"code": "bad_request", "innererror": {"code": "ResponsibleAIPolicyViolation"}},
    ],
)
def test_a_400_with_a_policy_code_is_a_refusal(model: ModelServer, chat: Chat, error: dict[str, Any]) -> None:
    model.says(400, {"error": error})
    with pytest.raises(Refused):
        chat().summarize("x", 10)


def test_a_filtered_answer_and_a_stated_refusal_are_refusals(model: ModelServer, chat: Chat) -> None:
    model.says_text("half a sent", finish_reason="content_filter")
    with pytest.raises(Refused, match="filtered"):
        chat().summarize("x", 10)
    model.says_text(None, refusal="I cannot help with that.")
    with pytest.raises(Refused, match="cannot help"):
        chat().summarize("x", 10)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"oops"),
        (502, b"<html>bad gateway</html>"),
        (503, {"error": {"message": "overloaded"}}),
        (400, {"error": {"code": "context_length_exceeded"}}),
        (401, {"error": "no key"}),
        (404, []),
        (302, b""),
        (200, b"not json"),
        (200, {"choices": []}),
        (200, {"choices": [{"message": {"content": "  "}, "finish_reason": "length"}]}),
    ],
)
def test_anything_else_is_an_error_that_may_pass(model: ModelServer, chat: Chat, status: int, body: Any) -> None:
    model.says(status, body)
    with pytest.raises(SummarizerError):
        chat().summarize("x", 10)


def test_a_server_that_does_not_answer_times_out(model: ModelServer, chat: Chat) -> None:
    model.hang.clear()
    with pytest.raises(httpx.TimeoutException):
        chat(timeout=httpx.Timeout(0.2)).summarize("x", 10)


def test_no_server_is_an_error_that_may_pass(model: ModelServer, chat: Chat) -> None:
    summarizer = chat()
    model.close()
    with pytest.raises(httpx.TransportError):
        summarizer.summarize("x", 10)
