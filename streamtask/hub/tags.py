"""`GenerateTagsForArticle`: a question goes out as an event, and its answer comes on a stream of its own."""

from __future__ import annotations

import logging
import uuid
from typing import Any

from pydantic_core import from_json, to_json

from streamtask.envelope import decode
from streamtask.hub import access, protos
from streamtask.hub.exchange import EXCHANGE
from streamtask.hub.publisher import Draft, Publisher
from streamtask.hub.redis import Away, Redis
from streamtask.hub.refusal import Refusal
from streamtask.hub.waits import Waits
from streamtask.message import Unreadable

logger = logging.getLogger("streamtask.hub")
#: Where the question goes, and the prefix of where the answer comes.
QUESTIONS, ANSWERS = "alt:events:tags", "alt:replies:tags:"
#: Milliseconds: how long is waited when nothing is asked for, and at most.
DEFAULT_MS, LONGEST_MS = 60_000, 120_000


class Tags:
    """The questions of one hub."""

    def __init__(self, redis: Redis, publisher: Publisher, waits: Waits) -> None:
        self._redis, self._publisher, self._waits = redis, publisher, waits

    async def generate(self, request: Any) -> Any:
        """Ask, wait, and answer."""
        access.need_stream(QUESTIONS)
        EXCHANGE.get().about = QUESTIONS
        wait = min(request.timeout_ms, LONGEST_MS) if request.timeout_ms > 0 else DEFAULT_MS
        with self._waits.one():
            found = await self._ask(request, wait / 1000)
        if found is None:
            raise Refusal("deadline_exceeded", "tag generation timeout")
        return _answer(*found)

    async def _ask(self, request: Any, seconds: float) -> tuple[str, list[bytes]] | None:
        correlation = str(uuid.uuid4())
        stream, answered = f"{ANSWERS}{correlation}", False
        question = {name: getattr(request, name) for name in ("article_id", "title", "content", "feed_id")}
        draft = Draft(
            str(uuid.uuid4()), "TagGenerationRequested", "mq-hub", None, to_json(question),
            {"correlation_id": correlation, "reply_to": stream},
        )  # fmt: skip
        try:
            await self._redis.open_reply(stream, seconds)
            await self._publisher.one(QUESTIONS, draft)
            found = await self._redis.wait_reply(stream, seconds)
            answered = found is not None
            return found
        except (Away, Refusal) as error:
            if isinstance(error, Refusal) and error.code != "unavailable":
                raise
            logger.warning("tag generation failed: %s", error)
            raise Refusal("unavailable", "tag generation failed") from None
        finally:
            self._waits.clean(self._redis.close_reply(stream, answered))


def _answer(entry_id: str, flat: list[bytes]) -> Any:
    """What the tag generator said; what cannot be read is said to have failed."""
    make = protos.message("services.mqhub.v1.GenerateTagsForArticleResponse")
    try:
        payload = decode(entry_id, flat).payload
        if not payload:
            return make(success=False, error_message="the reply is empty")
        said = from_json(payload)
        tag = protos.message("services.mqhub.v1.GeneratedTag")
        tags = [
            tag(id=str(one.get("id") or ""), name=str(one.get("name") or ""), confidence=_float(one.get("confidence")))
            for one in said.get("tags") or ()
        ]
        return make(
            success=bool(said.get("success")),
            article_id=str(said.get("article_id") or ""),
            tags=tags,
            inference_ms=_float(said.get("inference_ms")),
            error_message=str(said.get("error_message") or ""),
        )
    except (Unreadable, ValueError, TypeError, AttributeError, OverflowError) as error:
        logger.warning("a reply of the tag generator cannot be read: %s", error)
        return make(success=False, error_message="the reply cannot be read")


def _float(value: Any) -> float:
    return float(value or 0)
