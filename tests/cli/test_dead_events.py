"""`dead list|show|replay|purge` and `show` for groups on topics, on a real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis

from streamtask import RawEvent
from streamtask.broker.keys import queue_keys
from streamtask.deadletters import parse
from streamtask.envelope import decode_message
from tests.cli.kit import Shell, invoke, ok, ok_json

TOPIC = "shop:orders"
QUEUE = f"{TOPIC}/search"
OWN = queue_keys("shop", QUEUE)
EVENT = {"event_id": "e-1", "event_type": "Ordered", "source": "web", "created_at": "2026-01-13T09:00:00.000+09:00"}
APP = """
from streamtask import Event, StreamTask

app = StreamTask("shop")


class Ordered(Event, topic="shop:orders"):
    n: int


async def index(event: Ordered) -> None:
    if event.n > 5:
        raise ValueError(f"{event.n} is too much")


for group in ("search", "mail"):
    app.on(Ordered, group=group, max_retries=0, once="event_id")(index)
"""

Bury = Callable[..., str]


@pytest.fixture
def bury(client: redis.Redis) -> Bury:
    """Makes dead letters of groups, as workers write them; `meta` for one that died from the own queue."""
    client.sadd("streamtask:namespaces", "shop")
    number = 0

    def bury(payload: str = '{"n":1}', meta: Any = None, group: str = "search", id: str = "", **more: Any) -> str:
        nonlocal number
        number += 1
        id = id or f"170000000000{number}-0"
        event: dict[str, Any] = EVENT | {"payload": payload, "metadata": '{"trace_id":"4bf9"}'} | more
        own = {"id": id, "meta": json.dumps(meta)} if meta is not None else {}
        dead = {"group": group, "stream_id": "9-9" if own else id, "id": id, "reason": "retries"}
        dead |= {
            "error": "ValueError: no",
            "traceback": "Trace",
            "deliveries": 1,
            "attempt": 2,
            "at": 1_700_000_000_000,
        }
        client.sadd("shop:queues", f"{TOPIC}/{group}")
        keys = queue_keys("shop", f"{TOPIC}/{group}")
        client.xadd(keys.dead, {**event, **own, **{f"dead_{key}": value for key, value in dead.items()}})
        return id

    return bury


def test_both_kinds_are_listed_and_shown(url: str, bury: Bury) -> None:
    error = {"at": 1_700_000_000_000, "worker": "web-3", "type": "ValueError", "message": "no"}
    first, second = bury(), bury(meta={"attempt": 1, "errors": [error]}, payload='{"n":2}')
    seen = ok_json(url, "dead", "list")["dead"]
    assert [(one["id"], one["task"], one["queue"], one["args"]) for one in seen] == [
        (second, "Ordered", QUEUE, {"n": 2}),
        (first, "Ordered", QUEUE, {"n": 1}),
    ]
    assert seen[0]["event"] == {
        "id": "e-1",
        "type": "Ordered",
        "source": "web",
        "created_at": "2026-01-13T09:00:00+09:00",
        "metadata": {"trace_id": "4bf9"},
        "stream_id": second,
    }
    assert seen[0]["meta"]["errors"] == [error]
    assert f"{first}  Ordered" in ok(url, "dead", "list", "--queue", QUEUE)
    assert ok_json(url, "dead", "list", "--task", "Ordered")["total"] == 2
    text = ok(url, "dead", "show", second)
    for part in (f"Ordered {second}", "e-1", "web", "trace_id=4bf9", '{"n":2}', "web-3  ValueError: no", "Trace"):
        assert part in text
    assert f"streamtask dead replay {second} --namespace shop --queue {QUEUE}" in text
    assert "dead (retries)" in ok(url, "show", second)


@pytest.mark.parametrize(
    ("payload", "shown", "args"),
    [
        ("[1]", "payload     [1]", [1]),
        ("\x1b[31mred\n", r"""payload     9 bytes, no JSON: b'\x1b[31mred\n'""", None),
        ("", "payload     0 bytes", None),
    ],
)
def test_a_payload_of_any_kind_can_be_shown_and_replayed(
    url: str, client: redis.Redis, bury: Bury, payload: str, shown: str, args: Any
) -> None:
    id = bury(payload=payload)
    assert shown in ok(url, "dead", "show", id)
    assert ok_json(url, "dead", "show", id)["dead"][0]["args"] == args
    refused = invoke(url, "dead", "replay", id, "--set", "n=1")
    assert (refused.exit_code, "its payload is not a JSON object" in refused.output) == (1, True)
    ok(url, "dead", "replay", id)
    ((_, fields),) = client.xrange(OWN.stream)
    assert fields["payload"] == payload


@pytest.mark.parametrize("meta", [None, {"attempt": 3, "errors": [{}], "sent_at": 5, "own": 1}])
def test_a_replay_goes_into_the_own_queue_alone_and_begins_anew(
    url: str, client: redis.Redis, bury: Bury, meta: Any
) -> None:
    client.xadd(TOPIC, EVENT)
    id = bury(meta=meta)
    client.set(OWN.result(id), '{"state":"dead"}')
    assert ok(url, "dead", "replay", "--queue", QUEUE, "--yes") == "replayed 1, refused 0\n"
    ((entry, fields),) = client.xrange(OWN.stream)
    flat = [part.encode() for pair in fields.items() for part in pair]
    message = decode_message(entry, flat, "index", own=True)
    assert (message.id, message.attempt, message.args) == (id, 0, b'{"n":1}')
    assert message.meta == ({} if meta is None else {"own": 1})
    assert RawEvent(message.event, message.args).json() == {"n": 1}
    assert flat[:-4][::2] == [name.encode() for name in (*EVENT, "payload", "metadata")]
    assert client.hgetall(OWN.where) == {id: entry}
    assert (client.xlen(OWN.dead), client.exists(OWN.result(id))) == (0, 0)
    assert client.xlen(TOPIC) == 1
    again = invoke(url, "dead", "replay", id)
    assert (again.exit_code, "no dead letter" in again.output) == (1, True)
    assert ok_json(url, "show", id)["message"]["status"] == "waiting"


def test_a_part_of_the_payload_is_changed(url: str, client: redis.Redis, bury: Bury) -> None:
    ok(url, "dead", "replay", bury(payload='{"n":1,"user":{"tags":["a"]}}'), "--set", "user.tags.0=b", "--set", "n=2")
    ((_, fields),) = client.xrange(OWN.stream)
    assert json.loads(fields["payload"]) == {"n": 2, "user": {"tags": ["b"]}}
    assert list(fields)[:7] == [*EVENT, "payload", "metadata", "id"]


def test_an_event_that_several_groups_gave_up_is_named_with_its_group(
    url: str, client: redis.Redis, bury: Bury
) -> None:
    id = bury()
    bury(group="mail", id=id)
    for verb in ("show", "replay", "purge"):
        unclear = invoke(url, "dead", verb, id)
        assert unclear.exit_code == 2
        assert f"dead in {TOPIC}/mail, {QUEUE}; say which by --queue" in unclear.output
    ok(url, "dead", "replay", id, "--queue", QUEUE)
    assert client.xlen(queue_keys("shop", f"{TOPIC}/mail").dead) == 1
    bury(id=id)
    shown = ok_json(url, "show", id)
    assert sorted(one["queue"] for one in (shown["message"], *shown["others"])) == [f"{TOPIC}/mail", QUEUE]
    assert ok(url, "show", id).count(f"Ordered {id}") == 2


def test_what_is_no_event_is_listed_with_the_reason(url: str, client: redis.Redis, bury: Bury) -> None:
    client.sadd("shop:queues", QUEUE)
    client.xadd(OWN.dead, {"event_type": "Ordered", "id": "1-1", "dead_id": "1-1", "dead_stream_id": "2-2"})
    client.xadd(OWN.dead, {"event_type": "x" * 300, "dead_id": "3-3", "dead_stream_id": "3-3"})
    seen = ok_json(url, "dead", "list", "--queue", QUEUE)["dead"]
    assert ["300 characters" in seen[0]["problem"], "are not `id` and `meta`" in seen[1]["problem"]] == [True, True]
    assert invoke(url, "dead", "replay", "--queue", QUEUE, "--yes").exit_code == 1
    assert ok(url, "dead", "purge", "--queue", QUEUE, "--yes") == "purged 2\n"


def test_an_event_from_a_topic_may_have_fields_of_those_names() -> None:
    flat = [b"event_type", b"Ordered", b"id", b"mine", b"meta", b"mine", b"dead_id", b"5-5", b"dead_stream_id", b"5-5"]
    letter = parse(QUEUE, "9-9", flat)
    assert letter.event is not None
    assert (letter.event.id, letter.event.raw[-4:]) == ("5-5", (b"id", b"mine", b"meta", b"mine"))


@pytest.mark.parametrize("server_name", ["redis-8.6"])
def test_a_worker_buries_an_event_and_a_replay_lets_that_group_try_again(shell: Shell, client: redis.Redis) -> None:
    shell.write("events.py", APP)
    ok(shell.url, "topics", "join", TOPIC, "--group", "mail", "--from", "new", "--namespace", "shop")
    published = ok_json(shell.url, "publish", TOPIC, "--type", "Ordered", "--payload", '{"n": 7}')["entry_ids"]

    def work() -> None:
        done = shell.run("worker", "events.py", "--burst", "--lease", "2s")
        assert done.returncode == 0, done.stderr

    work()
    seen = ok_json(shell.url, "dead", "list")["dead"]
    assert {letter["queue"] for letter in seen} == {QUEUE, f"{TOPIC}/mail"}
    assert {(letter["id"], letter["error"], letter["attempt"]) for letter in seen} == {
        (published[0], "ValueError: 7 is too much", 1)
    }
    validate = ("-A", "events.py", "dead", "replay", "--queue", QUEUE, "--validate", "--yes")
    wrong = shell.run(*validate, "--set", 'n="many"')
    assert (wrong.returncode, "n: Input should be a valid integer" in wrong.stderr) == (1, True)
    done = shell.run(*validate, "--set", "n=3")
    assert done.stdout == "replayed 1, refused 0\n"
    work()
    assert [letter["queue"] for letter in ok_json(shell.url, "dead", "list")["dead"]] == [f"{TOPIC}/mail"]
    assert client.xlen(OWN.stream) == 0
    assert client.hgetall(OWN.where) == {}
    assert client.xlen(TOPIC) == 1
    idle = shell.run("worker", "events.py", "--burst", "--no-topics")
    assert (idle.returncode, "--no-topics leaves nothing to serve" in idle.stderr) == (2, True)
