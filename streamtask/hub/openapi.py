"""The OpenAPI document of the JSON door, written by hand: what it says is what `models` and `door` do."""

from __future__ import annotations

from typing import Any

from streamtask._version import __version__
from streamtask.hub.models import LONGEST, MESSAGE_ID, QUEUE, STREAM, TASK

_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_TIME = {"type": ["string", "null"], "format": "date-time"}
_SECONDS = {"type": ["number", "null"], "minimum": 0, "maximum": LONGEST}
_SCHEMAS: dict[str, Any] = {
    "TaskCall": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "args": {"type": "object", "description": "Arguments by parameter name."},
            "countdown": {**_SECONDS, "description": "Run it so many seconds from now."},
            "eta": {**_TIME, "description": "Run it at this time."},
            "expires": {**_SECONDS, "description": "Drop it when it is not started within so many seconds."},
            "queue": {"type": ["string", "null"], "pattern": QUEUE, "description": "Instead of the task's own."},
            "message_id": {
                "type": ["string", "null"],
                "pattern": MESSAGE_ID,
                "description": "An id of your own: sent again under it, the task is there once (for 7 days).",
            },
            "headers": {**_TEXTS, "type": ["object", "null"], "description": "Goes along, for the task to read."},
        },
        "not": {
            "properties": {"countdown": {"type": "number"}, "eta": {"type": "string"}},
            "required": ["countdown", "eta"],
        },
    },
    "NewEvent": {
        "type": "object",
        "additionalProperties": False,
        "required": ["type", "source"],
        "properties": {
            "type": {"type": "string", "minLength": 1, "maxLength": 256},
            "source": {"type": "string", "minLength": 1, "maxLength": 256},
            "id": {
                "type": ["string", "null"],
                "minLength": 1,
                "maxLength": 128,
                "description": "The event's id, the same whenever it is published again; else a new one.",
            },
            "created_at": {**_TIME, "description": "When it happened; else now."},
            "payload": {"description": "Any JSON."},
            "metadata": _TEXTS,
        },
    },
    "Sent": {
        "type": "object",
        "required": ["id", "task", "queue", "duplicate"],
        "properties": {
            "id": {"type": "string"},
            "task": {"type": "string"},
            "queue": {"type": "string"},
            "duplicate": {"type": "boolean", "description": "It was there before; `id` is that of the earlier one."},
        },
    },
    "Published": {
        "type": "object",
        "required": ["events"],
        "properties": {"events": {"type": "array", "items": {"$ref": "#/components/schemas/Entry"}}},
    },
    "Entry": {
        "type": "object",
        "required": ["event_id", "entry_id"],
        "properties": {
            "event_id": {"type": "string"},
            "entry_id": {
                "type": ["string", "null"],
                "description": "Where it stands in the stream; null: it does not.",
            },
        },
    },
    "Problem": {
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "errors": {"type": "array", "items": {"$ref": "#/components/schemas/Misfit"}},
            "events": {"type": "array", "items": {"$ref": "#/components/schemas/Entry"}},
        },
    },
    "Misfit": {
        "type": "object",
        "required": ["at", "problem"],
        "properties": {"at": {"type": "string"}, "problem": {"type": "string"}},
    },
    "Health": {
        "type": "object",
        "required": ["healthy", "redis_status", "uptime_seconds"],
        "properties": {
            "healthy": {"type": "boolean"},
            "redis_status": {"enum": ["connected", "disconnected"]},
            "uptime_seconds": {"type": "integer"},
        },
    },
}
_PROBLEMS = {
    "400": "The body or a name is not as it must be.",
    "401": "No token that is known.",
    "403": "The token is not for this.",
    "404": "No such queue, or this hub sends no tasks.",
    "409": "A task with the same unique key is not finished.",
    "413": "Too large.",
    "415": "No application/json.",
    "503": "Redis did not take it; what it took of several events is said.",
}


def document(max_batch: int) -> dict[str, Any]:
    """The document of a hub that takes so many events at once."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "streamtask hub", "version": __version__, "license": {"name": "Apache-2.0"}},
        "paths": {
            "/v1/tasks/{name}": {"post": _post("sendTask", "Send a task", TASK, _ref("TaskCall"), "Sent")},
            "/v1/topics/{name}": {
                "post": _post("publish", "Publish one event or several", STREAM, _events(max_batch), "Published")
            },
            "/v1/openapi.json": {"get": _get("openapi", "This document", {"type": "object"})},
            "/health": {"get": _health()},
        },
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
    }


def _events(max_batch: int) -> dict[str, Any]:
    return {"oneOf": [_ref("NewEvent"), {"type": "array", "items": _ref("NewEvent"), "maxItems": max_batch}]}


def _post(id: str, summary: str, name: str, body: dict[str, Any], answer: str) -> dict[str, Any]:
    return {
        "operationId": id,
        "summary": summary,
        "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string", "pattern": name}}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "202": {"description": "Redis has it.", "content": {"application/json": {"schema": _ref(answer)}}},
            **{
                status: {"description": text, "content": {"application/problem+json": {"schema": _ref("Problem")}}}
                for status, text in _PROBLEMS.items()
            },
        },
    }


def _get(id: str, summary: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": id,
        "summary": summary,
        "security": [{}],
        "responses": {"200": {"description": "It.", "content": {"application/json": {"schema": schema}}}},
    }


def _health() -> dict[str, Any]:
    made = _get("health", "Does Redis answer?", _ref("Health"))
    made["responses"]["503"] = {**made["responses"]["200"], "description": "Redis does not answer."}
    return made


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}
