"""Each procedure of mq-hub, in JSON and in binary, and every refusal that its clients know."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest
from connectrpc.client import ConnectClient
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.protocol import ProtocolType

from streamtask.envelope import decode
from streamtask.hub import protos
from tests.hub.kit import CALL, EVENT, MQHUB, Hub, refused
from tests.hub.wire import method
from tests.support import eventually

JSON = {"content-type": "application/json"}
PROTO = {"content-type": "application/proto"}


def binary(hub: Hub, name: str, message: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Call in Connect's binary; the answer as JSON names it."""
    made = method(name)
    body = made.input.from_json(json.dumps(message)).to_binary()
    answer = hub.http.post(f"{MQHUB}/{name}", content=body, headers=PROTO)
    if answer.status_code != 200:
        return answer.status_code, answer.json()
    assert answer.headers["content-type"] == "application/proto"
    return 200, json.loads(made.output.from_binary(answer.content).to_json())


def test_publish_writes_the_fields_of_the_contract(hub: Hub) -> None:
    event = {"createdAt": "2026-01-13T09:00:00.5+09:00", "payload": base64.b64encode(b"\x00\xff{}").decode()}
    answer = hub.publish(**event, metadata={"trace_id": "abc"})
    assert answer.status_code == 200
    assert "server" not in answer.headers
    ((entry_id, fields),) = hub.redis.xrange("alt:events:articles")
    assert answer.json() == {"messageId": entry_id.decode(), "success": True}
    assert fields == {
        b"event_id": b"e-1",
        b"event_type": b"ArticleCreated",
        b"source": b"alt-backend",
        b"created_at": b"2026-01-13T00:00:00.500Z",
        b"payload": b"\x00\xff{}",
        b"metadata": b'{"trace_id":"abc"}',
    }


def test_what_is_empty_is_absent_and_time_is_now(hub: Hub) -> None:
    assert hub.publish().status_code == 200
    ((entry_id, fields),) = hub.redis.xrange("alt:events:articles")
    assert set(fields) == {b"event_id", b"event_type", b"source", b"created_at"}
    event = decode(entry_id.decode(), [part for pair in fields.items() for part in pair])
    assert abs(event.meta.created_at.timestamp() * 1000 - int(entry_id.split(b"-")[0])) < 5000


def test_an_event_published_twice_is_there_twice(hub: Hub) -> None:
    ids = [hub.publish().json()["messageId"] for _ in range(3)]
    assert len(set(ids)) == hub.redis.xlen("alt:events:articles") == 3


@pytest.mark.parametrize("name", ["event_id", "event_type", "source"])
def test_what_an_event_must_have(hub: Hub, name: str) -> None:
    camel = {"event_id": "eventId", "event_type": "eventType", "source": "source"}[name]
    assert refused(hub.publish(**{camel: ""})) == (400, "invalid_argument", f"{name} is required")
    assert not hub.redis.exists("alt:events:articles")


def test_an_event_is_required(hub: Hub) -> None:
    answer = hub.rpc("Publish", {"stream": "alt:events:articles"})
    assert refused(answer) == (400, "invalid_argument", "event is required")


def test_a_batch_has_its_ids_in_order(hub: Hub) -> None:
    events = [EVENT | {"eventId": f"e-{n}"} for n in range(1000)]
    answer = hub.rpc("PublishBatch", {"stream": "alt:events:articles", "events": events}).json()
    entries = hub.redis.xrange("alt:events:articles")
    assert answer == {"messageIds": [id.decode() for id, _ in entries], "successCount": 1000}
    assert [fields[b"event_id"].decode() for _, fields in entries] == [event["eventId"] for event in events]


def test_a_batch_of_nothing_is_a_success_without_a_key(hub: Hub) -> None:
    answer = hub.rpc("PublishBatch", {"stream": "alt:events:articles", "events": []})
    assert (answer.status_code, answer.json()) == (200, {})
    assert not hub.redis.exists("alt:events:articles")


def test_a_batch_too_large_does_not_touch_redis(hub: Hub) -> None:
    answer = hub.rpc("PublishBatch", {"stream": "alt:events:articles", "events": [EVENT] * 1001})
    assert refused(answer) == (400, "invalid_argument", "batch size exceeds maximum allowed")
    assert not hub.redis.exists("alt:events:articles")


def test_one_bad_event_of_a_batch_writes_nothing(hub: Hub) -> None:
    answer = hub.rpc("PublishBatch", {"stream": "alt:events:articles", "events": [EVENT, EVENT | {"source": ""}]})
    assert refused(answer) == (400, "invalid_argument", "source is required")
    assert not hub.redis.exists("alt:events:articles")


def test_what_failed_of_a_batch_is_in_the_details(hub: Hub) -> None:
    hub.redis.set("alt:no-stream", "x")
    answer = hub.rpc("PublishBatch", {"stream": "alt:no-stream", "events": [EVENT, EVENT]})
    assert refused(answer) == (503, "unavailable", "2 of 2 events failed to publish")
    (detail,) = answer.json()["details"]
    assert detail["type"] == "services.mqhub.v1.PublishBatchResponse"
    said = protos.message(detail["type"]).from_binary(base64.b64decode(detail["value"] + "=="))
    assert (said.message_ids, said.success_count, said.failure_count) == (["", ""], 0, 2)
    assert [(one.index, one.error_message) for one in said.errors] == [
        (0, "failed to publish event"),
        (1, "failed to publish event"),
    ]
    assert "WRONGTYPE" not in answer.text
    assert "WRONGTYPE" in eventually(lambda: hub.log.read_text().partition("not published")[2])


def test_a_group_is_made_with_its_stream_once_or_twice(hub: Hub) -> None:
    asked = {"stream": "alt:events:articles", "group": "search-indexer-group", "startId": "0"}
    for _ in range(2):
        assert hub.rpc("CreateConsumerGroup", asked).json() == {"success": True, "message": "consumer group created"}
    assert [group["name"] for group in hub.redis.xinfo_groups("alt:events:articles")] == [b"search-indexer-group"]
    answer = hub.rpc("CreateConsumerGroup", asked | {"group": "other", "startId": ""})
    assert refused(answer) == (503, "unavailable", "failed to create consumer group")


def test_information_on_a_stream(hub: Hub) -> None:
    first, last = (hub.publish().json()["messageId"] for _ in range(2))
    hub.redis.xgroup_create("alt:events:articles", "g", "0")
    hub.redis.xreadgroup("g", "c", {"alt:events:articles": ">"}, count=1)
    asked = {"stream": "alt:events:articles"}
    expected = {
        "length": "2",
        "radixTreeKeys": "1",
        "radixTreeNodes": "2",
        "firstEntryId": first,
        "lastEntryId": last,
        "groups": [{"name": "g", "consumers": "1", "pending": "1", "lastDeliveredId": first}],
    }
    assert hub.rpc("GetStreamInfo", asked).json() == expected
    assert binary(hub, "GetStreamInfo", asked) == (200, expected)


def test_information_on_no_stream_is_unknown(hub: Hub) -> None:
    assert refused(hub.rpc("GetStreamInfo", {"stream": "alt:none"})) == (500, "unknown", "stream not found")


def test_health(hub: Hub) -> None:
    answer = hub.rpc("HealthCheck", {}).json()
    assert (answer["healthy"], answer["redisStatus"]) == (True, "connected")
    assert answer.get("uptimeSeconds", "0").isdigit()
    plain = hub.http.get("/health")
    assert plain.status_code == 200
    assert plain.json() | {"uptime_seconds": 0} == {"healthy": True, "redis_status": "connected", "uptime_seconds": 0}
    assert hub.http.head("/health").status_code == 200


def test_binary(hub: Hub) -> None:
    asked = {"stream": "alt:events:articles", "event": EVENT | {"payload": "AAE=", "metadata": {"k": "v"}}}
    status, answer = binary(hub, "Publish", asked)
    ((entry_id, fields),) = hub.redis.xrange("alt:events:articles")
    assert (status, answer) == (200, {"messageId": entry_id.decode(), "success": True})
    assert fields[b"payload"] == b"\x00\x01"
    assert binary(hub, "PublishBatch", {"stream": "alt:events:articles", "events": []}) == (200, {})
    assert binary(hub, "HealthCheck", {})[1]["healthy"] is True
    asked = {"stream": "alt:events:articles", "group": "g", "startId": "$"}
    assert binary(hub, "CreateConsumerGroup", asked)[1]["success"] is True
    assert binary(hub, "Publish", {"stream": "x"}) == (
        400,
        {"code": "invalid_argument", "message": "event is required"},
    )


@pytest.mark.parametrize("protocol", [ProtocolType.CONNECT, ProtocolType.GRPC_WEB])
async def test_a_client_of_connectrpc(hub: Hub, protocol: ProtocolType) -> None:
    async with ConnectClient(hub.address, protocol=protocol) as client:
        publish = method("Publish")
        event = publish.input.from_json(json.dumps({"stream": "alt:events:articles", "event": EVENT}))
        answer = await client.execute_unary(request=event, method=publish)
        assert answer.success
        assert hub.redis.xlen("alt:events:articles") == 1
        with pytest.raises(ConnectError, match="event is required") as caught:
            await client.execute_unary(request=publish.input(stream="x"), method=publish)
        assert caught.value.code is Code.INVALID_ARGUMENT
        with pytest.raises(ConnectError, match="stream not found"):
            await client.execute_unary(
                request=method("GetStreamInfo").input(stream="alt:none"), method=method("GetStreamInfo")
            )


def test_what_http_says_of_other_requests(hub: Hub) -> None:
    answer = hub.http.post(f"{MQHUB}/Nope", json={})
    assert (answer.status_code, answer.text) == (404, "404 page not found\n")
    for path in ("/", "/v2", f"{MQHUB}/", MQHUB, f"{MQHUB}/Publish/"):
        assert hub.http.post(path, json={}).status_code == 404
    answer = hub.http.get(f"{MQHUB}/Publish")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert hub.http.post(f"{MQHUB}/Publish", content=b"{}").status_code == 415
    assert (
        hub.http.post(f"{MQHUB}/Publish", content=b"", headers={"content-type": "application/grpc"}).status_code == 415
    )
    for body in (b"{", b"[]", b'"x"', b"\xff", b'{"event": 7}', b'{"event": {"payload": "!"}}'):
        answer = hub.http.post(f"{MQHUB}/Publish", content=body, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_argument"), body
    answer = hub.http.post(f"{MQHUB}/Publish", content=b"\x0a\xff\xff", headers=PROTO)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_argument")
    assert hub.http.post("/health").status_code == hub.http.delete("/metrics").status_code == 405
    unknown = {"stream": "alt:events:articles", "event": EVENT, "later": 1}
    assert hub.rpc("Publish", unknown, **{"connect-protocol-version": "1"}).status_code == 200


@pytest.mark.parametrize("body", [b"[", b'{"stream":[', b'{"event":{"metadata":{"a":', b'{"x":', b"[[1],"])
def test_depth_ends_no_process(hub: Hub, body: bytes) -> None:
    for content in (body * 50_000, body + b"[" * 100_000 + b"]" * 100_000):
        answer = hub.http.post(f"{MQHUB}/Publish", content=content, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_argument")
        assert len(answer.content) < 500
    for content in (b"\x1b" * 100_000, b"\x12\xff\xff\x03" * 50_000):
        assert hub.http.post(CALL, content=content, headers=PROTO).status_code == 400
    assert hub.http.get("/health").status_code == 200


def test_streams_that_are_not_for_events(hub: Hub) -> None:
    own = "is streamtask's own; events do not go there"
    assert hub.redis.sismember("shop:queues", "default")
    for stream in ("shop:default", "streamtask:namespaces", "shop:topics", "other:queues"):
        answer = hub.publish(stream)
        assert refused(answer) == (400, "invalid_argument", f"stream {stream!r} {own}")
    for stream in ("", "{shop:default}:dead", "a b", "\n", "x" * 257, "é"):
        assert hub.publish(stream).status_code == 400, stream
        assert hub.rpc("CreateConsumerGroup", {"stream": stream, "group": "g", "startId": "0"}).status_code == 400
    assert hub.redis.type("shop:default") == b"stream"


def test_an_unknown_stream_is_told_and_published(hub: Hub) -> None:
    assert hub.publish("alt:events:new").status_code == 200
    assert hub.redis.xlen("alt:events:new") == 1
    eventually(lambda: "unknown stream alt:events:new" in hub.log.read_text())


def test_limits_have_names(hub: Hub) -> None:
    large = base64.b64encode(bytes(1 << 20)).decode()
    status, code, text = refused(hub.publish(payload=large))
    assert (status, code) == (429, "resource_exhausted")
    assert "--max-event" in text
    body = httpx.ByteStream(b" " * ((32 << 20) + 1))
    answer = hub.http.post(f"{MQHUB}/Publish", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (429, "resource_exhausted")


def test_a_compressed_bomb_is_refused(hub: Hub) -> None:
    import gzip

    body = gzip.compress(b" " * (64 << 20))
    answer = hub.http.post(f"{MQHUB}/Publish", content=body, headers=JSON | {"content-encoding": "gzip"})
    assert (answer.status_code, answer.json()["code"]) == (429, "resource_exhausted")
    event = gzip.compress(json.dumps({"stream": "alt:events:articles", "event": EVENT}).encode())
    answer = hub.http.post(f"{MQHUB}/Publish", content=event, headers=JSON | {"content-encoding": "gzip"})
    assert answer.status_code == 200


def test_metrics_keep_their_names_and_their_number(hub: Hub) -> None:
    for n in range(101):
        hub.rpc("GetStreamInfo", {"stream": f"alt:{n}"})
    for n in range(103):
        hub.publish(f"alt:metrics:{n}", source="")
    hub.rpc("PublishBatch", {"stream": "alt:events:articles", "events": [EVENT] * 1001})
    hub.rpc("PublishBatch", {"stream": "alt:events:articles", "events": [EVENT]})
    text = hub.http.get("/metrics").text
    assert 'mqhub_publish_total{status="error",stream="_other"}' in text
    assert text.count("mqhub_publish_total{") <= 202
    for family in ("mqhub_publish_duration_seconds_bucket", "mqhub_batch_size_bucket"):
        assert family in text
    assert 'mqhub_errors_total{error_type="batch_too_large",operation="publish_batch"}' in text
    assert 'mqhub_errors_total{error_type="invalid",operation="publish"}' in text
    assert 'mqhub_errors_total{error_type="redis_error",operation="publish"}' not in text
    assert "mqhub_redis_connection_status 1.0" in text
    assert "_created" not in text


def test_the_log_tells_each_request_with_its_trace(hub: Hub) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    header = f"00-{trace}-00f067aa0ba902b7-01"

    def told(id: str) -> list[str]:  # asked again: of a flood, such as another test's, some lines are only counted
        hub.publish(metadata={"trace_id": "of-the-event"})
        hub.rpc("Publish", {"stream": "alt:events:articles", "event": EVENT}, traceparent=header)
        return [line["about"] for line in hub.events("hub.request") if line.get("trace_id") == id]

    assert set(eventually(lambda: told(trace), every=0.2)) == {"alt:events:articles"}
    assert set(eventually(lambda: told("of-the-event"), every=0.2)) == {"alt:events:articles"}
    assert "Traceback" not in hub.log.read_text()


def test_procedures_are_those_of_the_files() -> None:
    assert [made.path for made in protos.procedures()] == [
        *(f"{MQHUB}/{name}" for name in (
            "Publish", "PublishBatch", "CreateConsumerGroup", "GetStreamInfo", "HealthCheck", "GenerateTagsForArticle",
        )),
        CALL,
    ]  # fmt: skip
