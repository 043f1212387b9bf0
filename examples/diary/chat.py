"""A summarizer behind HTTP: any server that speaks OpenAI's chat completions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
from pydantic import BaseModel, Field, ValidationError

from examples.diary.summarizer import RateLimited, Refused, SummarizerError

#: Seconds to connect, and to wait for the answer (a model may think for a while).
TIMEOUT = httpx.Timeout(60.0, connect=5.0)
#: Seconds to wait after a 429 that names no time; and the shortest and longest wait that is believed.
DEFAULT_WAIT, SHORTEST_WAIT, LONGEST_WAIT = 30.0, 1.0, 3600.0
#: Codes of a 400 that mean "never this text".
POLICY_CODES = frozenset(
    {"content_filter", "content_policy_violation", "responsibleaipolicyviolation", "prohibited_content"}
)

INSTRUCTION = (
    "Summarise this diary in the language it is written in, in the first person, in plain sentences without headings, "
    "in at most {limit} characters. Add nothing that is not in it."
)


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Answer(BaseModel):
    choices: list[_Choice] = Field(min_length=1)


class ChatSummarizer:
    """Asks one model for one summary at a time; safe to share between threads."""

    def __init__(self, url: str, model: str, key: str = "", timeout: httpx.Timeout = TIMEOUT) -> None:
        self.url = url.rstrip("/").removesuffix("/chat/completions") + "/chat/completions"
        self.model_version = model
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(headers=headers, timeout=timeout)

    def summarize(self, text: str, limit: int) -> str:
        """Raises RateLimited, Refused, SummarizerError, or httpx's own errors (timeout, no connection)."""
        messages = [
            {"role": "system", "content": INSTRUCTION.format(limit=limit)},
            {"role": "user", "content": text},
        ]
        reply = self._client.post(
            self.url, json={"model": self.model_version, "messages": messages, "temperature": 0.4}
        )
        _check_status(reply)
        return _read(reply)[: 4 * limit]  # a model that does not count gets some room, not the whole column

    def close(self) -> None:
        self._client.close()


def _check_status(reply: httpx.Response) -> None:
    if reply.status_code == 429:
        raise RateLimited(wait_of(reply.headers.get("Retry-After"), datetime.now(UTC)))
    if reply.is_success:
        return
    error = _error_of(reply)
    if reply.status_code == 400 and POLICY_CODES & _codes(error):
        raise Refused(f"content policy: {str(error.get('message', ''))[:300]}")
    raise SummarizerError(f"HTTP {reply.status_code} from {reply.url}: {str(error.get('message') or reply.text)[:300]}")


def _read(reply: httpx.Response) -> str:
    try:
        choice = _Answer.model_validate_json(reply.content).choices[0]
    except ValidationError as error:
        raise SummarizerError(f"{reply.url} answered no chat completion: {error.errors()[0]['msg']}") from None
    if choice.finish_reason == "content_filter":
        raise Refused("content policy: the answer was filtered")
    if choice.message.refusal:
        raise Refused(f"the model refused: {choice.message.refusal[:300]}")
    text = (choice.message.content or "").strip()
    if not text:
        raise SummarizerError(f"{reply.url} answered an empty summary (finish_reason {choice.finish_reason})")
    return text


def _error_of(reply: httpx.Response) -> Mapping[str, Any]:
    """The `error` object of the body, or an empty one."""
    try:
        body = reply.json()
    except ValueError:
        return {}
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {}


def _codes(error: Mapping[str, Any]) -> set[str]:
    """Every code in an error object; some servers put the telling one into `innererror`."""
    inner = error.get("innererror")
    found = [error.get("code"), error.get("type"), inner.get("code") if isinstance(inner, dict) else None]
    return {str(code).casefold() for code in found if code}


def wait_of(retry_after: str | None, now: datetime) -> float:
    """Seconds that a Retry-After header asks for: a number or an HTTP date; kept between 1 s and an hour."""
    text = (retry_after or "").strip()
    try:
        wait = float(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return DEFAULT_WAIT
        wait = ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds()
    if math.isnan(wait):  # float() takes the word
        return DEFAULT_WAIT
    return min(LONGEST_WAIT, max(SHORTEST_WAIT, wait))
