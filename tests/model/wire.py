"""A worker's four connections: what it sends, what the server does with it, and what the worker makes of the answer.

Each has one request under way at most. Between sending, carrying out and answering, everything else may happen.
"""

from __future__ import annotations

from typing import Any

from streamtask.broker.link import passing

from . import scripts
from .delivery import Delivery, Flight
from .scripts import Back, Item, Token
from .server import Entry, Refused, Server, step
from .verdicts import Verdict
from .worker import Worker

LINKS = ("reader", "writer", "control", "lease")


# -- sending ----------------------------------------------------------------------------------------------------------


def send_read(worker: Worker) -> None:
    """A read that waits for new messages (and, natively, for what is given back)."""
    worker.links["reader"] = Flight("read", worker.now, ((worker.demand,),))


def send_take(worker: Worker, claims: bool) -> None:
    """A look at what others left; it may be carried out until the deadline only."""
    deadline = worker.now + worker.offset + worker.heard + worker.settings.lease * 4 // 10 - worker.now
    if not worker.rules.deadline:
        deadline = 1 << 60
    lease = worker.settings.lease if claims else 0
    worker.links["reader"] = Flight("take", worker.now, ((worker.demand, lease, deadline),), ())


def send_mark(worker: Worker) -> None:
    """MARK for the starts that wait for it."""
    batch = [worker.all[n] for n in worker.marking]
    call = tuple((d.id, d.count, d.entry.mid) for d in batch)
    worker.links["control"] = Flight("mark", worker.now, (call,), worker.marking)


def due(worker: Worker) -> list[Delivery]:
    """What the lease thread renews in its next turn; one turn at a time, unless something waits for it."""
    if not worker.rules.renew or (worker.turn_at == worker.now and not worker.urgent):
        return []
    limit = worker.now - worker.settings.lease // 6
    held = [worker.all[n] for n in worker.held.values()]
    if worker.rules.release_rests:
        held = [d for d in held if d.tried is None]
    return [d for d in held if d.confirmed < limit or d.n in worker.urgent]


def send_renew(worker: Worker) -> None:
    """RENEW for what is due; what waits for an answer is remembered."""
    tokens = tuple((d.n, d.id, d.count) for d in due(worker))
    worker.links["lease"] = Flight("renew", worker.now, (tokens,), tuple(worker.urgent))
    worker.urgent, worker.turn_at = [], worker.now


def send_flush(worker: Worker) -> None:
    """All verdicts that are there, as Completer._flush: DONE, SETTLE, RELEASE in one write."""
    worker.flushed_at = worker.now
    pending, worker.pending = [worker.all[n] for n in worker.pending], []
    plain: list[Any] = []
    others: list[Any] = []
    back: list[Any] = []
    for delivery in pending:
        found = delivery.verdict
        assert found is not None
        if found.op == "L":
            if worker.held.get(delivery.id) == delivery.n:
                back.append((delivery.n, found, _back(worker, delivery, found)))
            else:
                worker.settled(delivery, found, True)
        elif is_plain(worker, delivery, found):
            plain.append((delivery.n, found, Token(delivery.id, delivery.count)))
        else:
            others.append((delivery.n, found, _item(worker, delivery, found)))
    batches = (("done", plain), ("settle", others), ("release", back))
    calls = tuple((kind, tuple(items)) for kind, items in batches if items)
    if calls:
        worker.links["writer"] = Flight("flush", worker.now, calls, tuple(d.n for d in pending))


def is_plain(worker: Worker, delivery: Delivery, found: Verdict) -> bool:
    """May the cheap DONE end it?"""
    entry = delivery.entry
    leaves = worker.settings.result or entry.unique or entry.meta or delivery.count >= worker.settings.cap
    return found[:2] == ("D", "done") and delivery.read and not leaves


def _item(worker: Worker, delivery: Delivery, found: Verdict) -> Item:
    entry = delivery.entry
    state = {"X": "dead", "R": ""}.get(found.op, found.state) if worker.settings.result else ""
    following = entry._replace(attempt=found.attempt, meta=True) if found.op == "R" else entry
    marked = delivery.count >= worker.settings.cap and entry.kind != "unknown"
    lock = entry.unique if delivery.read or worker.rules.lock_unread else ""
    return Item(
        found.op, delivery.id, delivery.count, entry.mid, marked, lock, state, found.delay, following, found.state
    )


def _back(worker: Worker, delivery: Delivery, found: Verdict) -> Back:
    started = found.started or not worker.rules.free_release
    if delivery.tried is None:
        delivery.tried = worker.now
    guarded = delivery.uncertain and worker.rules.release_guard
    before = delivery.tried + worker.offset if guarded else 0
    return Back(delivery.id, delivery.count, started, delivery.entry.mid, delivery.count >= worker.settings.cap, before)


# -- on the server ----------------------------------------------------------------------------------------------------


def carry_out(server: Server, name: str, flight: Flight) -> Any:
    """The server runs the next call of a request; an error is a reply, too."""
    call = flight.calls[len(flight.replies)]
    try:
        reply = _run(server, name, flight.kind, call)
    except Refused as error:
        reply = error
    flight.replies += (reply,)
    return reply


def _run(server: Server, name: str, kind: str, call: Any) -> Any:
    if kind == "read":
        return tuple(read_new(server, name, call[0]))
    if kind == "take":
        time, found = scripts.read(server, name, *call)
        return time, tuple(found)
    if kind == "mark":
        return tuple(scripts.mark(server, name, call))
    if kind == "renew":
        return scripts.renew(server, name, [(id, count) for _, id, count in call])
    script, items = call
    arguments = [item for _, _, item in items]
    return {"done": scripts.done, "settle": scripts.settle, "release": scripts.release}[script](server, name, arguments)


@step
def read_new(server: Server, name: str, count: int) -> list[tuple[int, Entry, int]]:
    """The read that waits; natively it takes what was given back, which looks idle for years."""
    server.begin()
    return server.xreadgroup(name, count, 10**8 if server.native else None)


# -- answers ----------------------------------------------------------------------------------------------------------


def deliver(worker: Worker, link: str) -> None:
    """The worker reads the whole answer on one connection."""
    flight = worker.links.pop(link)
    {"read": _got, "take": _got, "flush": _flushed, "mark": _marked, "renew": _renewed}[flight.kind](worker, flight)


def fail(worker: Worker, link: str) -> None:
    """The connection broke before the answer came."""
    flight = worker.links.pop(link)
    if flight.kind in ("read", "take"):
        if worker.now - worker.last_read > worker.settings.lease // 3:
            worker.take_holiday()
        worker.rest()
    elif flight.kind == "flush":
        deliveries = [worker.all[n] for n in flight.what]
        for delivery in deliveries:
            delivery.uncertain = True
        worker.pending = [d.n for d in deliveries if worker.rules.retry_settle] + worker.pending
    elif flight.kind == "renew":
        worker.urgent += flight.what
        worker.turn_at = -1


def _got(worker: Worker, flight: Flight) -> None:
    (reply,) = flight.replies
    if isinstance(reply, Refused):
        worker.groupless |= "NOGROUP" in str(reply)
        return
    found = reply
    if flight.kind == "take":
        time, found = reply
        worker.offset = time - worker.now
        worker.hear(flight.sent)
    worker.last_read = worker.now
    worker.admit(list(found), flight.sent)


def _marked(worker: Worker, flight: Flight) -> None:
    (reply,) = flight.replies
    if isinstance(reply, Refused):
        worker.refused_at = worker.now  # once more in a while
    else:
        worker.marked(list(reply))


def _renewed(worker: Worker, flight: Flight) -> None:
    (reply,) = flight.replies
    tokens = flight.calls[0]
    if isinstance(reply, Refused):
        if "NOGROUP" not in str(reply):
            worker.urgent += flight.what
            return
        statuses = [-1] * len(tokens)
    else:
        time, statuses = reply
        worker.offset = time - worker.now
    for (n, _, count), status in zip(tokens, statuses, strict=True):
        delivery = worker.all.get(n)
        if delivery is None:  # it has ended meanwhile
            continue
        if status == 1:
            delivery.confirmed = max(delivery.confirmed, flight.sent)
            if n in flight.what:
                _post(worker, ("fresh", n, count))
        else:
            _post(worker, ("taken" if status == 0 else "gone", n, count))
    turned(worker, flight.sent)


def _post(worker: Worker, word: tuple[str, int, int]) -> None:
    """To the loop; the same word twice tells it nothing more."""
    if word not in worker.posts:
        worker.posts.append(word)


def turned(worker: Worker, sent: int) -> None:
    """A turn of the lease thread went well to its end."""
    worker.hear(sent)
    worker.last_turn = sent


def _flushed(worker: Worker, flight: Flight) -> None:
    for (script, items), reply in zip(flight.calls, flight.replies, strict=True):
        if isinstance(reply, Refused):
            statuses: list[Any] = [0 if "NOGROUP" in str(reply) else str(reply)] * len(items)
        else:
            statuses = [1] * len(items) if script == "release" else reply
        for (n, found, sent), status in zip(items, statuses, strict=True):
            _answered(worker, worker.all[n], found, sent.count, status)


def _answered(worker: Worker, delivery: Delivery, found: Verdict, count: int, status: int | str) -> None:
    if status == 1:
        worker.forget(delivery)
        worker.settled(delivery, found, True)
    elif status == 0:
        if delivery.count != count and worker.held.get(delivery.id) == delivery.n:
            worker.pending.append(delivery.n)
            return
        worker.forget(delivery)
        worker.settled(delivery, found, delivery.uncertain)
    elif passing(str(status)):
        worker.pending.append(delivery.n)
    elif found.op != "X":  # what can never be written is written in a form that can
        delivery.verdict = Verdict("X", "result")
        worker.pending.append(delivery.n)
    else:
        worker.forget(delivery)
        worker.settled(delivery, found, False)
