"""The hub's client: Connect's JSON over one pooled HTTP client. Any language that can POST can do the same."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from examples.alt.events import GeneratedTag
from examples.alt.settings import BackendSettings
from streamtask import Event

#: Seconds. A call that waits for somebody's work has a limit of its own, above what it asks for.
TIMEOUT = 10.0
#: Events in one call, at most; the hub takes so many.
MAX_BATCH = 1000
_SERVICE = "/services.mqhub.v1.MQHubService/"
#: Codes after which the same call may succeed later.
_PASSING = frozenset({"unavailable", "deadline_exceeded", "resource_exhausted", "aborted", "canceled"})


class HubError(Exception):
    """The hub did not do what it was asked. `passing`: later it may."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message

    @property
    def passing(self) -> bool:
        return self.code in _PASSING


class HubOff(Exception):
    """MQHUB_ENABLED is false: there is no client that would swallow events instead."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a batch: an id for each event that the hub took, an error for each that it did not."""

    ids: dict[int, str]
    errors: dict[int, HubError]


@dataclass(frozen=True, slots=True)
class Answer:
    """The tags that a worker made while we waited."""

    success: bool
    article_id: str
    tags: list[GeneratedTag]
    inference_ms: float
    error: str


class HubClient:
    """One for a process: it keeps its connections open, and `aclose` closes them."""

    def __init__(self, settings: BackendSettings, *, connections: int = 20) -> None:
        """Raises HubOff when the hub is switched off: whoever has no client cannot believe that it published."""
        if not settings.mqhub_enabled:
            raise HubOff("MQHUB_ENABLED is false: there is no hub to publish to")
        self._http = httpx.AsyncClient(
            base_url=settings.mqhub_connect_url,
            headers=_authorization(settings.mqhub_token_file),
            timeout=TIMEOUT,
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            trust_env=False,  # the hub is a neighbour: no proxy of the environment stands between
        )

    async def publish(self, event: Event) -> str:
        """Publish one event; returns its entry id. Raises HubError."""
        answer = await self._call("Publish", {"stream": topic_of(event), "event": to_json(event)})
        return str(answer.get("messageId", ""))

    async def publish_batch(self, topic: str, events: Sequence[Event]) -> Taken:
        """Publish events of one topic in one call. Raises HubError when none was taken, or nobody knows."""
        if len(events) > MAX_BATCH:
            raise ValueError(f"{len(events)} events in one batch; the hub takes {MAX_BATCH}")
        try:
            answer = await self._call("PublishBatch", {"stream": topic, "events": [to_json(event) for event in events]})
        except PartlyTaken as partly:
            answer = partly.answer
        ids = {index: id for index, id in enumerate(answer.get("messageIds", [])) if id}
        errors = {
            int(error.get("index", 0)): HubError("unavailable", error.get("errorMessage", "the hub does not say why"))
            for error in answer.get("errors", [])
        }
        for index in range(len(events)):
            if index not in ids:
                errors.setdefault(index, HubError("unavailable", "the hub returned no id for this event"))
        return Taken(ids, errors)

    async def generate_tags(
        self, article_id: str, title: str, content: str, feed_id: str = "", timeout: float = 10.0
    ) -> Answer:
        """Have a tag generator tag this text now, and wait for it. Raises HubError."""
        asked = {"articleId": article_id, "title": title, "content": content, "feedId": feed_id}
        answer = await self._call(
            "GenerateTagsForArticle", {**asked, "timeoutMs": int(timeout * 1000)}, timeout=timeout + TIMEOUT
        )
        tags = [
            GeneratedTag(id=tag.get("id", ""), name=tag.get("name", ""), confidence=float(tag.get("confidence", 0)))
            for tag in answer.get("tags", [])
        ]
        return Answer(
            bool(answer.get("success", False)),
            str(answer.get("articleId", "")),
            tags,
            float(answer.get("inferenceMs", 0)),
            str(answer.get("errorMessage", "")),
        )

    async def healthy(self) -> bool:
        """Does the hub answer, and reach its Redis?"""
        try:
            return bool((await self._call("HealthCheck", {})).get("healthy", False))
        except HubError:
            return False

    async def _call(self, method: str, body: Mapping[str, Any], timeout: float = TIMEOUT) -> dict[str, Any]:
        try:
            response = await self._http.post(_SERVICE + method, json=body, timeout=timeout)
            answer = response.json()
        except httpx.TimeoutException:
            raise HubError("deadline_exceeded", f"the hub did not answer within {timeout:g} s") from None
        except httpx.HTTPError as error:
            raise HubError("unavailable", f"the hub cannot be reached: {type(error).__name__}") from error
        except ValueError:
            answer = None
        if response.is_success and isinstance(answer, dict):
            return answer
        if response.is_success or not isinstance(answer, dict):  # a proxy, or no hub at all
            raise HubError("unavailable", f"HTTP {response.status_code}, and the answer is no JSON of a hub")
        partly = _partial(answer)
        if partly is not None:
            raise PartlyTaken(partly)
        raise HubError(str(answer.get("code", "unknown")), str(answer.get("message", f"HTTP {response.status_code}")))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class PartlyTaken(Exception):
    """An error whose details say which events of a batch were taken."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__("the hub took a part of the batch")
        self.answer = answer


def _partial(answer: Mapping[str, Any]) -> dict[str, Any] | None:
    """The PublishBatchResponse in the details of an error (their `debug` is its JSON)."""
    for detail in answer.get("details", []):
        if isinstance(detail, dict) and str(detail.get("type", "")).endswith("PublishBatchResponse"):
            shown = detail.get("debug")
            if isinstance(shown, dict):
                return shown
    return None


def topic_of(event: Event) -> str:
    """The topic that the event's class names."""
    kind = type(event).__event__
    if kind is None:
        raise TypeError(f"{type(event).__name__} names no topic, so it cannot be published")
    return kind.topic


def to_json(event: Event) -> dict[str, Any]:
    """The event as the hub's JSON has it: the envelope, and the payload as base64 of its JSON."""
    made: dict[str, Any] = {
        "eventId": event.meta.id,
        "eventType": event.meta.type,
        "source": event.meta.source,
        "createdAt": event.meta.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "payload": b64encode(event.model_dump_json().encode()).decode(),
    }
    if event.meta.metadata:
        made["metadata"] = dict(event.meta.metadata)
    return made


def _authorization(token_file: Path | None) -> dict[str, str]:
    """The header with the token of that file: a secret stands in no command line and no log."""
    if token_file is None:
        return {}
    try:
        token = token_file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise HubError("unauthenticated", f"MQHUB_TOKEN_FILE {str(token_file)!r} cannot be read: {error}") from None
    return {"Authorization": f"Bearer {token}"}
