"""What must hold in every state of the model; each check names its invariant."""

from __future__ import annotations

from collections.abc import Iterable

from .proof import Proof
from .server import FINAL, Broken, Server
from .worker import UNDER_WAY, Worker

#: Milliseconds for which a lock surely holds in all runs.
LOCKED = 5000


def check(server: Server, workers: Iterable[Worker], proof: Proof) -> None:
    """All of them."""
    conservation(server)
    unique(server, proof)
    for worker in workers:
        if worker.life != "gone":
            local(worker, proof)


def conservation(server: Server) -> None:
    """I1, I3: every accepted copy is in exactly the one place that the table of states says."""
    places = server.places()
    for copy, state in server.ledger.items():
        expected = [] if state in FINAL and state != "DEAD" else [state]
        if places.get(copy, []) != expected:
            raise Broken(f"I1: copy {copy} is {state} by its history, but found as {places.get(copy, [])}")
    if len(places) > len(server.ledger) or set(places) - set(server.ledger):
        raise Broken(f"I1: copies {set(places) - set(server.ledger)} were never accepted")
    if "due" not in server.wrong and set(server.due) != set(server.body):
        raise Broken(f"I1: due {sorted(server.due)} and body {sorted(server.body)} differ")


def unique(server: Server, proof: Proof) -> None:
    """I15: a lock is there exactly while its holder is not final (until its time is over)."""
    if proof.vanished:  # a rewritten history may have parted a lock from its message
        return
    if not server.locks and not any(e.unique for e in server.stream.values()):
        return
    alive = {e.mid: e for e in (*server.stream.values(), *server.body.values())}
    for key, (mid, until) in server.locks.items():
        if until > server.time and mid not in alive:
            raise Broken(f"I15: the lock {key} is held by {mid}, which is final")
    for entry in alive.values():
        young = server.time - entry.sent < LOCKED and not proof.jumped
        if entry.unique and young and entry.unique not in server.locks:
            raise Broken(f"I15: {entry.mid} is alive, but its lock {entry.unique} is gone")


def local(worker: Worker, proof: Proof) -> None:
    """I12, and the worker's own book-keeping."""
    settings = worker.settings
    running = [d for d in worker.all.values() if d.state in UNDER_WAY]
    reserved = [d for d in worker.all.values() if d.reserved]
    if not worker.draining and worker.running != len(running) + len(reserved):
        raise Broken(
            f"I12: {worker.name} counts {worker.running} slots, but runs {len(running)} and keeps {len(reserved)}"
        )
    if len(running) > settings.slots and not any(d.entry.mid in proof.shared for d in running):
        raise Broken(f"I12: {worker.name} runs {len(running)} attempts in {settings.slots} slots")
    # What waits for a renewal is not counted by the worker's demand, so each standstill may bring so many more.
    held = map(worker.all.__getitem__, worker.held.values())
    waiting = [d for d in held if d.state == "buffered" and not d.doubted]
    if len(waiting) > 2 * (settings.prefetch + settings.slots) + settings.slots:
        raise Broken(f"I12: {worker.name} holds {len(waiting)} messages that have not started")
    lists = [*worker.buffer, *worker.lane, *worker.first]
    if len(set(lists)) != len(lists):
        raise Broken(f"I7: a delivery waits twice in {worker.name}: {lists}")
    known = set(worker.held.values())
    if not known.issuperset(lists):
        raise Broken(f"I7: in {worker.name} waits what another delivery of the same entry has replaced: {lists}")
    if (
        worker.rules.lane
        and worker.alone is not None
        and worker.all[worker.alone].state in UNDER_WAY
        and len(running) > 1
    ):
        others = [d for d in running if d.n != worker.alone and d.received > worker.all[worker.alone].received]
        if others:
            raise Broken(f"A1: in {worker.name} something started beside a suspect")


def healthy(server: Server, worker: Worker, proof: Proof) -> None:
    """Promise 3: what a healthy worker holds is renewed long before its lease is over. Asked before time passes."""
    if worker.life != "up" or not worker.thread or not server.up or server.readonly or not worker.rules.renew:
        return
    for id, row in server.pel.items():
        if row.owner != worker.name or id not in worker.held:
            continue
        delivery = worker.all[worker.held[id]]
        if delivery.entry.copy in proof.vanished:  # its last renewal may be forgotten
            continue
        if delivery.count == row.count and not delivery.given_back and server.idle(row) >= worker.settings.lease / 2:
            raise Broken(f"promise 3: {worker.name} is well, but entry {id} has been idle for {server.idle(row)} ms")


def finished(server: Server, proof: Proof) -> None:
    """I2, I16, I19 (the end: no faults, workers alive): every copy is final, and nothing is left behind."""
    for copy, state in server.ledger.items():
        if state not in FINAL:
            raise Broken(f"I2: copy {copy} is still {state} at the end")
    if server.suspects and not proof.vanished:
        raise Broken(f"I19: marks are left at the end: {server.suspects}")
    if server.pel:
        raise Broken(f"I19: rows are left at the end: {server.pel}")
    if server.where and not proof.vanished:
        raise Broken(f"I19: where is left at the end: {server.where}")
    if proof.runs:
        raise Broken(f"attempts run at the end: {proof.runs}")
