"""Redis ends and comes back in the middle of the work: nothing is lost, and what runs meanwhile is run once."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.e2e.fleet import Fleet
from tests.servers import Server, StartServer
from tests.support import eventually

LEASE = 2.0
MakeFleet = Callable[[Server], Fleet]


def test_a_redis_that_is_away_longer_than_the_lease_costs_no_message_and_no_second_run(
    own_server: StartServer, server_name: str, fleets: MakeFleet
) -> None:
    fleet = fleets(own_server(server_name, appendonly="yes", appendfsync="always"))
    workers = [fleet.worker("--concurrency", "8", "--threads", "8", lease=LEASE) for _ in range(2)]
    for worker in workers:
        worker.ready()
    gate = fleet.gate()
    held = [fleet.send(task, n=n, gate=gate.path) for n in range(3) for task in ("hold", "hold_thread")]
    long = {result.id for result in held}
    eventually(lambda: {run.id for run in fleet.runs.of("start")} == long)
    ids: set[str] = set()

    def busy(wanted: int) -> bool:
        """So many have ended, and Redis ends in the middle of the work however slowly this test gets on."""
        if fleet.left() < 150:
            ids.update(fleet.many(100, seconds=0.1))
        return len(fleet.runs.ended()) >= wanted and fleet.left() >= 100

    ended = []
    for end in (fleet.server.stop, fleet.server.kill9):
        wanted = len(fleet.runs.ended()) + 60
        eventually(lambda wanted=wanted: busy(wanted), 40)
        end()
        ended.append(len(fleet.runs.ended()))
        away_since = time.monotonic()
        eventually(lambda since=away_since: time.monotonic() - since > LEASE * 1.25)
        fleet.server.start()
    eventually(lambda: ids <= fleet.runs.ended(), 60)
    gate.open()
    report = fleet.finished(ids | long)
    text = f"{ended[0]} had ended at SIGTERM, {ended[1]} at kill -9"
    print(f"\n{fleet.server.name}: {len(ids | long)} messages, Redis away twice for {LEASE * 1.25} s, {text}: {report}")
    assert [result.info().status for result in held] == ["done"] * 6
    assert {id: len(fleet.runs.of("start", id=id)) for id in long} == dict.fromkeys(long, 1)
    assert (report.started_twice, report.ended_twice) == ([], [])
    for worker in workers:
        worker.wait_for("redis.back")  # the one that paused longest may still be on its way back
        assert worker.stop() == 0
