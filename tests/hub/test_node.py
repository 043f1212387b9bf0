"""A client that buf generated for node, over each of its transports: results, error codes, and an error's details."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from streamtask.hub import tokens
from tests.conftest import missing
from tests.hub.kit import EVENT, Hub
from tests.hub.node import Node, NoNode
from tests.hub.test_waits import reply, said
from tests.servers import Server, StartServer
from tests.support import eventually

ARTICLES = "alt:events:articles"
Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Its process."""
    try:
        with Node(tmp_path_factory.mktemp("node")) as running:
            yield running
    except NoNode as error:
        missing(str(error))


@pytest.fixture(params=["json", "binary", "grpc-web"])
def ask(request: pytest.FixtureRequest, hub: Hub, node: Node) -> Ask:
    """Asks the usual hub over each transport in turn: `ask(method, message)`."""

    def call(method: str, message: dict[str, Any], service: str = "MQHubService", **more: Any) -> dict[str, Any]:
        about = {"address": hub.address, "transport": request.param, "service": service}
        return node.ask(**about, method=method, message=message, **more)

    return call


def error(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "message": message, "details": []}


def test_publish(hub: Hub, ask: Ask) -> None:
    event = {
        **EVENT,
        "createdAt": "2026-01-13T00:00:00.500Z",
        "payload": base64.b64encode(b"\x00\xff{}").decode(),
        "metadata": {"trace_id": "abc"},
    }
    answer = ask("publish", {"stream": ARTICLES, "event": event})
    ((entry_id, fields),) = hub.redis.xrange(ARTICLES)
    assert answer == {"value": {"messageId": entry_id.decode(), "success": True}}
    assert (fields[b"payload"], fields[b"metadata"]) == (b"\x00\xff{}", b'{"trace_id":"abc"}')
    assert fields[b"created_at"] == b"2026-01-13T00:00:00.500Z"
    assert ask("publish", {"stream": ARTICLES}) == error("InvalidArgument", "event is required")
    refused = ask("publish", {"stream": ARTICLES, "event": EVENT | {"eventType": ""}})
    assert refused == error("InvalidArgument", "event_type is required")
    assert hub.redis.xlen(ARTICLES) == 1


def test_publish_batch(hub: Hub, ask: Ask) -> None:
    events = [EVENT | {"eventId": f"e-{n}"} for n in range(1000)]
    value = ask("publishBatch", {"stream": ARTICLES, "events": events})["value"]
    assert value == {"messageIds": [id.decode() for id, _ in hub.redis.xrange(ARTICLES)], "successCount": 1000}
    assert ask("publishBatch", {"stream": ARTICLES}) == {"value": {}}
    refused = ask("publishBatch", {"stream": ARTICLES, "events": [EVENT] * 1001})
    assert refused == error("InvalidArgument", "batch size exceeds maximum allowed")


def test_groups_and_information(hub: Hub, ask: Ask) -> None:
    asked = {"stream": ARTICLES, "group": "g", "startId": "0"}
    for _ in range(2):
        made = ask("createConsumerGroup", asked)
        assert made == {"value": {"success": True, "message": "consumer group created"}}
    refused = ask("createConsumerGroup", asked | {"group": "h", "startId": ""})
    assert refused == error("Unavailable", "failed to create consumer group")
    id = ask("publish", {"stream": ARTICLES, "event": EVENT})["value"]["messageId"]
    assert ask("getStreamInfo", {"stream": ARTICLES})["value"] == {
        "length": "1",
        "radixTreeKeys": "1",
        "radixTreeNodes": "2",
        "firstEntryId": id,
        "lastEntryId": id,
        "groups": [{"name": "g", "lastDeliveredId": "0-0"}],
    }
    assert ask("getStreamInfo", {"stream": "alt:none"}) == error("Unknown", "stream not found")


def test_health(ask: Ask) -> None:
    value = ask("healthCheck", {})["value"]
    assert (value["healthy"], value["redisStatus"]) == (True, "connected")


def test_tags(hub: Hub, ask: Ask) -> None:
    asked = {"articleId": "a-1", "title": "T", "content": "C", "feedId": "f"}
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, "generateTagsForArticle", asked)
        ((_, question),) = eventually(lambda: hub.redis.xrange("alt:events:tags"))
        reply(hub, question, said(json.loads(question[b"payload"])))
        value = answer.result(30)["value"]
    assert value["tags"] == [{"id": "t1", "name": "redis", "confidence": pytest.approx(0.95)}]
    assert (value["success"], value["articleId"], value["inferenceMs"]) == (True, "a-1", 12.5)
    refused = ask("generateTagsForArticle", asked | {"timeoutMs": 1})
    assert refused == error("DeadlineExceeded", "tag generation timeout")


def test_call(ask: Ask) -> None:
    call = partial(ask, "call", service="Hub")
    assert call({"task": "add", "args": {"a": 2, "b": 3}})["value"]["result"] == 5
    assert call({"task": "fails"}) == error("Aborted", "fails failed (retries: ValueError)")
    late = {"task": "slowly", "args": {"seconds": 60}}
    assert call(late | {"timeout": 0.05}) == error("DeadlineExceeded", "slowly: no answer in time")
    assert call(late, timeout=50)["code"] == "DeadlineExceeded", "by the header that the client sends, too"


def test_the_details_of_a_batch_that_failed(hub: Hub, ask: Ask) -> None:
    hub.redis.set("alt:no-stream", "x")
    refused = ask("publishBatch", {"stream": "alt:no-stream", "events": [EVENT, EVENT]})
    assert (refused["code"], refused["message"]) == ("Unavailable", "2 of 2 events failed to publish")
    (told,) = refused["details"]
    failed = "failed to publish event"
    assert told == {
        "messageIds": ["", ""],
        "failureCount": 2,
        "errors": [{"errorMessage": failed}, {"index": 1, "errorMessage": failed}],
    }


def test_the_details_of_a_batch_that_failed_in_part(
    own_server: StartServer, hubs: Callable[..., Hub], node: Node
) -> None:
    """Redis runs full in the middle of it."""
    server = own_server("redis-8.6", maxmemory="4mb", maxmemory_policy="noeviction")
    hub = hubs(server.url)
    events = [EVENT | {"payload": base64.b64encode(b"x" * 16_000).decode()} for _ in range(300)]
    request = {"address": hub.address, "transport": "grpc-web", "service": "MQHubService", "method": "publishBatch"}

    def in_part() -> dict[str, Any] | None:
        hub.redis.delete(ARTICLES)
        answer = node.ask(**request, message={"stream": ARTICLES, "events": events})
        return answer if answer["details"][0].get("successCount") else None

    answer = eventually(in_part, 60)
    (told,) = answer["details"]
    done, failed, ids = told["successCount"], told["failureCount"], told["messageIds"]
    assert answer["code"] == "Unavailable"
    assert answer["message"] == f"{failed} of 300 events failed to publish"
    assert done + failed == len(ids) == 300
    assert [id.encode() for id in ids if id] == [id for id, _ in hub.redis.xrange(ARTICLES)]
    assert [one.get("index", 0) for one in told["errors"]] == [n for n, id in enumerate(ids) if not id]


def test_grpc_and_tokens(hub_server: Server, hubs: Callable[..., Hub], node: Node, tmp_path: Path) -> None:
    """With HTTP/2 there is gRPC; the other transports are beside it, at the same port."""
    token = tokens.make()
    (tmp_path / "tokens").write_text(tokens.line_of("backend", token, ["alt:events:*"], []) + "\n")
    hub = hubs(hub_server.url, "--server", "hypercorn", "--token-file", str(tmp_path / "tokens"))
    hub.redis.delete(ARTICLES)
    headers = {"authorization": f"Bearer {token}"}
    for transport in ("grpc", "json", "binary", "grpc-web"):
        nobody = partial(node.ask, address=hub.address, transport=transport, service="MQHubService")
        ask = partial(nobody, headers=headers)
        event = {"stream": ARTICLES, "event": EVENT}
        assert nobody(method="publish", message=event) == error("Unauthenticated", "a valid bearer token is required")
        assert nobody(method="healthCheck", message={})["value"]["healthy"]
        assert ask(method="publish", message=event)["value"]["success"]
        assert ask(method="publish", message={}) == error("InvalidArgument", "event is required")
        other = ask(method="getStreamInfo", message={"stream": "alt:other"})
        assert other == error("PermissionDenied", "the token does not give access to the stream 'alt:other'")
        none = ask(method="getStreamInfo", message={"stream": "alt:events:none"})
        assert none == error("Unknown", "stream not found")
        batch = {"stream": ARTICLES, "events": [EVENT] * 1000}
        assert ask(method="publishBatch", message=batch)["value"]["successCount"] == 1000
    assert hub.redis.xlen(ARTICLES) == 4 * 1001
