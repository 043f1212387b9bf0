"""The doctor: what it finds (pure), and its command on real servers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import redis

from streamtask.broker.server import Server
from streamtask.doctor import Facts, examine, worst
from streamtask.inspector import ProcessView, QueueView, ScheduleView, Snapshot
from streamtask.topics import GroupView, TopicView
from tests.cli.kit import invoke, ok, ok_json
from tests.servers import StartServer

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SERVER = Server("redis", "8.6.3", "standalone", True, True, "noeviction", True, "everysec", 100, 2**20, 0)
FACTS = Facts(SERVER, "redis://h:6379/0", ping_s=0.0002, pings=100, skew_s=0.01)
QUEUE = QueueView("mail", waiting=3, running=1, due=2, dead=0, oldest_s=1.0, overdue_s=None, workers=1)
SCHEDULE = ScheduleView(
    "daily", "every 5 min", "t", "mail", "on", NOW, NOW - timedelta(minutes=5), None, "once", "allow", "code"
)


def found(facts: Facts) -> dict[str, str]:
    """Name and level of all findings that are not ok."""
    return {finding.name: finding.level for finding in examine(facts) if finding.level != "ok"}


def with_server(**changes: object) -> Facts:
    return replace(FACTS, server=replace(SERVER, **changes))  # type: ignore[arg-type]


def with_namespace(queue: QueueView = QUEUE, schedule: ScheduleView = SCHEDULE) -> Facts:
    worker = ProcessView("w")
    return replace(FACTS, snapshots=[Snapshot("shop", NOW, SERVER, (queue,), (worker,), (schedule,))])


def with_topic(version: str = "8.6.3", **changes: object) -> Facts:
    group = replace(GroupView("g", "9999999-0", 5, True, 1, consumers=1), **changes)  # type: ignore[arg-type]
    topic = TopicView("t", 9, "1-0", 1.0, "9999999-0", 1.0, 100, (group,))
    facts = with_namespace()
    (snapshot,) = facts.snapshots
    server = replace(SERVER, version=version)
    return replace(facts, server=server, snapshots=[replace(snapshot, topics=(topic,))])


def test_all_is_well() -> None:
    assert found(FACTS) == {}
    assert found(with_namespace()) == {}
    assert worst(examine(with_namespace())) == "ok"


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (with_server(policy="allkeys-lru"), {"eviction": "FAIL"}),
        (with_topic(), {}),
        (with_topic(consumers=0), {"t/g": "warn"}),
        (with_topic(consumers=0, lag=0, pending=0), {}),
        (with_topic(lag=20_000), {"t/g": "warn"}),
        (with_topic(lag=10_000, lag_exact=False), {"t/g": "warn"}),
        (with_topic(oldest_pending="1-0", holder="w"), {"t/g": "warn"}),
        (with_topic(lost=1), {"t/g": "warn"}),
        (with_topic(dead=1), {"t/g": "warn"}),
        (with_topic(left=True, lag=0), {"t": "warn"}),
        (with_topic(version="8.4.3"), {"trimming": "warn"}),
        (with_topic(version="8.2.6"), {"trimming": "warn"}),
        (with_topic(version="8.4.4"), {}),
        (with_topic(version="8.2.7"), {}),
        (with_topic(version="8.3.9"), {}),
        (with_server(version="8.4.3"), {}),
        (with_server(policy="volatile-ttl"), {"eviction": "FAIL"}),
        (replace(with_server(policy="allkeys-lru"), allow_eviction=True), {"eviction": "warn"}),
        (with_server(policy=None), {"eviction": "warn"}),
        (with_server(version="6.2.14"), {"redis": "FAIL"}),
        (with_server(version="7.0.15", claim=False, ackdel=False), {}),
        (with_server(engine="valkey", version="8.1.8"), {}),
        (with_server(maxmemory=2**30), {}),
        (with_server(memory=900, maxmemory=1000), {"memory": "warn"}),
        (with_server(memory=990, maxmemory=1000), {"memory": "FAIL"}),
        (with_server(memory=None), {"memory": "warn"}),
        (with_server(aof=False), {"durability": "warn"}),
        (with_server(aof=None), {"durability": "warn"}),
        (with_server(appendfsync="no"), {"durability": "warn"}),
        (with_server(appendfsync=None), {}),
        (replace(FACTS, ping_s=0.2), {"latency": "warn"}),
        (replace(FACTS, skew_s=-3.0), {"clock": "warn"}),
        (with_namespace(replace(QUEUE, workers=0)), {"shop:mail": "warn"}),
        (with_namespace(replace(QUEUE, workers=0, waiting=0, due=0)), {}),
        (with_namespace(replace(QUEUE, dead=5)), {"shop:mail": "warn"}),
        (with_namespace(replace(QUEUE, overdue_s=1.0)), {}),
        (with_namespace(replace(QUEUE, overdue_s=20.0)), {"shop:mail": "warn"}),
        (with_namespace(replace(QUEUE, overdue_s=200.0)), {"shop:mail": "FAIL"}),
        (with_namespace(schedule=replace(SCHEDULE, late_s=1.0)), {}),
        (with_namespace(schedule=replace(SCHEDULE, late_s=20.0)), {"shop": "warn"}),
        (with_namespace(schedule=replace(SCHEDULE, late_s=200.0)), {"shop": "FAIL"}),
    ],
)
def test_each_finding_and_its_fix(facts: Facts, expected: dict[str, str]) -> None:
    assert found(facts) == expected
    assert all(finding.fix for finding in examine(facts) if finding.level != "ok")


def test_a_server_without_disk_is_a_warning(url: str) -> None:
    text = ok(url, "doctor")
    assert "ok    redis" in text
    assert "p99 of 100 pings" in text
    assert "warn  durability  no append-only file" in text
    assert "fix: set appendonly yes" in text
    assert invoke(url, "doctor", "--strict").exit_code == 7


def test_a_server_that_evicts_fails(own_server: StartServer) -> None:
    server = own_server(maxmemory="100mb", maxmemory_policy="allkeys-lru", appendonly="yes")
    result = invoke(server.url, "doctor")
    assert result.exit_code == 6
    assert "FAIL  eviction    allkeys-lru" in result.output
    allowed = invoke(server.url, "doctor", STREAMTASK_ALLOW_EVICTION="1")
    assert allowed.exit_code == 0


def test_no_server_is_told_as_a_finding(own_server: StartServer) -> None:
    server = own_server()
    server.stop()
    result = invoke(server.url, "doctor", "--format", "json")
    assert result.exit_code == 3
    assert '"level": "FAIL"' in result.stdout


def test_every_namespace_is_looked_at(url: str, client: redis.Redis) -> None:
    for name in ("shop", "blog"):
        client.sadd("streamtask:namespaces", name)
        client.sadd(f"{name}:queues", "default")
        client.xadd(f"{name}:default", {"task": "t"})
    names = [finding["name"] for finding in ok_json(url, "doctor")["findings"]]
    assert {"shop", "blog", "shop:default", "blog:default"} <= set(names)
    assert "blog" not in [f["name"] for f in ok_json(url, "doctor", "--namespace", "shop")["findings"]]
