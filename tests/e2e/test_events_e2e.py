"""Events over several worker processes: each group has each event, whoever is killed; one that fails fails alone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.events_app import RUNS, TOPIC, Ordered, app
from tests.e2e.fleet import Fleet, Process, both_servers
from tests.servers import StartServer
from tests.support import eventually

GROUPS = ("batch", "loop", "thread")
APP = "tests.e2e.events_app:app"


class Topic:
    """The runs of all handlers, and what Redis holds of the topic."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet, self.file = fleet, fleet.folder / "event-runs"
        self.file.touch()
        app.post.relocate(fleet.url)

    def worker(self, **env: str) -> Process:
        """One more, which may not be ready yet."""
        return self.fleet.worker("--concurrency", "50", path=APP, **{RUNS: str(self.file)}, **env)

    def runs(self, group: str) -> Counter[int]:
        """How often each event was handled by a group."""
        return Counter(n for name, n, _ in self._lines() if name == group)

    def pids(self, group: str) -> set[int]:
        """Who has handled events of a group."""
        return {pid for name, _, pid in self._lines() if name == group}

    def at_the_end(self, *groups: str) -> bool:
        """Has each of them everything behind it, in the topic and in its own queue?"""
        client = self.fleet.client
        rows = {row["name"].decode(): row for row in client.xinfo_groups(TOPIC)}
        for group in groups:
            own = f"{{{TOPIC}}}:{group}"
            row = rows[group]
            unread = client.xrange(TOPIC, f"({row['last-delivered-id'].decode()}", "+", count=1)
            if unread or row["pending"] or client.xlen(own) or client.zcard(f"{own}:due"):
                return False
        return True

    def dead(self, group: str) -> int:
        """How many dead letters a group has."""
        return int(self.fleet.client.xlen(f"{{{TOPIC}}}:{group}:dead"))

    def _lines(self) -> list[tuple[str, int, int]]:
        lines = (line.split() for line in Path(self.file).read_text().splitlines())
        return [(group, int(n), int(pid)) for group, n, pid in lines]


@pytest.fixture
def topic(fleet: Fleet) -> Topic:
    """On each server in turn."""
    return Topic(fleet)


@both_servers
@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.long)])
def test_each_event_once_in_each_group_while_one_group_fails_always(topic: Topic, count: int) -> None:
    workers = [topic.worker(ILL="1") for _ in range(4)]
    for worker in workers:
        worker.ready()
    began = time.monotonic()
    app.publish_many([Ordered(n=n) for n in range(count)])
    eventually(lambda: topic.at_the_end(*GROUPS, "ill"), 110)
    took = time.monotonic() - began
    everything = Counter(range(count))
    spread = {group: len(topic.pids(group)) for group in GROUPS}
    print(
        f"\n{topic.fleet.server.name}: {count} events, 3 groups and one that fails, 4 workers: {took:.2f} s, {spread}"
    )
    for group in GROUPS:
        assert topic.runs(group) == everything, f"{group}: each once"
        assert topic.dead(group) == 0
    assert topic.runs("ill") == everything + everything
    assert topic.dead("ill") == count
    assert topic.fleet.client.xlen(TOPIC) == count


@both_servers
@pytest.mark.parametrize(("count", "kills"), [(2_000, 1), pytest.param(10_000, 4, marks=pytest.mark.long)])
def test_kill_9_of_workers_loses_no_event(topic: Topic, count: int, kills: int) -> None:
    workers = [topic.worker().ready() for _ in range(3)]
    killed = set()
    for turn in range(kills):
        part = range(count * turn // kills, count * (turn + 1) // kills)
        app.publish_many([Ordered(n=n) for n in part])
        eventually(lambda part=part: topic.runs("loop")[part[len(part) // 4]], 60)  # type: ignore[misc]
        victim = workers.pop(0)
        victim.kill9()
        killed.add(victim.pid)
        workers.append(topic.worker().ready())
    eventually(lambda: topic.at_the_end(*GROUPS), 60)
    for group in GROUPS:
        runs = topic.runs(group)
        assert set(runs) == set(range(count)), group
        assert topic.dead(group) == 0
        twice = sum(times > 1 for times in runs.values())
        print(f"{topic.fleet.server.name} {group}: {count} events, {kills} kill -9, {twice} handled twice")
        assert max(runs.values()) <= 1 + kills


def test_a_poison_event_deep_among_others_kills_two_processes_and_buries_nobody_else(topic: Topic) -> None:
    app.publish_many([Ordered(n=n) for n in range(1_000)])
    topic.fleet.client.xgroup_create(TOPIC, "fragile", "0")
    topic.fleet.client.xreadgroup("fragile", "somebody who died", {TOPIC: ">"}, count=1_000)  # all are pending
    parent = topic.fleet.worker("--processes", "2", lease=1.0, path=APP, **{RUNS: str(topic.file), "FRAGILE": "713"})
    parent.wait_for("worker.ready")
    eventually(lambda: topic.dead("fragile") == 1, 60)
    eventually(lambda: topic.at_the_end(*GROUPS, "fragile"), 60)
    assert topic.runs("fragile")[713] == 2, "the delivery to who died was the first"
    ((_, letter),) = topic.fleet.client.xrange(f"{{{TOPIC}}}:fragile:dead")
    assert (letter[b"dead_reason"], letter[b"payload"]) == (b"poison", b'{"n":713}')
    assert len(parent.events("worker.died")) == 2
    for group in (*GROUPS, "fragile"):
        assert set(topic.runs(group)) == set(range(1_000)), group
    assert [topic.dead(group) for group in GROUPS] == [0, 0, 0]


def test_a_restart_of_redis_loses_no_event(fleets: Callable[..., Fleet], own_server: StartServer) -> None:
    server = own_server("redis-8.6", appendonly="yes", appendfsync="always")
    topic = Topic(fleets(server))
    for _ in range(2):
        topic.worker().ready()
    app.publish_many([Ordered(n=n) for n in range(500)])
    server.kill9()
    server.start()
    app.publish_many([Ordered(n=n) for n in range(500, 1000)])
    eventually(lambda: topic.at_the_end(*GROUPS), 60)
    for group in GROUPS:
        assert set(topic.runs(group)) == set(range(1000)), group
        assert topic.dead(group) == 0
