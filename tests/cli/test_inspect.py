"""`inspect` and `show`: what they read out of a real server."""

from __future__ import annotations

import json
import re

import redis

from streamtask import StreamTask
from streamtask.settings import Settings
from tests.cli.kit import Shell, invoke, ok, ok_json


def app_at(url: str) -> StreamTask:
    """An app that only sends."""
    app = StreamTask("shop", url, settings=Settings(), queues=["default", "mail"])

    @app.task(name="shop.add")
    def add(x: int) -> int:
        return x

    return app


def presence(client: redis.Redis, consumer: str, kind: str, *queues: str) -> None:
    """A worker or beat that says it lives."""
    facts = {"consumer": consumer, "kind": kind, "host": "h", "pid": 1, "queues": queues, "started_at": 1, "running": 2}
    client.set(
        f"shop:worker:{consumer}", json.dumps(facts | {"lease": 15, "slots": {"coroutine": 100}, "version": "1"})
    )


def test_counts_of_a_queue_nobody_reads(url: str) -> None:
    with app_at(url) as app:
        for _ in range(3):
            app.tasks["shop.add"].delay(1)
        app.tasks["shop.add"].options(countdown=100).delay(1)
        app.tasks["shop.add"].options(queue="mail").delay(1)
    seen = ok_json(url, "inspect")
    default, mail = seen["queues"]
    assert (default["waiting"], default["running"], default["due"], default["dead"]) == (3, 0, 1, 0)
    assert (default["workers"], mail["waiting"]) == (0, 1)
    assert 0 <= default["oldest_s"] < 10
    text = ok(url, "inspect")
    assert re.search(r"QUEUE +WAITING +RUNNING +DUE +DEAD +OLDEST +WORKERS", text)
    assert re.search(r"default +3 +0 +1 +0 +\S+ s +0  ! no worker", text)
    assert re.search(r"\(all\) +4 +0 +1 +0", text)


def test_what_workers_hold_is_running_and_what_was_given_back_waits(url: str, client: redis.Redis) -> None:
    with app_at(url) as app:
        for _ in range(5):
            app.tasks["shop.add"].delay(1)
    client.xgroup_create("shop:default", "workers", "0")
    client.xreadgroup("workers", "w1", {"shop:default": ">"}, count=3)
    (first,) = client.xrange("shop:default", count=1)
    client.xclaim("shop:default", "workers", "released", 0, [first[0]])
    (queue,) = ok_json(url, "inspect")["queues"]
    assert (queue["waiting"], queue["running"]) == (3, 2)
    assert queue["oldest_s"] is not None


def test_workers_beats_and_schedules(url: str, client: redis.Redis) -> None:
    with app_at(url) as app:
        app.tasks["shop.add"].delay(1)
    presence(client, "web:1/aaaa", "worker", "default", "mail")
    presence(client, "web:2/bbbb", "worker", "default")
    presence(client, "beat-web:3/cccc", "beat")
    client.set("shop:worker:odd", "not json")
    when = {"when": "every 5 min", "task": "shop.add", "queue": "default", "missed": "once", "overlap": "allow"}
    client.hset("shop:schedules", "late", json.dumps(when | {"enabled": True, "source": "code", "next": 1000}))
    client.hset("shop:schedules", "off", json.dumps(when | {"enabled": False, "source": "code", "next": None}))
    client.hset("shop:schedules", "@deploy", json.dumps({"at": 1}))
    client.hset("{shop:default}:ticks", "late", "500")
    seen = ok_json(url, "inspect")
    assert [queue["workers"] for queue in seen["queues"]] == [2]
    assert [worker["consumer"] for worker in seen["workers"]] == ["web:1/aaaa", "web:2/bbbb"]
    assert [beat["consumer"] for beat in seen["beats"]] == ["beat-web:3/cccc"]
    late, off = seen["schedules"]
    assert (late["name"], late["last"]) == ("late", "1970-01-01T00:00:00.500000Z")
    assert late["late_s"] > 1e9
    assert (off["state"], off["next"], off["late_s"]) == ("off", None, None)
    text = ok(url, "inspect")
    assert "2 workers, 1 beat" in text
    assert re.search(r"late +every 5 min .* on  ! no beat", text)


def test_one_queue_and_one_worker(url: str, client: redis.Redis) -> None:
    with app_at(url) as app:
        app.tasks["shop.add"].delay(1)
        app.tasks["shop.add"].options(queue="mail").delay(1)
    presence(client, "web:1/aaaa", "worker", "default")
    assert [queue["name"] for queue in ok_json(url, "inspect", "queue", "mail")["queues"]] == ["mail"]
    assert ok_json(url, "inspect", "worker", "web:1")["workers"][0]["pid"] == 1
    wrong = invoke(url, "inspect", "queue", "mial")
    assert wrong.exit_code == 2
    assert "it has default, mail" in wrong.output
    assert invoke(url, "inspect", "queue").exit_code == 2


def test_show_follows_a_message_through_its_life(shell: Shell) -> None:
    url = shell.url
    with app_at(url) as app:
        waiting = app.send("tasks.add", {"x": 1, "y": 2})
        due = app.send("tasks.add", {"x": 1, "y": 2}, countdown=1000)
        failing = app.send("tasks.fail", {"x": 7}, queue="mail")
    assert ok_json(url, "show", waiting.id)["message"]["status"] == "waiting"
    later = ok_json(url, "show", due.id)["message"]
    assert (later["status"], later["task"]) == ("due", "tasks.add")
    shell.work_off()
    done = ok_json(url, "show", waiting.id)["message"]
    assert (done["status"], done["result"], done["task"], done["attempt"]) == ("done", 3, "tasks.add", 1)
    short = f"{waiting.id[:5]}…{waiting.id[-3:]}"
    assert ok_json(url, "show", short)["message"]["id"] == waiting.id
    assert ok_json(url, "show", due.id[:8])["message"]["id"] == due.id
    while ok_json(url, "show", failing.id)["message"]["status"] != "dead":  # its retry falls due
        shell.work_off()
    text = ok(url, "show", failing.id[:8])
    assert f"tasks.fail {failing.id}" in text
    assert "status     dead (retries)" in text
    assert "ValueError: no 7" in text
    assert f"streamtask dead replay {failing.id} --namespace shop" in text


def test_show_finds_a_dead_letter_whose_record_is_over(url: str, client: redis.Redis) -> None:
    with app_at(url) as app:
        app.tasks["shop.add"].delay(1)
    fields = {"task": "shop.add", "id": "abcdef123", "args": "{}", "dead_id": "abcdef123", "dead_reason": "poison"}
    client.xadd("{shop:default}:dead", fields | {"dead_error": "WorkerDied: it died", "dead_at": "1000"})
    shown = ok_json(url, "show", "abcdef123")["message"]
    assert (shown["status"], shown["reason"], shown["error_type"]) == ("dead", "poison", "WorkerDied")


def test_show_of_nothing_and_of_several(url: str) -> None:
    with app_at(url) as app:
        app.tasks["shop.add"].options(message_id="order-1").delay(1)
        app.tasks["shop.add"].options(message_id="order-2").delay(1)
    nothing = invoke(url, "show", "nope")
    assert nothing.exit_code == 1
    assert "nothing is known of a message 'nope' in shop" in nothing.output
    several = invoke(url, "show", "order")
    assert several.exit_code == 2
    assert "order-1" in several.output
    assert "order-2" in several.output
    assert ok_json(url, "show", "order-1")["message"]["id"] == "order-1"
