"""`topics replay|join|leave` on a real server: one group is changed, and nothing is lost unasked."""

from __future__ import annotations

import json
import time

import pytest
import redis

from streamtask.broker import keys
from streamtask.broker.scripts import LEAVE, REWIND
from tests.cli.kit import Shell, invoke, ok, ok_json
from tests.cli.test_topics import OWN, TOPIC, Fill, fill, group_of, read
from tests.support import eventually

__all__ = ["fill"]


@pytest.fixture
def ids(client: redis.Redis, fill: Fill) -> list[str]:
    """Ten events, which two groups have handled; the first holds the last one still."""
    ids = fill(10)
    for group in ("search", "mail"):
        client.xgroup_create(TOPIC, group, "0")
        client.xack(TOPIC, group, *read(client, 10, group)[: -1 if group == "search" else 10])
    return ids


def place(client: redis.Redis, group: str) -> str:
    """Where the group stands."""
    (last,) = [row["last-delivered-id"] for row in client.xinfo_groups(TOPIC) if row["name"] == group]
    return last


# -- replay ------------------------------------------------------------------------------------------------------------


def test_a_replay_gives_one_group_what_came_after_an_id(url: str, client: redis.Redis, ids: list[str]) -> None:
    replay = ("topics", "replay", TOPIC, "--group", "search", "--from", ids[5])
    text = ok(url, *replay, "--dry-run")
    assert text == f"would replay 4 events of {TOPIC} to search, of which 1 pending now\n"
    assert place(client, "search") == ids[-1]
    refused = invoke(url, *replay)
    assert (refused.exit_code, "Say --yes" in refused.output) == (2, True)
    assert place(client, "search") == ids[-1]
    assert ok(url, *replay, "--yes").startswith(f"search goes on after {ids[5]}: 4 events")
    assert group_of(url)["lag"] == 4
    assert read(client, 100) == ids[6:]
    assert place(client, "mail") == ids[-1]


def test_a_replay_from_a_time_takes_what_was_published_then(url: str, client: redis.Redis, ids: list[str]) -> None:
    before = int(ids[-1].partition("-")[0])
    eventually(lambda: client.time()[0] * 1000 + client.time()[1] // 1000 > before + 1)  # a later millisecond
    late = client.xadd(TOPIC, {"event_type": "Ordered"})
    client.xack(TOPIC, "search", *read(client, 10))
    ms = int(late.partition("-")[0])
    moment = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(ms // 1000))}.{ms % 1000:03d}Z"
    done = ok_json(url, "topics", "replay", TOPIC, "--group", "search", "--from", moment, "--yes")
    assert (done["again"], done["exact"], done["replayed"], done["place"]) == (1, True, True, late)
    assert read(client, 10) == [late]
    for start in ("beginning", "0", "1h", "2h ago"):
        done = ok_json(url, "topics", "replay", TOPIC, "--group", "search", "--from", start, "--dry-run")
        assert (done["again"], done["pending"], done["replayed"]) == (11, 2, False)


def test_a_replay_never_goes_forwards(url: str, client: redis.Redis, fill: Fill) -> None:
    ids = fill(5)
    client.xgroup_create(TOPIC, "search", ids[1])
    for start in (ids[1], ids[3]):
        text = ok(url, "topics", "replay", TOPIC, "--group", "search", "--from", start, "--yes")
        assert text.startswith(f"nothing to replay: search stands at {ids[1]}")
    assert place(client, "search") == ids[1]
    wrong = invoke(url, "topics", "replay", TOPIC, "--group", "search", "--from", "new")
    assert wrong.exit_code == 2


def test_a_rewind_checks_again_in_the_step_that_changes(client: redis.Redis, fill: Fill) -> None:
    ids = fill(3)
    client.xgroup_create(TOPIC, "search", ids[1])
    assert client.eval(REWIND.text, 1, TOPIC, "search", ids[2]) == ""
    assert client.eval(REWIND.text, 1, TOPIC, "search", ids[1]) == ""
    assert client.eval(REWIND.text, 1, TOPIC, "other", ids[0]) == "no group"
    assert client.eval(REWIND.text, 1, "nothing", "other", ids[0]) == "no group"
    assert place(client, "search") == ids[1]
    assert client.eval(REWIND.text, 1, TOPIC, "search", "0") == ids[1]
    assert place(client, "search") == "0-0"


def test_a_rewind_within_one_millisecond(client: redis.Redis) -> None:
    for number in range(4):
        client.xadd(TOPIC, {"a": "b"}, id=f"5-{number}")
    client.xgroup_create(TOPIC, "search", "5-3")
    client.xgroup_create(TOPIC, "mail", "5-3")
    assert client.eval(REWIND.text, 1, TOPIC, "search", "5-1") == "5-3"
    assert (place(client, "search"), place(client, "mail")) == ("5-1", "5-3")


def test_a_replay_says_what_is_gone_and_who_is_not_there(url: str, client: redis.Redis, ids: list[str]) -> None:
    client.xtrim(TOPIC, maxlen=4, approximate=False)
    text = ok(url, "topics", "replay", TOPIC, "--group", "search", "--from", "beginning", "--dry-run")
    assert f"4 events of {TOPIC} to search, of which 1 pending now (the topic begins at {ids[6]}: older" in text
    wrong = invoke(url, "topics", "replay", TOPIC, "--group", "serch", "--from", "1h")
    assert (wrong.exit_code, "it has mail, search" in wrong.output) == (1, True)
    odd = invoke(url, "topics", "replay", TOPIC, "--group", "search", "--from", "yesterday")
    assert (odd.exit_code, "write beginning, new" in odd.output) == (2, True)


@pytest.mark.parametrize("server_name", ["redis-8.6"])
def test_a_worker_that_runs_goes_on_from_there_and_only_for_that_group(shell: Shell, client: redis.Redis) -> None:
    shell.write(
        "events.py",
        "from streamtask import Event, StreamTask\napp = StreamTask('shop')\n"
        "class Ordered(Event, topic='shop:orders'):\n    n: int\n"
        "for group in ('search', 'mail'):\n"
        "    @app.on(Ordered, group=group, name=f'{group}.handle')\n"
        "    async def handle(event): ...\n",
    )
    worker = shell.start("worker", "events.py", "--log-format", "json")
    worker.wait_for("worker.ready")
    for number in range(3):
        ok(shell.url, "publish", TOPIC, "--type", "Ordered", "--payload", f'{{"n": {number}}}', "--namespace", "shop")

    def handled(group: str) -> int:
        return sum(event["task"] == f"{group}.handle" for event in worker.events("task.done"))

    eventually(lambda: handled("search") == handled("mail") == 3, 20)
    eventually(lambda: group_of(shell.url)["pending"] == 0, 20)
    ok(shell.url, "topics", "replay", TOPIC, "--group", "search", "--from", "beginning", "--yes")
    eventually(lambda: handled("search") == 6, 20)
    assert handled("mail") == 3
    eventually(lambda: group_of(shell.url)["pending"] == 0, 20)
    assert group_of(shell.url)["consumers"] == 1
    alive = invoke(shell.url, "topics", "leave", TOPIC, "--group", "search", "--yes")
    assert (alive.exit_code, "1 consumer of search reads" in alive.output) == (1, True)


# -- join --------------------------------------------------------------------------------------------------------------


def test_join_makes_what_a_worker_would_make(url: str, client: redis.Redis, ids: list[str]) -> None:
    text = ok(url, "topics", "join", TOPIC, "--group", "audit", "--from", ids[2])
    assert (
        text
        == f"made the group audit on {TOPIC}: its worker will get 7 events that are there already, and what comes\n"
    )
    assert group_of(url, "audit")["lag"] == 7
    own = keys.queue_keys("shop", f"{TOPIC}/audit")
    assert [row["name"] for row in client.xinfo_groups(own.stream)] == ["audit"]
    assert client.sismember("shop:queues", f"{TOPIC}/audit")
    again = invoke(url, "topics", "join", TOPIC, "--group", "audit", "--from", "new")
    assert (again.exit_code, f"stands at {ids[2]}" in again.output) == (1, True)
    assert place(client, "audit") == ids[2]


def test_join_may_begin_anywhere_and_on_a_topic_that_is_new(url: str, client: redis.Redis, ids: list[str]) -> None:
    assert ok_json(url, "topics", "join", TOPIC, "--group", "a", "--from", "new")["waiting"] == 0
    assert ok_json(url, "topics", "join", TOPIC, "--group", "b", "--from", "beginning")["waiting"] == 10
    assert ok_json(url, "topics", "join", TOPIC, "--group", "c", "--from", "1h")["waiting"] == 10
    assert "gets what is published" in ok(url, "topics", "join", "shop:new", "--group", "d", "--from", "beginning")
    assert client.smembers("shop:topics") == {TOPIC, "shop:new"}
    assert invoke(url, "topics", "join", TOPIC, "--group", "e").exit_code == 2
    assert invoke(url, "topics", "join", TOPIC, "--group", "a b", "--from", "new").exit_code == 2


# -- leave -------------------------------------------------------------------------------------------------------------


def age(client: redis.Redis, group: str) -> None:
    """Its consumers have not asked for long, as far as the commands can tell: there is none any more."""
    for row in client.xinfo_consumers(TOPIC, group):
        client.xgroup_delconsumer(TOPIC, group, row["name"])


def test_a_group_that_is_done_leaves_and_takes_its_keys_along(url: str, client: redis.Redis, ids: list[str]) -> None:
    client.xgroup_create(OWN.stream, "search", "0", mkstream=True)
    client.sadd("shop:queues", f"{TOPIC}/search")
    client.hset(OWN.types, "Ordered", "1")
    client.hset(OWN.conf, "lease", "1")
    client.hset(keys.topic_keys(TOPIC, "search").conf, "lease", "1")
    client.hset(keys.lost(TOPIC), mapping={"search": 1, "mail": 2})
    age(client, "search")
    refused = invoke(url, "topics", "leave", TOPIC, "--group", "search")
    assert refused.exit_code == 2
    assert "0 unread, 0 pending, 0 waiting and 0 due" in refused.output
    text = ok(url, "topics", "leave", TOPIC, "--group", "search", "--yes")
    assert text.startswith(f"search has left {TOPIC}: ")
    assert [row["name"] for row in client.xinfo_groups(TOPIC)] == ["mail"]
    assert client.keys(f"{{{TOPIC}}}:search*") == []
    assert client.smembers("shop:queues") == set()
    assert client.hgetall(keys.lost(TOPIC)) == {"mail": "2"}
    gone = invoke(url, "topics", "leave", TOPIC, "--group", "search", "--yes")
    assert (gone.exit_code, "it has mail" in gone.output) == (2, True)


def test_a_group_with_work_does_not_leave_unforced(url: str, client: redis.Redis, ids: list[str]) -> None:
    leave = ("topics", "leave", TOPIC, "--group", "search", "--yes")
    alive = invoke(url, *leave)
    assert (alive.exit_code, "stop its workers first" in alive.output) == (1, True)
    age(client, "search")
    client.xadd(OWN.stream, {"a": "b"})
    client.zadd(OWN.due, {"1-1": 1})
    client.hset(OWN.body, "1-1", "x")
    refused = invoke(url, *leave)
    assert (refused.exit_code, "0 pending, 1 waiting and 1 due in its own queue" in refused.output) == (1, True)
    assert place(client, "search")
    done = ok_json(url, *leave, "--force")
    assert (done["left"], done["waiting"], done["due"]) == (True, 1, 1)
    assert client.keys(f"{{{TOPIC}}}:search*") == []


def test_it_is_looked_at_again_in_the_step_that_removes(url: str, client: redis.Redis, ids: list[str]) -> None:
    def leave(force: int) -> list[int]:
        names = [TOPIC, OWN.stream, OWN.due, OWN.dead, keys.lost(TOPIC), OWN.body, OWN.types]
        return client.eval(LEAVE.text, len(names), *names, "search", force)

    assert leave(0) == [0, 1, 0, 0, 0]
    age(client, "search")
    client.zadd(OWN.due, {"1-1": 1})
    assert leave(0) == [0, 0, 0, 1, 0]
    client.delete(OWN.due)
    client.xadd(OWN.stream, {"a": "b"})
    assert leave(0) == [0, 0, 1, 0, 0]
    assert place(client, "search")
    assert leave(1) == [1, 0, 1, 0, 0]
    assert leave(0) == [1, 0, 0, 0, 0]


def test_dead_letters_stay_and_can_be_purged_after_the_leave(url: str, client: redis.Redis, ids: list[str]) -> None:
    age(client, "search")
    client.sadd("shop:queues", f"{TOPIC}/search")
    client.xadd(OWN.dead, {"event_type": "Ordered", "payload": "{}", "dead_id": ids[0], "dead_stream_id": ids[0]})
    text = ok(url, "topics", "leave", TOPIC, "--group", "search", "--yes")
    assert f"its dead letters stay: streamtask dead list --queue {TOPIC}/search" in text
    assert len(ok_json(url, "dead", "list", "--queue", f"{TOPIC}/search")["dead"]) == 1
    assert group_of(url)["left"]
    ok(url, "dead", "purge", "--queue", f"{TOPIC}/search", "--yes")
    assert json.loads(ok(url, "topics", "leave", TOPIC, "--group", "search", "--yes", "--format", "json"))["left"]
    assert client.smembers("shop:queues") == set()
