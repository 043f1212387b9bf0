"""Requests that wait for an answer: tags, and calls of tasks; what they leave behind, and take of the pool."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.hub.kit import CALL, MQHUB, Hub, refused
from tests.support import aeventually, eventually

TAGS = f"{MQHUB}/GenerateTagsForArticle"
Answer = Callable[[dict[str, Any]], bytes | None]


@pytest.fixture
def generator(hub: Hub) -> Callable[[Answer], contextlib.AbstractContextManager[list[dict[bytes, bytes]]]]:
    """A tag generator as their worker is: it reads the questions and adds what it is told to say."""

    @contextlib.contextmanager
    def run(answer: Answer) -> Iterator[list[dict[bytes, bytes]]]:
        seen: list[dict[bytes, bytes]] = []
        ended = threading.Event()

        def work() -> None:
            last = "0"
            while not ended.is_set():
                for _, entries in hub.redis.xread({"alt:events:tags": last}, block=50) or []:
                    for entry_id, fields in entries:
                        last = entry_id
                        seen.append(fields)
                        payload = answer(json.loads(fields[b"payload"]))
                        if payload is not None:
                            reply(hub, fields, payload)

        thread = threading.Thread(target=work)
        thread.start()
        yield seen
        ended.set()
        thread.join()

    return run


def reply(hub: Hub, question: dict[bytes, bytes], payload: bytes) -> str:
    """Answer a question, with no TTL, as mq-hub's own worker does; gives the reply stream."""
    metadata = json.loads(question[b"metadata"])
    fields = {
        "event_id": "r", "event_type": "TagGenerationCompleted", "source": "tag-generator",
        "created_at": "2026-01-13T09:00:00.000Z", "payload": payload,
        "metadata": json.dumps({"correlation_id": metadata["correlation_id"]}),
    }  # fmt: skip
    hub.redis.xadd(metadata["reply_to"], fields, maxlen=1000)
    return str(metadata["reply_to"])


def said(article: dict[str, Any]) -> bytes:
    tags = [{"id": "t1", "name": "redis", "confidence": 0.95}]
    return json.dumps(
        {"success": True, "article_id": article["article_id"], "tags": tags, "inference_ms": 12.5}
    ).encode()


def test_a_question_and_its_answer(hub: Hub, generator: Any) -> None:
    with generator(said) as seen:
        answer = hub.rpc(TAGS, {"articleId": "a-1", "title": "T", "content": "C", "feedId": "f"})
    assert answer.json() == {
        "success": True,
        "articleId": "a-1",
        "tags": [{"id": "t1", "name": "redis", "confidence": 0.95}],
        "inferenceMs": 12.5,
    }
    (question,) = seen
    metadata = json.loads(question[b"metadata"])
    assert metadata["reply_to"] == f"alt:replies:tags:{metadata['correlation_id']}"
    assert (question[b"event_type"], question[b"source"]) == (b"TagGenerationRequested", b"mq-hub")
    assert json.loads(question[b"payload"]) == {"article_id": "a-1", "title": "T", "content": "C", "feed_id": "f"}
    eventually(lambda: not list(hub.redis.scan_iter("alt:replies:*")))


@pytest.mark.parametrize("payload", [b"", b"no json", b"[]", b'{"tags": 7}', b'{"tags": [{"confidence": "x"}]}'])
def test_a_reply_that_cannot_be_read(hub: Hub, generator: Any, payload: bytes) -> None:
    with generator(lambda _: payload):
        answer = hub.rpc(TAGS, {"articleId": "a-1"})
    assert answer.status_code == 200
    assert "success" not in answer.json()
    assert answer.json()["errorMessage"]


def test_no_answer_is_a_timeout_and_a_late_one_leaves_nothing(hub: Hub) -> None:
    answer = hub.rpc(TAGS, {"articleId": "a-1", "timeoutMs": 50})
    assert refused(answer) == (504, "deadline_exceeded", "tag generation timeout")
    ((_, question),) = hub.redis.xrange("alt:events:tags")
    stream = reply(hub, question, b"{}")
    assert hub.redis.xlen(stream) == 1
    assert 0 < hub.redis.ttl(stream) <= 300


def test_a_client_that_goes_away_leaves_nothing(hub: Hub) -> None:
    with pytest.raises(httpx.ReadTimeout):
        hub.http.post(TAGS, json={"articleId": "a-1"}, timeout=0.3)
    (stream,) = hub.redis.scan_iter("alt:replies:*")
    eventually(lambda: 0 < hub.redis.ttl(stream) <= 300)
    eventually(lambda: b"hub-wait" not in [client["name"].encode() for client in hub.redis.client_list()])


async def test_fifty_waits_take_nothing_from_a_pool_of_ten(hub: Hub, generator: Any) -> None:
    held = threading.Event()

    def when_told(article: dict[str, Any]) -> bytes:
        assert held.wait(30)
        return said(article)

    with generator(when_told) as seen:
        async with httpx.AsyncClient(base_url=hub.address, timeout=60, trust_env=False) as client:
            tags = [asyncio.create_task(client.post(TAGS, json={"articleId": str(n)})) for n in range(50)]
            asked = {"task": "slowly", "args": {"seconds": 1}}
            calls = [asyncio.create_task(client.post(CALL, json=asked)) for _ in range(50)]
            await aeventually(lambda: hub.redis.xlen("alt:events:tags") == 50)
            event = {"eventId": "e", "eventType": "t", "source": "s"}
            for _ in range(20):  # while all wait, who publishes does not
                answer = await client.post(f"{MQHUB}/Publish", json={"stream": "alt:events:articles", "event": event})
                assert answer.status_code == 200
            names = [one["name"] for one in hub.redis.client_list()]
            assert names.count("hub-wait") == 50
            held.set()
            answers = [(await task).json() for task in tags]
            results = [(await task).json()["result"] for task in calls]
    assert len(seen) == 50
    assert [answer["articleId"] for answer in answers] == [str(n) for n in range(50)]
    assert results == ["done"] * 50


@pytest.mark.parametrize(
    ("task", "args", "result"),
    [
        ("add", {"a": 2, "b": 3}, 5),
        ("echo", {"value": {"a": [1, 2.5, "x", None, True, {}]}}, {"a": [1, 2.5, "x", None, True, {}]}),
        ("echo", {}, None),
        ("echo", {"value": 2**53}, 2**53),
    ],
)
def test_call(hub: Hub, task: str, args: dict[str, Any], result: Any) -> None:
    answer = hub.rpc(CALL, {"task": task, "args": args})
    assert answer.status_code == 200, answer.text
    assert answer.json()["result"] == result
    id = answer.json()["id"]
    eventually(lambda: not hub.redis.exists(f"{{shop:default}}:result:{id}"))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"task": "fails"}, (409, "aborted", "fails failed (retries: ValueError)")),
        (
            {"task": "slowly", "args": {"seconds": 60}, "timeout": 0.1},
            (504, "deadline_exceeded", "slowly: no answer in time"),
        ),
        ({"task": "silent"}, (400, "failed_precondition", "silent keeps no result to answer with")),
        ({"task": "add", "queue": "none"}, (404, "not_found", "no queue 'none': no worker of 'shop' has served it")),
        ({"task": ""}, (400, "invalid_argument", "task: 1 to 256 printable characters, no spaces")),
    ],
)  # fmt: skip
def test_call_without_an_answer(hub: Hub, asked: dict[str, Any], expected: tuple[int, str, str]) -> None:
    answer = hub.rpc(CALL, asked)
    assert refused(answer) == expected
    assert "hunter2" not in answer.text


def test_numbers_that_would_change_are_refused(hub: Hub) -> None:
    content = '{"task": "echo", "args": {"value": 9007199254740993000}}'
    answer = hub.http.post(CALL, content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_argument")
    answer = hub.rpc(CALL, {"task": "add", "args": {"a": 2**53, "b": 2}})
    assert (answer.status_code, answer.json()["code"]) == (400, "failed_precondition")


def test_waits_have_a_limit_and_are_answered_at_a_stop(hubs: Callable[..., Hub], hub: Hub) -> None:
    path = hub.redis.connection_pool.connection_kwargs["path"]
    small = hubs(f"unix://{path}", "--max-waits", "1")
    assert refused(small.rpc(CALL, {"task": "x"}))[1] == "unimplemented"
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(httpx.Client(base_url=small.address, trust_env=False))
        waiting = threading.Thread(
            target=other.post, args=(TAGS,), kwargs={"json": {"timeoutMs": 60000}, "timeout": 60}
        )
        waiting.start()
        eventually(lambda: hub.redis.xlen("alt:events:tags"))
        answer = small.rpc(TAGS, {"timeoutMs": 1000})
        assert (answer.status_code, answer.json()["code"]) == (429, "resource_exhausted")
        idle = stack.enter_context(httpx.Client(base_url=small.address, trust_env=False))
        assert idle.get("/health").status_code == 200
        small.popen.terminate()  # a connection that does nothing holds up nobody, a wait has its answer before the end
        eventually(lambda: small.events("hub.stopping"))
        ((_, question),) = hub.redis.xrange("alt:events:tags")
        reply(hub, question, b"{}")
        waiting.join()
        assert small.popen.wait(30) == 0
        with pytest.raises(httpx.TransportError):
            idle.get("/health")
    assert small.events("hub.stopped")
    lines = [one for one in small.events("hub.request") if one["path"] == TAGS]
    assert sorted(one["status"] for one in lines) == [200, 429]


@pytest.mark.long
def test_an_answer_that_takes_longer_than_thirty_seconds_is_not_cut(hub: Hub, generator: Any) -> None:
    """mq-hub's server and its client's cut it there."""

    def slowly(article: dict[str, Any]) -> bytes:
        threading.Event().wait(33)  # the time itself is what is tested
        return said(article)

    with generator(slowly):
        answer = hub.http.post(TAGS, json={"articleId": "a-1", "timeoutMs": 60_000}, timeout=90)
    assert (answer.status_code, answer.json()["success"]) == (200, True)
