"""What can come next in a world, without faults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import wire
from .delivery import Flight
from .server import RELEASED, Server
from .worker import Worker

Action = tuple[Any, ...]


class Steps:
    """The possible steps; world.py carries them out."""

    server: Server
    workers: dict[str, Worker]
    network: list[tuple[str, Flight]]
    outcomes: tuple[str, ...]
    eager: bool
    now: int

    def actions(self) -> Iterator[Action]:
        """What may happen next, without faults."""
        for name, worker in self.workers.items():
            if worker.life == "up":
                yield from self._thread_actions(name, worker)
                if not worker.blocked:
                    yield from self._loop_actions(name, worker)
        if self.server.up:
            yield from self._server_actions()
        if self.may_tick():
            yield ("tick",)

    def _thread_actions(self, name: str, worker: Worker) -> Iterator[Action]:
        flight = worker.links.get("lease")
        if not worker.thread:
            return
        if flight is None:
            if self.server.up and wire.due(worker):
                yield ("renew", name)
        elif flight.replied:
            yield ("deliver", name, "lease")

    def _loop_actions(self, name: str, worker: Worker) -> Iterator[Action]:
        for link in ("reader", "writer", "control"):
            flight = worker.links.get(link)
            if flight is not None and flight.replied:
                yield ("deliver", name, link)
        if worker.posts:
            yield ("post", name)
        for n, delivery in worker.all.items():
            if delivery.state == "starting":
                yield ("begin", name, n)
            elif delivery.state == "running":
                for outcome in self.outcomes:
                    yield ("finish", name, n, outcome)
        yield from self._sends(name, worker)
        yield from self._stop_actions(name, worker)

    def _sends(self, name: str, worker: Worker) -> Iterator[Action]:
        if not self.server.up:
            return
        if not self.eager and self._may_read(worker):
            yield ("read", name)
        if worker.groupless:
            yield ("declare", name)
        if self._may_take(worker):
            yield ("take", name)
        if worker.pending and "writer" not in worker.links:
            yield ("flush", name)
        if self._may_mark(worker):
            yield ("mark", name)

    def _stop_actions(self, name: str, worker: Worker) -> Iterator[Action]:
        if not worker.stopping:
            return
        if not worker.draining and "reader" not in worker.links:
            yield ("drain", name)
        if worker.draining and not worker.hurried and worker.running:
            yield ("hurry", name)
        if worker.draining and not worker.pending and not worker.links and (worker.hurried or not worker.running):
            yield ("exit", name)

    def _server_actions(self) -> Iterator[Action]:
        for name, worker in self.workers.items():
            for link, flight in worker.links.items():
                if not flight.replied and (flight.kind != "read" or self.readable()):
                    yield ("exec", name, link)
        for i in range(len(self.network)):
            yield ("late", i)
        if any(at <= self.server.time for at in self.server.due.values()):
            yield ("move", "mover")

    def readable(self) -> bool:
        """Would a read that waits be served now?"""
        server = self.server
        if server.group is None:
            return True
        new = server.next_id - 1 > server.group and any(id > server.group for id in server.stream)
        return new or (server.native and any(row.owner == RELEASED for row in server.pel.values()))

    def _may_read(self, worker: Worker) -> bool:
        idle = worker.life == "up" and not worker.blocked and "reader" not in worker.links and self.server.up
        return idle and worker.demand > 0 and not worker.silent and not worker.groupless

    def _may_mark(self, worker: Worker) -> bool:
        if not worker.marking or "control" in worker.links or worker.refused_at == worker.now:
            return False
        settling = worker.all[worker.marking[0]].state == "settling"
        return not worker.in_lane or worker.at_peace or self._proven(worker) or settling or worker.impatient

    def _proven(self, worker: Worker) -> bool:
        """Is there a mark of an earlier start of the lane's suspect?"""
        if not worker.in_lane:
            return False
        suspect = worker.all[worker.marking[0]]
        mark = self.server.suspects.get(suspect.entry.mid)
        return mark is not None and mark[1] != (suspect.id, suspect.count, worker.name)

    def _may_take(self, worker: Worker) -> bool:
        """The wait of a read ends when a lease may have run out; a look at nothing is left out."""
        waiting = worker.links.get("reader")
        if worker.demand <= 0 or worker.silent or worker.groupless or (waiting is not None and waiting.kind != "read"):
            return False
        if waiting is not None and waiting.replied:
            return False
        rows = self.server.pel.values()
        parked = not self.server.native and any(row.owner == RELEASED for row in rows)
        idle = any(self.server.idle(row) >= worker.settings.lease for row in rows if row.owner != RELEASED)
        return parked or (idle and worker.now >= worker.holiday_until)

    # -- time ---------------------------------------------------------------------------------------------------------

    def may_tick(self) -> bool:
        """Is nothing left that healthy processes do at once?"""
        if self.network and self.server.up:
            return False
        return all(self._waits(worker) for worker in self.workers.values() if worker.life != "gone")

    def _waits(self, worker: Worker) -> bool:
        if self.server.up and any(not f.replied and f.kind != "read" for f in worker.links.values()):
            return False
        if worker.life == "paused":
            return True
        if worker.thread and ("lease" in worker.links or (self.server.up and wire.due(worker))):
            return False
        if worker.blocked:
            return True
        answered = any(flight.replied for flight in worker.links.values())
        if any(delivery.state == "starting" for delivery in worker.all.values()):
            return False
        if self.server.up and worker.pending and worker.flushed_at != self.now:
            return False
        return not answered and not worker.posts and not (worker.groupless and self.server.up)
