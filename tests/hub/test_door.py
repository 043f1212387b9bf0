"""The JSON door: tasks and events by plain HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streamtask.broker.keys import queue_keys
from streamtask.hub.openapi import document
from tests.hub.kit import Hub
from tests.support import eventually

KEYS = queue_keys("shop", "default")
JSON = {"content-type": "application/json"}


def record(hub: Hub, id: str) -> dict[str, Any]:
    """The result record of a message."""
    found: dict[str, Any] = json.loads(eventually(lambda: hub.redis.get(KEYS.result(id))))
    return found


def test_a_task(hub: Hub) -> None:
    answer = hub.http.post("/v1/tasks/add", json={"args": {"a": 2, "b": 3}})
    assert answer.status_code == 202
    id = answer.json()["id"]
    assert answer.json() == {"id": id, "task": "add", "queue": "default", "duplicate": False}
    assert record(hub, id)["value"] == 5


def test_a_task_with_options(hub: Hub) -> None:
    body = {"args": {"value": 1}, "message_id": "mine-1", "headers": {"traceparent": "x"}, "expires": 3600}
    answers = [hub.http.post("/v1/tasks/echo", json=body).json() for _ in range(2)]
    assert [answer["id"] for answer in answers] == ["mine-1", "mine-1"]
    assert [answer["duplicate"] for answer in answers] == [False, True]
    assert record(hub, "mine-1")["value"] == 1
    later = hub.http.post("/v1/tasks/echo", json={"eta": "2100-01-01T00:00:00+09:00"}).json()
    soon = hub.http.post("/v1/tasks/echo", json={"countdown": 3600}).json()
    assert hub.redis.zscore(KEYS.due, later["id"]) == 4102412400000
    assert hub.redis.zscore(KEYS.due, soon["id"]) is not None
    hub.redis.delete(KEYS.due, KEYS.body)


def test_events(hub: Hub) -> None:
    event = {"type": "ArticleCreated", "source": "shell", "payload": {"n": 123456789012345678901}}
    answer = hub.http.post("/v1/topics/alt:events:articles", json=event)
    assert answer.status_code == 202
    ((entry_id, fields),) = hub.redis.xrange("alt:events:articles")
    (row,) = answer.json()["events"]
    assert row == {"event_id": fields[b"event_id"].decode(), "entry_id": entry_id.decode()}
    assert fields[b"payload"] == b'{"n":123456789012345678901}'
    several = [
        {"type": "a", "source": "s", "id": "e-1", "created_at": "2026-01-13T09:00:00.1234567+09:00"},
        {"type": "b", "source": "s", "payload": None, "metadata": {"trace_id": "t"}},
    ]
    answer = hub.http.post("/v1/topics/alt:events:articles", json=several)
    _, first, second = (fields for _, fields in hub.redis.xrange("alt:events:articles"))
    assert answer.json()["events"][0]["event_id"] == "e-1"
    assert first[b"created_at"] == b"2026-01-13T09:00:00.123+09:00"
    assert b"payload" not in first
    assert (second[b"payload"], second[b"metadata"]) == (b"null", b'{"trace_id":"t"}')


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"7", b'{"args": []}', b'{"args": {"x": 1e400}}', b'{"arg": {}}', b'{"eta": 5}',
        b'{"countdown": "1"}', b'{"countdown": true}', b'{"eta": "2026-01-01"}', b'{"eta": "2026-01-01T00:00:00"}',
        b'{"countdown": -1}', b'{"eta": "2026-02-30T00:00:00Z"}', b'{"countdown": 1, "eta": "2026-01-01T00:00:00Z"}',
        b'{"queue": "a b"}', b'{"message_id": ""}', b'{"headers": {"a": 1}}', b'\xff', b'{"args": {"x": NaN}}',
    ],
)  # fmt: skip
def test_bodies_that_are_no_call(hub: Hub, body: bytes) -> None:
    answer = hub.http.post("/v1/tasks/add", content=body, headers=JSON)
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 400
    assert answer.json()["errors"]


def test_what_else_is_refused(hub: Hub) -> None:
    post = hub.http.post
    assert post("/v1/tasks/add", content=b"{}").status_code == 415
    assert post("/v1/tasks/add", content=b"{}", headers=JSON | {"content-encoding": "gzip"}).status_code == 415
    assert post("/v1/tasks/add", json={"queue": "none"}).status_code == 404
    assert post("/v1/topics/shop:default", json={"type": "t", "source": "s"}).status_code == 400
    event = {"type": "t", "source": "s"}
    assert post("/v1/topics/alt:events:articles", json=[event] * 1001).status_code == 400
    assert post("/v1/topics/alt:events:articles", json=[]).json() == {"events": []}
    assert post("/v1/topics/alt:events:articles", json=event | {"payload": "x" * (1 << 20)}).status_code == 413
    large = post("/v1/tasks/add", json={"args": {"a": "x" * (1 << 20)}})
    assert (large.status_code, "max_message_bytes" in large.text) == (413, True)
    body = b" " * ((32 << 20) + 1)
    assert post("/v1/tasks/add", content=body, headers=JSON).status_code == 413
    assert post("/v1/none", json={}).status_code == post("/v1/", json={}).status_code == 404
    for path, allow in (("/v1/tasks/add", "POST"), ("/v1/topics/x", "POST")):
        answer = hub.http.get(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allow)
        assert answer.headers["content-type"] == "application/problem+json"


def test_the_document(hub: Hub) -> None:
    answer = hub.http.get("/v1/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == json.loads(json.dumps(document(1000)))
    assert answer.json()["openapi"].startswith("3.1")
