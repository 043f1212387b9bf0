"""The faults that can be laid between any two steps. Each takes one from its budget where the world has one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from . import scripts, wire
from .delivery import Flight
from .scripts import EPOCH
from .server import Refused, Server
from .world import Action, World


class Faulty(World):
    """A world in which things go wrong. `budget` names the faults and how many of each may still come."""

    snapshot: Server | None = None

    def faults(self) -> Iterator[Action]:
        """What may go wrong next."""
        for kind, left in self.budget.items():
            if left:
                yield from getattr(self, "_" + kind)()
        for name, worker in self.workers.items():
            if worker.life == "paused":
                yield ("resume", name)
            elif worker.blocked:
                yield ("unblock", name)

    def spend(self, kind: str) -> None:
        """One fault less."""
        if kind in self.budget:
            self.budget[kind] -= 1

    def _alive(self) -> list[str]:
        return [name for name, worker in self.workers.items() if worker.life == "up"]

    # -- processes ----------------------------------------------------------------------------------------------------

    def _crash(self) -> Iterator[Action]:
        for name, worker in self.workers.items():
            if worker.life != "gone" and (worker.all or worker.links):
                yield ("crash", name)

    def do_crash(self, name: str) -> None:
        """Kill -9; what it had sent may have reached the server, the answers reach nobody."""
        self.spend("crash")
        self.kill(self.workers[name])

    def _pause(self) -> Iterator[Action]:
        for name in self._alive():
            if self.workers[name].all or self.workers[name].links:
                yield ("pause", name)

    def do_pause(self, name: str) -> None:
        """SIGSTOP."""
        self.spend("pause")
        worker = self.workers[name]
        worker.life = "paused"
        if not worker.blocked:
            worker.still_since = self.now

    def do_resume(self, name: str) -> None:
        """SIGCONT."""
        worker = self.workers[name]
        worker.life = "up"
        if not worker.blocked:
            worker.stood(worker.still_since)

    def _block(self) -> Iterator[Action]:
        for name in self._alive():
            if not self.workers[name].blocked:
                yield ("block", name)

    def do_block(self, name: str) -> None:
        """A task holds the event loop; the lease thread goes on."""
        self.spend("block")
        self.workers[name].blocked = True
        self.workers[name].still_since = self.now

    def do_unblock(self, name: str) -> None:
        """The loop goes on."""
        worker = self.workers[name]
        worker.blocked = False
        worker.stood(worker.still_since)

    def _mute(self) -> Iterator[Action]:
        for name in self._alive():
            if self.workers[name].thread:
                yield ("mute", name)

    def do_mute(self, name: str) -> None:
        """The lease thread dies."""
        self.spend("mute")
        self.workers[name].thread = False
        self.workers[name].links.pop("lease", None)

    def _term(self) -> Iterator[Action]:
        for name in self._alive():
            if not self.workers[name].stopping:
                yield ("term", name)

    def do_term(self, name: str) -> None:
        """TERM: a read that waits is ended on the server, so that no reply is lost."""
        self.spend("term")
        worker = self.workers[name]
        worker.stopping = True
        waiting = worker.links.get("reader")
        if waiting is None or waiting.replied:
            return
        if waiting.kind == "read":  # the answer to any other comes soon
            del worker.links["reader"]

    def _hire(self) -> Iterator[Action]:
        if self.server.up and not self.server.readonly:  # a start needs to write
            yield ("hire",)

    def do_hire(self) -> None:
        """A worker joins, as at a rolling restart."""
        self.spend("hire")
        self.hire()

    def _overdue(self) -> Iterator[Action]:
        for name in self._alive():
            worker = self.workers[name]
            if not worker.blocked and (worker.buffer or (worker.lane and worker.alone is not None)):
                yield ("overdue", name)

    def do_overdue(self, name: str) -> None:
        """What is buffered has waited too long; no fault, but as rare as one."""
        self.spend("overdue")
        self.workers[name].overdue()

    # -- the wire -----------------------------------------------------------------------------------------------------

    def _flights(self) -> Iterator[tuple[str, str, Flight]]:
        for name, worker in self.workers.items():
            if worker.life == "up":
                for link, flight in worker.links.items():
                    yield name, link, flight

    def _lost(self) -> Iterator[Action]:
        for name, link, _ in self._flights():
            yield ("lose", name, link)
            if link == "lease" and self.workers[name].links[link].replied:
                yield ("half", name)

    def do_lose(self, name: str, link: str) -> None:
        """The connection breaks: with the request before, the answer after it was carried out, or a part of each."""
        self.spend("lost")
        wire.fail(self.workers[name], link)

    def do_half(self, name: str) -> None:
        """The lease thread's turn breaks after its renewal was answered: it renews the same again."""
        self.spend("lost")
        worker = self.workers[name]
        asked = worker.links["lease"].what
        last = worker.last_turn
        wire.deliver(worker, "lease")
        worker.urgent += asked
        worker.last_turn, worker.turn_at = last, -1

    def _delayed(self) -> Iterator[Action]:
        for name, link, flight in self._flights():
            if not flight.replied:
                yield ("delay", name, link)

    def do_delay(self, name: str, link: str) -> None:
        """The client gives up on a request that still reaches the server later."""
        self.spend("delayed")
        self.network.append((name, self.workers[name].links[link].copied()))
        wire.fail(self.workers[name], link)

    def _twice(self) -> Iterator[Action]:
        for copy in list(self.server.ledger):
            yield ("twice", copy)

    def do_twice(self, copy: int) -> None:
        """A producer sends a message again whose answer it lost: another copy with the same id."""
        self.spend("twice")
        mids = [e.mid for e in (*self.server.stream.values(), *self.server.body.values()) if e.copy == copy]
        for mid in mids[:1]:
            self.proof.shared = self.proof.shared | {mid}
            self.send(self.entry(mid))

    # -- the server ---------------------------------------------------------------------------------------------------

    def _away(self) -> Iterator[Action]:
        yield ("return",) if not self.server.up else ("away",)

    def do_away(self) -> None:
        """Redis stops; every connection breaks."""
        self.server.up = False
        self.network.clear()
        for worker in self.workers.values():
            if worker.life == "gone":
                continue
            for link in list(worker.links):
                wire.fail(worker, link)

    def do_return(self) -> None:
        """Redis is back, with all that it had."""
        self.spend("away")
        self.server.up = True

    def _frozen(self) -> Iterator[Action]:
        yield ("thaw",) if not self.server.up else ("freeze",)
        if not self.server.up:
            for name, link, flight in self._flights():
                if not flight.replied:
                    yield ("delay", name, link)

    def do_freeze(self) -> None:
        """Redis stands still, its connections stay; what was sent is carried out when it goes on."""
        self.server.up = False

    def do_thaw(self) -> None:
        """Redis goes on."""
        self.spend("frozen")
        self.server.up = True

    def _switch(self) -> Iterator[Action]:
        for kind in ("oom", "readonly", "dead", "due"):
            yield ("switch", kind)

    def do_switch(self, kind: str) -> None:
        """The memory is full, or not; a key has the wrong type, or not; a replica answers, or the master again."""
        self.spend("switch")
        if kind in ("oom", "readonly"):
            setattr(self.server, kind, not getattr(self.server, kind))
            self.asked_anew()
        else:
            self.server.wrong ^= {kind}

    def asked_anew(self) -> None:
        """Who was refused asks again soon."""
        for worker in self.workers.values():
            worker.turn_at = worker.flushed_at = -1

    def _forget(self) -> Iterator[Action]:
        yield ("snapshot",)
        if self.snapshot is not None:
            yield ("failover",)
        yield from (("flushall",), ("delete",), ("destroy",))

    def do_snapshot(self) -> None:
        """The replica has seen all until here."""
        self.snapshot = self.server.snapshot()

    def do_failover(self) -> None:
        """The replica takes over; every write since is forgotten."""
        self.spend("forget")
        assert self.snapshot is not None
        self.server = self.server.restored(self.snapshot)
        self._rewritten()

    def do_flushall(self) -> None:
        """All keys go."""
        self.spend("forget")
        self.server.flushall()
        self._rewritten()

    def do_delete(self) -> None:
        """DEL stream."""
        self.spend("forget")
        self.server.del_stream()
        self._rewritten()

    def do_destroy(self) -> None:
        """XGROUP DESTROY."""
        self.spend("forget")
        self.server.xgroup_destroy()
        self._rewritten()

    def _rewritten(self) -> None:
        self.proof.excuse_all()
        self.proof.vanished |= set(range(self.next_copy))

    def _jump(self) -> Iterator[Action]:
        yield ("jump", 3)
        yield ("jump", -3)

    def do_jump(self, leases: int) -> None:
        """The server's clock is set; every lease looks run out, or none."""
        self.spend("jump")
        self.jumped = self.now
        self.server.time = max(EPOCH, self.server.time + leases * self.settings.lease)
        self.server.expire()
        self.proof.excuse_all()
        self.proof.early |= set(self.server.pel)  # read, perhaps, and not yet started
        self.proof.jumped = True
        self.proof.suspicious |= {e.copy for e in self.server.stream.values()}

    def _sweep(self) -> Iterator[Action]:
        yield ("sweep",)

    def do_sweep(self) -> None:
        """A janitor's look."""
        most = 10 * self.settings.cap
        if self.server.group is None or not self.server.up or self.server.readonly:
            return
        with suppress(Refused):  # the next look tries again
            for id, row, entry in scripts.sweep(self.server, most, self.settings.lease * 2 // 3):
                scripts.bury(self.server, id, row, entry.mid, entry.unique, self.settings.result)
