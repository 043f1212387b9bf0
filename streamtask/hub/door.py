"""The JSON door: tasks and events for whoever can send HTTP, without protobuf and without a client library."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route

from streamtask.hub.access import Access
from streamtask.hub.exchange import EXCHANGE
from streamtask.hub.models import STREAM, TASK, NewEvent, TaskCall
from streamtask.hub.openapi import document
from streamtask.hub.publisher import Draft, Publisher
from streamtask.hub.refusal import CodeName, Refusal
from streamtask.hub.tasks import Tasks
from streamtask.options import CallOptionsDict

STATUS: Mapping[CodeName, int] = {
    "invalid_argument": 400, "unauthenticated": 401, "permission_denied": 403, "not_found": 404, "unimplemented": 404,
    "failed_precondition": 409, "resource_exhausted": 413, "unavailable": 503,
}  # fmt: skip
_CALL = TypeAdapter(TaskCall)
_EVENT, _EVENTS = TypeAdapter(NewEvent), TypeAdapter(list[NewEvent])

T = TypeVar("T")


class Problem(Exception):
    """An answer by RFC 9457; `more` are its members beside the usual ones."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.more = status, detail, headers, more

    def response(self) -> Response:
        """As it is sent."""
        body = {"type": "about:blank", "title": HTTPStatus(self.status).phrase, "status": self.status}
        content = to_json({**body, "detail": self.detail, **self.more})
        return Response(content, self.status, self.headers, "application/problem+json")


class Door:
    """What is below /v1/. `max_body`: bytes of a request at most."""

    def __init__(self, tasks: Tasks, publisher: Publisher, access: Access, max_body: int, max_batch: int) -> None:
        self._tasks, self._publisher, self._access = tasks, publisher, access
        self._max_body = max_body
        self._document = to_json(document(max_batch), indent=1)
        self._routes = [
            Route("/v1/tasks/{name:path}", self._task, methods=["POST"]),
            Route("/v1/topics/{name:path}", self._topic, methods=["POST"]),
            Route("/v1/openapi.json", self._openapi, methods=["GET"]),
        ]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve a request."""
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except Problem as problem:
            response = problem.response()
        except Refusal as refusal:
            response = _refused(refusal)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        for route in self._routes:
            match, found = route.matches(request.scope)
            if match is not Match.NONE:
                request.scope.update(found)
                if match is Match.PARTIAL:
                    allow = ", ".join(sorted(route.methods or ()))
                    raise Problem(405, f"{request.method} is not for this; {allow} is", {"allow": allow})
                answer: Response = await route.endpoint(request)
                return answer
        raise Problem(404, "there is nothing here; see /v1/openapi.json")

    async def _openapi(self, _: Request) -> Response:
        return Response(self._document, media_type="application/json")

    async def _task(self, request: Request) -> Response:
        call: TaskCall = _parsed(_CALL, await self._read(request))
        options: dict[str, Any] = {
            name: getattr(call, name)
            for name in ("countdown", "eta", "expires", "queue", "message_id", "headers")
            if getattr(call, name) is not None
        }
        sent = await self._tasks.send(_name(request, TASK), call.args, cast("CallOptionsDict", options))
        return _accepted({"id": sent.id, "task": sent.task, "queue": sent.queue, "duplicate": sent.duplicate})

    async def _topic(self, request: Request) -> Response:
        body = await self._read(request)
        events = _parsed(_EVENTS, body) if body.lstrip()[:1] == b"[" else [_parsed(_EVENT, body)]
        drafts = [_draft(event) for event in events]
        done = await self._publisher.batch(_name(request, STREAM), drafts)
        rows = [
            {"event_id": draft.event_id, "entry_id": entry_id or None}
            for draft, entry_id in zip(drafts, done.ids, strict=True)
        ]
        if done.errors:
            EXCHANGE.get().code = "unavailable"
            raise Problem(503, f"{len(done.errors)} of {len(rows)} events were not published", events=rows)
        return _accepted({"events": rows})

    async def _read(self, request: Request) -> bytes:
        """The body, once it is clear who sends it."""
        self._access.admit(EXCHANGE.get(), request.headers.get("authorization", ""))
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media != "application/json":
            raise Problem(415, "send application/json", {"accept-post": "application/json"})
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Problem(415, "send it uncompressed", {"accept-encoding": "identity"})
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > self._max_body:
                raise Problem(413, f"the body has more than {self._max_body:,} bytes (--max-body)")
        return bytes(body)


def _parsed(kind: TypeAdapter[T], body: bytes) -> T:
    """What the body holds; Problem for what is not as the document says."""
    try:
        return kind.validate_json(body)
    except ValidationError as error:
        errors = [
            {"at": "/".join(map(str, one["loc"])), "problem": one["msg"]}
            for one in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise Problem(400, "the body is not as /v1/openapi.json says", errors=errors) from None


def _name(request: Request, pattern: str) -> str:
    """The name in the path, where it is one that the document allows: others change on the way through some proxy."""
    name: str = request.path_params["name"]
    if not re.fullmatch(pattern, name):
        raise Problem(400, f"the name in the path must match {pattern}")
    return name


def _draft(event: NewEvent) -> Draft:
    payload = to_json(event.payload) if "payload" in event.model_fields_set else b""
    id = event.id if event.id is not None else str(uuid.uuid4())
    return Draft(id, event.type, event.source, event.created_at, payload, event.metadata)


def _accepted(content: Mapping[str, Any]) -> Response:
    return Response(to_json(content), 202, media_type="application/json")


def _refused(refusal: Refusal) -> Response:
    EXCHANGE.get().code = refusal.code
    status = STATUS.get(refusal.code, 500)
    headers = {"www-authenticate": "Bearer"} if status == 401 else None
    return Problem(status, refusal.text, headers).response()
