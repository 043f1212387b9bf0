"""A state of the model as a hashable value that tells apart only what can matter: times as ages, ids as ranks."""

from __future__ import annotations

from typing import Any

from .delivery import Flight
from .server import FINAL, Refused
from .worker import Worker
from .world import World


def key(world: World) -> Any:
    """The canonical form."""
    server, proof = world.server, world.proof
    alive = sorted({*server.stream, *server.pel, *(id for w in world.workers.values() for id in w.held)})
    rank = {id: i for i, id in enumerate(alive)}
    lease = world.settings.lease

    def age(at: int, now: int) -> int:
        return min(now - at, lease)

    rows = tuple(
        (rank[id], row.owner, row.count, age(row.at, server.time) if row.at > 1 else -1)
        for id, row in sorted(server.pel.items())
    )
    finals = tuple(sorted((c, s) for c, s in server.ledger.items() if s in FINAL))
    return (
        tuple((rank[id], e) for id, e in server.stream.items()),
        rank.get(server.group, len([i for i in alive if server.group is not None and i <= server.group])),
        rows,
        tuple((m, max(at - server.time, -1), server.body.get(m)) for m, at in server.due.items()),
        tuple((mid, n, rank.get(t[0], -1), t[1:]) for mid, (n, t) in server.suspects.items()),
        finals,
        tuple(sorted((rank[id], e) for id, e in proof.started.items() if id in rank)),
        tuple(sorted((k[0], rank.get(v[0], -1), v[1:]) for k, v in proof.runs.items())),
        tuple(id in server.pel and proof.hindered.get(id) == server.pel[id].at for id in alive),
        tuple(sorted(proof.suspicious)),
        tuple(sorted(proof.vanished)),
        tuple(rank.get(id, -1) for id in sorted(proof.early)),
        server.up,
        server.oom,
        server.readonly,
        tuple(sorted(server.wrong)),
        proof.jumped,
        tuple((k, mid, min(until - server.time, lease)) for k, (mid, until) in server.locks.items()),
        tuple((name, flight_key("network", flight, world, world.now, rank, {})) for name, flight in world.network),
        tuple(worker_key(w, rank, world) for w in world.workers.values()),
        tuple(sorted(world.budget.items())),
    )


def worker_key(worker: Worker, rank: dict[int, int], world: World) -> Any:
    """One worker; one that is gone is like any other that is gone."""
    if worker.life == "gone":
        return worker.name
    lease, now = worker.settings.lease, worker.now
    n = {n: i for i, n in enumerate(worker.all)}

    gap = worker.recent_gap() > lease // 8
    half, more = lease // 2, lease * 2 // 3  # all that is older is the same

    deliveries = tuple(
        (
            rank.get(d.id, -1), d.entry.copy, d.count, min(now - d.confirmed, half), d.state, d.marked, d.read,
            d.stopped, d.given_back, d.uncertain, d.reserved, d.asked, d.doubted, d.verdict,
            worker.held.get(d.id) == d.n,
            None if d.tried is None else min(now - d.tried, lease),
        )
        for d in worker.all.values()
    )  # fmt: skip
    return (
        worker.name, worker.life, worker.blocked, worker.thread, worker.stopping, worker.draining, worker.hurried,
        deliveries,
        tuple(n[i] for i in worker.buffer), tuple(n[i] for i in worker.lane), tuple(n[i] for i in worker.first),
        n.get(worker.alone), tuple(n[i] for i in worker.marking), worker.running, tuple(n[i] for i in worker.pending),
        tuple(flight_key(link, worker.links[link], world, now, rank, n) for link in sorted(worker.links)),
        tuple((k, n.get(i, -1), c) for k, i, c in worker.posts), tuple(n.get(i, -1) for i in worker.urgent),
        tuple(sorted(rank.get(i, -1) for i in worker.returned)), worker.groupless, worker.turn_at == now,
        worker.flushed_at == now, worker.refused_at == now, min(now - worker.heard, more),
        min(now - worker.last_read, half),
        min(now - worker.last_turn, more), max(worker.holiday_until - now, 0), gap,
        now - worker.gap_at if gap else 0,
        world.server.time - now - worker.offset, world.jumped == now,
        min(now - worker.still_since, lease // 3) if worker.blocked or worker.life == "paused" else 0,
        min(now - worker.alone_since, half) if worker.alone is not None else 0,
    )  # fmt: skip


def flight_key(link: str, f: Flight, world: World, now: int, rank: dict[int, int], n: dict[int, int]) -> Any:
    """One request: ids and deliveries by rank, times as ages."""
    lease = world.settings.lease
    replies = tuple(_reply(reply, rank) for reply in f.replies)
    about: Any = tuple(n.get(i, -1) for i in f.what or ())
    if f.kind == "take":
        demand, claims, deadline = f.calls[0]
        about = (demand, claims, world.server.time <= deadline)
    elif f.kind == "read":
        about = f.calls[0]
    elif f.kind == "flush":
        about = tuple((script, tuple((n.get(i, -1), v, t.count) for i, v, t in items)) for script, items in f.calls)
    elif f.kind == "renew":
        about = (about, tuple((n.get(i, -1), count) for i, _, count in f.calls[0]))
    return link, f.kind, min(now - f.sent, lease // 2), about, replies


def _reply(reply: Any, rank: dict[int, int]) -> Any:
    if isinstance(reply, Refused):
        return str(reply)
    if isinstance(reply, tuple) and len(reply) == 2 and isinstance(reply[1], (tuple, list)):  # (time, ...)
        return _reply(tuple(reply[1]), rank)
    if isinstance(reply, (tuple, list)):
        return tuple((rank.get(r[0], -1), *r[1:]) if isinstance(r, tuple) else r for r in reply)
    return reply
