"""`topics list|show`, and the topics in `inspect` and `doctor`: what they read out of a real server."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import redis

from streamtask import topics
from streamtask.broker.keys import queue_keys
from tests.cli.kit import invoke, ok, ok_json
from tests.cli.test_inspect import presence
from tests.servers import ALL

TOPIC = "shop:orders"
OWN = queue_keys("shop", f"{TOPIC}/search")

Fill = Callable[..., list[str]]


@pytest.fixture
def fill(client: redis.Redis) -> Fill:
    """Makes the topic with so many events, as publishers do; gives their entry ids."""
    client.sadd("streamtask:namespaces", "shop")
    client.sadd("shop:topics", TOPIC)

    def fill(number: int, **more: Any) -> list[str]:
        fields = {"event_type": "Ordered", "source": "tests", "payload": '{"n":1}'} | more
        return [client.xadd(TOPIC, {"event_id": f"e{i}", **fields}) for i in range(number)]

    return fill


def group_of(url: str, name: str = "search") -> dict[str, Any]:
    """A group as `topics show` tells it."""
    seen = ok_json(url, "topics", "show", TOPIC)["topic"]["groups"]
    (group,) = [group for group in seen if group["name"] == name]
    return group


def read(client: redis.Redis, number: int, group: str = "search", consumer: str = "w1") -> list[str]:
    """Give a consumer of the group so many entries."""
    ((_, entries),) = client.xreadgroup(group, consumer, {TOPIC: ">"}, count=number)
    return [id for id, _ in entries]


def test_a_topic_and_its_groups(url: str, client: redis.Redis, fill: Fill) -> None:
    ids = fill(10)
    client.xgroup_create(TOPIC, "search", "0")
    client.xgroup_create(TOPIC, "mail", "$")
    held = read(client, 4)
    client.xack(TOPIC, "search", *held[1:])
    client.xgroup_create(OWN.stream, "search", "0", mkstream=True)
    for _ in range(3):
        client.xadd(OWN.stream, {"a": "b"})
    client.xreadgroup("search", "w1", {OWN.stream: ">"}, count=1)
    client.zadd(OWN.due, {"1-1": 10**15})
    client.xadd(OWN.dead, {"a": "b"})
    client.hset(OWN.types, "Ordered", 1_700_000_000_000)
    client.hset(f"{{{TOPIC}}}:lost", "search", 7)
    (topic,) = ok_json(url, "topics", "list")["topics"]
    assert (topic["name"], topic["entries"], topic["first_id"], topic["last_id"]) == (TOPIC, 10, ids[0], ids[-1])
    assert topic["memory"] > 100
    mail, search = sorted(topic["groups"], key=lambda group: group["name"])
    assert (mail["lag"], mail["lag_exact"], mail["pending"], mail["oldest_s"]) == (0, True, 0, None)
    assert (search["lag"], search["pending"], search["oldest_pending"], search["holder"]) == (6, 1, ids[0], "w1")
    assert (search["waiting"], search["running"], search["due"], search["dead"], search["lost"]) == (2, 1, 1, 1, 7)
    assert (search["consumers"], mail["consumers"]) == (1, 0)
    assert search["types"] == {"Ordered": "2023-11-14T22:13:20Z"}
    assert 0 <= search["oldest_s"] < 60
    text = ok(url, "topics", "list")
    assert re.search(rf"{TOPIC} +10 +\S+ s +search +6 +1 +3 +1 +\S+ s +1\n", text)
    assert "! shop:orders as search: lost 7 events" in text
    shown = ok(url, "topics", "show", TOPIC)
    assert re.search(r"search +6 +1 +2 +1 +1 +1 +7 ", shown)
    assert "search handles Ordered (said" in shown
    assert f"streamtask dead list --queue {TOPIC}/search" in shown
    inspected = ok(url, "inspect")
    assert re.search(rf"TOPIC +GROUP +LAG +PENDING +RETRY +DEAD +OLDEST +CONSUMERS\n{TOPIC} +", inspected)
    assert re.search(rf"{TOPIC} +search +6 +1 +3 +1 +\S+ s +1  ! lost 7", inspected)
    assert "(all)" not in inspected


@pytest.mark.parametrize("server_name", ALL)
@pytest.mark.parametrize("begins", ["0", "the third", "$"])
def test_the_lag_is_right_wherever_a_group_began_and_whatever_was_deleted(
    url: str, client: redis.Redis, fill: Fill, begins: str
) -> None:
    """XINFO's lag is NULL in all of these, or wrong."""
    ids = fill(6)
    client.xgroup_create(TOPIC, "search", ids[2] if begins == "the third" else begins)
    left = {"0": 6, "the third": 3, "$": 0}[begins]
    assert group_of(url)["lag"] == left
    ids += fill(4)
    assert group_of(url)["lag"] == left + 4
    first, *_ = read(client, 2)
    assert group_of(url)["lag"] == left + 2
    client.xdel(TOPIC, ids[-1])  # an unread one
    assert group_of(url)["lag"] == left + 1
    client.xdel(TOPIC, first)
    seen = group_of(url)
    assert (seen["lag"], seen["lag_exact"]) == (left + 1, True)
    read(client, 100)
    assert group_of(url)["lag"] == 0


@pytest.mark.parametrize("server_name", ALL)
def test_what_was_trimmed_unread_is_not_counted(url: str, client: redis.Redis, fill: Fill) -> None:
    fill(10)
    client.xgroup_create(TOPIC, "search", "0")
    read(client, 2)
    client.xtrim(TOPIC, maxlen=5, approximate=False)
    assert group_of(url)["lag"] == 5
    read(client, 2)
    assert group_of(url)["lag"] == 3
    fill(2)
    assert group_of(url)["lag"] == 5


def test_a_lag_that_must_be_counted_is_counted_up_to_a_bound(
    url: str, client: redis.Redis, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topics, "COUNTED", 20)
    monkeypatch.setattr(topics, "PAGE", 7)
    ids = fill(30)
    for place, expected in ((9, (20, True)), (8, (20, False)), (10, (19, True))):
        client.xgroup_create(TOPIC, f"g{place}", ids[place])
        client.xdel(TOPIC, client.xadd(TOPIC, {"a": "b"}))  # no server tells the lag after that
        seen = group_of(url, f"g{place}")
        assert (seen["lag"], seen["lag_exact"]) == expected
    assert re.search(r"g8 +20\+ +0 ", ok(url, "topics", "list"))


def test_who_is_alive(url: str, client: redis.Redis, fill: Fill) -> None:
    """By a reading that is not long ago, or by the presence of a worker; nobody else is."""
    fill(1)
    client.xgroup_create(TOPIC, "search", "0")
    read(client, 1, consumer="web:1/aaaa")
    client.xgroup_createconsumer(TOPIC, "search", "released")
    assert group_of(url)["consumers"] == 1
    presence(client, "web:1/aaaa", "worker", f"{TOPIC}/search")
    assert group_of(url)["consumers"] == 1


def test_what_is_wrong_is_said_with_its_fix(url: str, client: redis.Redis, fill: Fill) -> None:
    fill(3)
    text = ok(url, "topics", "list")
    assert f"! {TOPIC}: nobody reads it: 3 entries" in text
    assert f"streamtask topics join {TOPIC} --group GROUP" in text
    client.xgroup_create(TOPIC, "search", "0")
    shown = ok_json(url, "topics", "show", TOPIC)["topic"]["problems"]
    assert [(problem["group"], problem["text"]) for problem in shown] == [
        ("search", "no worker: 3 unread, 0 pending, 0 to try again")
    ]
    assert f"topics leave {TOPIC} --group search" in shown[0]["fix"]
    assert "! no worker" in ok(url, "inspect", "topic", TOPIC)
    assert f"{TOPIC}/search" in ok(url, "doctor")


def test_a_group_that_is_stuck_stalls_trimming(url: str, client: redis.Redis, fill: Fill) -> None:
    client.xadd(TOPIC, {"event_type": "Ordered"}, id="1000000000000-0")
    client.xgroup_create(TOPIC, "search", "0")
    read(client, 1)
    assert ok_json(url, "topics", "show", TOPIC)["topic"]["problems"] == []  # it may be on its way
    fill(2)
    read(client, 1)
    (problem,) = ok_json(url, "topics", "show", TOPIC)["topic"]["problems"]
    assert problem["text"].startswith("stalls trimming: 1000000000000-0 is pending")
    assert "inspect worker w1" in problem["fix"]


def test_a_topic_of_others_and_one_that_is_not_there(url: str, client: redis.Redis) -> None:
    client.xadd("foreign", {"a": "b"})
    client.xgroup_create("foreign", "a group", "0")
    (group,) = ok_json(url, "topics", "show", "foreign")["topic"]["groups"]
    assert (group["name"], group["lag"]) == ("a group", 1)
    missing = invoke(url, "topics", "show", "nothing")
    assert (missing.exit_code, "there is no topic 'nothing'" in missing.output) == (2, True)
    wrong = invoke(url, "topics", "show", "a}b")
    assert (wrong.exit_code, "is no topic" in wrong.output) == (2, True)
    client.set("text", "x")
    assert invoke(url, "topics", "show", "text").exit_code == 1


def test_no_topics(url: str, client: redis.Redis) -> None:
    client.sadd("streamtask:namespaces", "shop")
    assert ok(url, "topics", "list").startswith("no topics")
    assert ok_json(url, "topics", "list")["topics"] == []
    assert "TOPIC" not in ok(url, "inspect")


def test_queues_and_topics_stand_apart_in_inspect(url: str, client: redis.Redis, fill: Fill) -> None:
    fill(1)
    client.sadd("shop:queues", "mail", f"{TOPIC}/search")
    presence(client, "web:1/aaaa", "worker", "mail", f"{TOPIC}/search", f"{TOPIC}/search")
    seen = ok_json(url, "inspect")
    assert [queue["name"] for queue in seen["queues"]] == ["mail"]
    (topic,) = seen["topics"]
    assert [(group["name"], group["left"]) for group in topic["groups"]] == [("search", True)]
    assert json.dumps(seen)
    assert ok(url, "inspect").count(f"{TOPIC}/search") == 1
    missing = invoke(url, "inspect", "topic", "x")
    assert (missing.exit_code, f"it has {TOPIC}" in missing.output) == (2, True)
