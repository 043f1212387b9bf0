"""Server, workers and the requests between them: carries out a step, and checks all invariants after it.

An action is a tuple, its first part a name; steps.py says which ordinary ones can come next, faults.py which others.
Time passes by `tick`, and only as far as healthy processes allow: a healthy loop reads the answers that are there, and
a healthy lease thread takes a turn a third of a lease.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Self

from . import scripts, wire
from .delivery import Delivery, Flight
from .invariants import check, healthy
from .proof import Proof
from .rules import Rules, Settings
from .server import Broken, Entry, Refused, Server
from .steps import Action, Steps
from .verdicts import Verdict
from .worker import Worker


class World(Steps):
    """One run of the model. `outcomes` are what an attempt may end with. `eager`, for the exhaustive search: all
    requests but waiting reads reach the server at once, a worker that can read does, and a renewal is one step.
    """

    def __init__(
        self, settings: Settings, rules: Rules, workers: int = 2, native: bool = True, eager: bool = False
    ) -> None:
        self.settings, self.rules, self.eager = settings, rules, eager
        self.server, self.proof = Server(native), Proof()
        self.server.xgroup_create()
        self.now = 0
        self.network: list[tuple[str, Flight]] = []  # requests whose sender gave up, but which may still arrive
        self.workers: dict[str, Worker] = {}
        self.outcomes: tuple[str, ...] = ("returned",)
        self.next_copy = 0
        self.jumped = -1  # when the server's clock was set
        self.budget: dict[str, int] = {}
        self.log: list[tuple[str, Verdict]] = []
        for _ in range(workers):
            self.hire()

    def copied(self, action: Action = ()) -> Self:
        """An independent world in the same state; for one action, only the worker that it names is copied."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        new.server, new.proof = self.server.copied(), self.proof.copied()
        new.network = [(name, flight.copied()) for name, flight in self.network]
        new.budget = dict(self.budget)
        new.log = []
        new.workers = {}
        touched = action[1] if len(action) > 1 and action[1] in self.workers else None
        for name, worker in self.workers.items():
            if touched in (None, name):
                new._bind(worker.copied())
            else:
                new.workers[name] = worker
        return new

    def hire(self) -> Worker:
        """A new process joins."""
        worker = Worker(f"w{len(self.workers)}", self.settings, self.rules, self.now)
        worker.offset = self.server.time - self.now
        worker.holiday_until = self.now + 1  # it cannot know what was before; others renew within a tick
        self._bind(worker)
        return worker

    def _bind(self, worker: Worker) -> None:
        self.workers[worker.name] = worker
        worker.died = lambda: self.die(worker)
        worker.began = lambda delivery: self.proof.began(worker, delivery)
        worker.ended_run = lambda delivery: self.proof.ended(worker, delivery)
        worker.settled = self._settled

    def _settled(self, delivery: Delivery, verdict: Verdict, applied: bool) -> None:
        """A verdict found its end; what Redis takes in no form comes again when its lease is over."""
        self.log.append((delivery.entry.mid, verdict))
        if not applied and verdict.op == "X":
            self.proof.excuse(delivery.id)
            self.proof.suspicious.add(delivery.entry.copy)

    # -- producers ----------------------------------------------------------------------------------------------------

    def entry(self, mid: str = "", **fields: Any) -> Entry:
        """A new message."""
        copy, self.next_copy = self.next_copy, self.next_copy + 1
        return Entry(copy, mid or f"m{copy}", sent=self.server.time, **fields)

    def send(self, entry: Entry, delay: int = 0, lock_ttl: int = 10**9) -> bool:
        """delay(): by XADD, ENQ or DEFER. False when it was refused."""
        try:
            if delay:
                return not scripts.defer(self.server, entry._replace(meta=True), delay, lock_ttl)
            if entry.unique:
                return not scripts.enq(self.server, entry, lock_ttl)
            scripts.add(self.server, entry)
        except Refused:
            return False
        return True

    # -- the steps ----------------------------------------------------------------------------------------------------

    def act(self, action: Action) -> None:
        """Carry out one action and check what must hold."""
        getattr(self, "do_" + action[0])(*action[1:])
        touched = [self.workers[action[1]]] if len(action) > 1 and action[1] in self.workers else self.workers.values()
        for worker in touched:
            if worker.life != "gone":
                worker.tidy()
                if self.eager and self._may_read(worker):
                    wire.send_read(worker)
        check(self.server, self.workers.values(), self.proof)

    # -- time ---------------------------------------------------------------------------------------------------------

    def do_tick(self) -> None:
        """A third of a lease passes."""
        step = self.settings.lease // 3
        for worker in self.workers.values():
            if worker.life == "up":
                if self.jumped != self.now and not worker.recent_gap():
                    healthy(self.server, worker, self.proof)
                self._beat(worker)
        self.now += step
        self.server.time += step
        self.server.expire()
        for worker in self.workers.values():
            worker.now = self.now
        self._blame()

    def _beat(self, worker: Worker) -> None:
        """What a healthy worker does in between: a turn of the lease thread, a new read that waits."""
        if self.server.up and worker.thread and not (self.server.readonly and worker.rules.refused_is_silence):
            wire.turned(worker, self.now)
        if not self.server.up and worker.thread:
            worker.rest(self.settings.lease // 3 + 1)  # a failed read or a late answer tells it
        waiting = worker.links.get("reader")
        if worker.blocked:
            return
        if waiting is not None and waiting.kind == "read" and not waiting.replied and self.server.up:
            waiting.sent = self.now
            worker.last_read = self.now
        if not self.server.up and self.now - worker.last_read > worker.settings.lease // 3 and worker.demand:
            worker.take_holiday()  # each failed try to read says so again

    def _blame(self) -> None:
        """A row that ran out of its lease is excused when its owner was not well at any time since its last renewal, or
        could not give it back: what is on its way back is not renewed.
        """
        hindered = self.proof.hindered
        for id, row in self.server.pel.items():
            owner = self.workers.get(row.owner)
            if owner is None:
                continue
            back = id in owner.held and owner.all[owner.held[id]].tried is not None
            if owner.life != "up" or not owner.thread or back:
                hindered[id] = row.at
            if self.server.idle(row) >= self.settings.lease and hindered.get(id) == row.at:
                self.proof.excuse(id)
                if entry := self.server.stream.get(id):
                    self.proof.suspicious.add(entry.copy)

    # -- ordinary actions ---------------------------------------------------------------------------------------------

    def do_read(self, name: str) -> None:
        wire.send_read(self.workers[name])

    def do_take(self, name: str) -> None:
        worker = self.workers[name]
        wire.send_take(worker, claims=worker.now >= worker.holiday_until)
        self._eagerly(name, "reader")

    def do_flush(self, name: str) -> None:
        wire.send_flush(self.workers[name])
        self._eagerly(name, "writer")

    def do_mark(self, name: str) -> None:
        """The marker's turn: first starts and a suspect that is alone or proven are marked."""
        worker = self.workers[name]
        once = self.settings.cap == 1 and (worker.running < self.settings.slots or not worker.rules.slots)
        if worker.in_lane and not worker.at_peace and not self._proven(worker) and not once:
            worker.crowded()
            return
        wire.send_mark(worker)
        self._eagerly(name, "control")

    def do_renew(self, name: str) -> None:
        worker = self.workers[name]
        wire.send_renew(worker)
        self._eagerly(name, "lease")
        if self.eager:
            wire.deliver(worker, "lease")
            while worker.posts and not worker.blocked:
                worker.post()

    def do_declare(self, name: str) -> None:
        self.server.begin()
        try:
            self.server.xgroup_create()
        except Refused:
            return
        self.workers[name].groupless = False

    def _eagerly(self, name: str, link: str) -> None:
        while self.eager and link in self.workers[name].links and not self.workers[name].links[link].replied:
            self.do_exec(name, link)

    def do_exec(self, name: str, link: str) -> None:
        """The server carries out the next call of a request."""
        flight = self.workers[name].links[link]
        before = dict(self.server.pel) if flight.kind == "flush" else {}
        call = flight.calls[len(flight.replies)]
        if flight.kind == "flush" and call[0] == "release":
            self._tied([back for _, _, back in call[1]], before)
        reply = wire.carry_out(self.server, name, flight)
        self._watch(name, flight.kind, call, reply, before)

    def _watch(self, name: str, kind: str, call: Any, reply: Any, before: dict[int, Any]) -> None:
        """I4 and I10, seen at the server: what a write found there, and what became poison."""
        if kind != "flush" or isinstance(reply, Refused) or call[0] == "release":
            return
        for (_, verdict, sent), status in zip(call[1], reply, strict=True):
            if status != 1:
                continue
            row = before[sent.id]
            assert (row.owner, row.count) == (name, sent.count), f"I4: {name} wrote with another's token: {row}, {sent}"
            if verdict.state == "poison":
                self.proof.convicted(sent.entry)

    def _tied(self, items: list[scripts.Back], rows: dict[int, Any]) -> None:
        """A row that is as young as the first try, to the ms, is left alone: it may have been renewed just before."""
        for item in items:
            if item.before and item.id in rows and rows[item.id].at == item.before and item.id in self.server.stream:
                self.proof.suspicious.add(self.server.stream[item.id].copy)

    def do_late(self, i: int) -> None:
        """A request arrives whose sender does not wait for the answer any more."""
        name, flight = self.network.pop(i)
        while not flight.replied:
            wire.carry_out(self.server, name, flight)

    def do_deliver(self, name: str, link: str) -> None:
        wire.deliver(self.workers[name], link)

    def do_post(self, name: str) -> None:
        self.workers[name].post()

    def do_begin(self, name: str, n: int) -> None:
        worker = self.workers[name]
        worker.begin(worker.all[n])

    def do_finish(self, name: str, n: int, outcome: str) -> None:
        worker = self.workers[name]
        if worker.all[n].entry.kind == "later":
            worker.died()
        else:
            worker.ended(worker.all[n], outcome)

    def do_move(self, name: str) -> None:
        with suppress(Refused):
            scripts.move(self.server, name, force=True)

    def do_drain(self, name: str) -> None:
        self.workers[name].drain()

    def do_hurry(self, name: str) -> None:
        self.workers[name].hurry()

    def do_exit(self, name: str) -> None:
        """The process ends; threads that run on end with it, and their messages stay behind. Nothing else does: I11."""
        worker = self.workers[name]
        rows = [(id, row) for id, row in self.server.pel.items() if row.owner == name and id not in worker.held]
        if worker.rules.sweep_own:
            with suppress(Refused):
                scripts.release(self.server, name, [scripts.Back(id, row.count, False, "", False) for id, row in rows])
        left = [id for id, row in self.server.pel.items() if row.owner == name and id not in worker.held]
        if left and not self.server.readonly:
            raise Broken(f"I11: {name} has left in peace, but entries {left} stay under its name")
        self.proof.killed(worker, self.server)
        worker.life = "gone"
        worker.links = {}

    def die(self, worker: Worker) -> None:
        """A message kills its worker."""
        for delivery in worker.all.values():
            poison = delivery.entry.kind in ("parse", "decode", "start", "later")
            if poison and delivery.state != "settling" and (worker.name, delivery.n) in self.proof.runs:
                self.proof.poisoned(delivery.entry, self.settings.cap)
        self.kill(worker)

    def kill(self, worker: Worker) -> None:
        """Kill -9."""
        self.proof.killed(worker, self.server)
        worker.life = "gone"
        worker.links, worker.all, worker.held, worker.posts, worker.pending = {}, {}, {}, [], []
        worker.buffer, worker.lane, worker.first, worker.marking, worker.alone = [], [], [], (), None
