"""A worker as an automaton: what streamtask/worker does between two awaits is one step here."""

from __future__ import annotations

from collections.abc import Callable

from .contact import Contact
from .delivery import Delivery, Flight
from .rules import Rules, Settings
from .server import EPOCH, Entry
from .verdicts import Verdict, verdict

#: States of an attempt that has a slot: its function is to begin, or has begun.
UNDER_WAY = ("starting", "running")


class Worker(Contact):
    """One process. `died()` is called when a message kills it, `began(delivery)` and `ended(delivery)` around a run,
    `settled(delivery, verdict, applied)` at the end of each verdict.
    """

    LISTS = ("buffer", "lane", "first", "pending", "urgent", "posts")
    died: Callable[[], None]
    began: Callable[[Delivery], None]
    ended_run: Callable[[Delivery], None]
    settled: Callable[[Delivery, Verdict, bool], None]

    def __init__(self, name: str, settings: Settings, rules: Rules, now: int) -> None:
        self.name = name
        self.life = "up"  # paused, gone
        self.blocked = False  # the loop stands, the lease thread does not
        self.thread = True  # the lease thread lives
        self.stopping = self.draining = self.hurried = False
        self.all: dict[int, Delivery] = {}
        self.held: dict[int, int] = {}
        self.buffer: list[int] = []
        self.lane: list[int] = []
        self.first: list[int] = []
        self.alone: int | None = None
        self.marking: tuple[int, ...] = ()
        self.alone_since = now
        self.returned: set[int] = set()  # suspects that were given back for want of peace
        self.running = 0
        self.pending: list[int] = []
        self.links: dict[str, Flight] = {}
        self.posts: list[tuple[str, int, int]] = []
        self.urgent: list[int] = []
        self.groupless = False
        self.met(settings, rules, now)
        self.offset = EPOCH  # what it takes for server time minus its own
        self.turn_at = -1  # when the lease thread last asked
        self.flushed_at = -1  # when verdicts were last sent
        self.refused_at = -1  # when MARK was last refused
        self.last_read = now
        self.still_since = now  # when it was paused or blocked
        self.next_n = 0

    def copied(self) -> Worker:
        """The same worker, independent of this one; the world binds its callbacks anew."""
        new = object.__new__(Worker)
        new.__dict__.update(self.__dict__)
        for name in self.LISTS:
            new.__dict__[name] = list(self.__dict__[name])
        new.held, new.returned = dict(self.held), set(self.returned)
        new.all = {n: d.copied() for n, d in self.all.items()}
        new.links = {name: flight.copied() for name, flight in self.links.items()}
        return new

    # -- demand and admission -----------------------------------------------------------------------------------------

    @property
    def demand(self) -> int:
        """How many messages it asks for."""
        if self.draining or self.stopping or self.alone is not None or self.lane:
            return 0
        settings = self.settings
        return max(0, settings.slots - self.running - len(self.buffer) + settings.prefetch)

    def admit(self, found: list[tuple[int, Entry, int]], sent: int) -> None:
        """Take what a read gave, as Fetcher._admit."""
        margin = self.settings.lease // 8
        late = self.rules.gap and self.recent_gap() > margin
        confirmed = sent if late else self.now - margin
        for id, entry, deliveries in found:
            if entry.kind == "parse":
                self.died()
                return
            if id in self.held and self._known(self.all[self.held[id]], deliveries + 1, confirmed):
                continue
            delivery = Delivery(self.next_n, id, entry, deliveries + 1, confirmed, self.now)
            self.next_n += 1
            self.all[delivery.n] = delivery
            self.held[id] = delivery.n
            self._place_new(delivery)
            if self.life == "gone":
                return

    def _known(self, held: Delivery, count: int, confirmed: int) -> bool:
        """Is this our own, come again? Then only its token changes."""
        if held.given_back:
            return False
        if held.stopped == "lost":
            return self.rules.zombie
        if self.rules.adopt:
            held.count, held.confirmed = count, confirmed
        return self.rules.adopt

    def _place_new(self, delivery: Delivery) -> None:
        cap = self.settings.cap
        if delivery.entry.kind in ("garbage", "unknown"):
            delivery.read = delivery.entry.kind == "unknown"
            self.conclude(delivery, delivery.entry.kind)
        elif self.rules.convict_by_count and delivery.count > cap:
            self.conclude(delivery, "poison")
        elif self.rules.lane and delivery.count >= max(2, cap):
            self._suspect(delivery)
        else:
            self._place(delivery)

    def _place(self, delivery: Delivery) -> None:
        if self.running < self.settings.slots and self.alone is None:
            self.start(delivery)
        else:
            self.buffer.append(delivery.n)

    def start(self, delivery: Delivery) -> None:
        """Run it now, if it is still surely ours; as Executor.start."""
        if self._unsure(delivery):
            delivery.asked = delivery.doubted = True
            self.urgent.append(delivery.n)
            return
        if delivery.count >= self.settings.cap and not delivery.marked and self.rules.mark and self.rules.lane:
            if delivery.count < 2 or not self.rules.slots:  # in the lane nothing else runs, so no slot is kept
                self.running += 1
                delivery.reserved = True
            self._suspect(delivery)
            return
        entry = delivery.entry
        if entry.kind == "decode":
            self.began(delivery)
            self.died()
            return
        delivery.read = True
        if entry.ttl and entry.sent + entry.ttl < self.now + self.offset:
            self.conclude(delivery, "late")
            return
        delivery.state = "starting"
        self.running += 1

    def _unsure(self, delivery: Delivery) -> bool:
        """Was it last confirmed too long ago, or can nothing be renewed now?"""
        old = self.now - delivery.confirmed >= self.settings.lease / 2
        return (self.rules.fresh and old) or self.silent

    def begin(self, delivery: Delivery) -> None:
        """The function's first step, in the loop's next turn or in a thread; as Executor._coroutine."""
        if self.rules.begin and self._unsure(delivery):
            self.running -= 1
            delivery.state, delivery.stopped = "buffered", ""
            if self.draining:
                self.conclude(delivery, "never started")
            else:
                delivery.asked = delivery.doubted = True
                self.urgent.append(delivery.n)
            self.fill()
            return
        delivery.state = "running"
        self.began(delivery)
        if delivery.entry.kind == "start":
            self.died()
        elif delivery.stopped and not self.settings.threads:
            self.ended(delivery, delivery.stopped)

    # -- the suspect lane ---------------------------------------------------------------------------------------------

    def _suspect(self, delivery: Delivery) -> None:
        (self.first if delivery.count < 2 else self.lane).append(delivery.n)
        self._next()

    def _next(self) -> None:
        if self.marking:
            return
        if self.first:
            self.marking, self.first = tuple(self.first), []
        elif self.lane and self.alone is None:
            self.alone = self.lane.pop(0)
            self.alone_since = self.now
            self.marking = (self.alone,)

    @property
    def in_lane(self) -> bool:
        """Does the lane's suspect wait for its mark?"""
        return self.marking != () and self.marking == (self.alone,)

    @property
    def at_peace(self) -> bool:
        """Does nothing else run here, so that no other crash convicts the suspect?"""
        return not self.running

    @property
    def impatient(self) -> bool:
        """Has the suspect waited long enough?"""
        return self.now - self.alone_since >= self.settings.lease / 3

    def crowded(self) -> None:
        """The lane's suspect finds no peace: given back once, then started beside what runs, unmarked."""
        (n,) = self.marking
        delivery = self.all[n]
        self.marking = ()
        if delivery.state == "settling":
            self._unreserve(delivery)
            self._lane_ended(delivery)
            self.fill()
        elif delivery.id in self.returned and (self.running < self.settings.slots or not self.rules.slots):
            self._unreserve(delivery)
            self._start_marked(delivery, 0)
        else:
            self.returned.add(delivery.id)
            self.conclude(delivery, "never started")
            self._lane_ended(delivery)
            self.fill()
        if self.life == "up":
            self._next()

    def marked(self, marks: list[int]) -> None:
        """MARK has answered."""
        batch, self.marking = self.marking, ()
        for n, earlier in zip(batch, marks, strict=True):
            delivery = self.all[n]
            self._unreserve(delivery)
            if earlier < 0:
                self.lost(delivery)
                self._lane_ended(delivery)
                self.fill()
            else:
                self._start_marked(delivery, earlier)
            if self.life == "gone":
                return
        self._next()

    def _start_marked(self, delivery: Delivery, earlier: int) -> None:
        if delivery.state == "buffered":
            delivery.marked = True
            if earlier > 0:
                self.conclude(delivery, "poison")
            else:
                self.start(delivery)
            if self.life == "gone" or (delivery.state != "settling" and not self.rules.refill):
                return
        if delivery.state == "settling":
            self._lane_ended(delivery)
        self.fill()

    def _unreserve(self, delivery: Delivery) -> None:
        if delivery.reserved:
            delivery.reserved = False
            self.running -= 1

    def _lane_ended(self, delivery: Delivery) -> None:
        if self.alone == delivery.n:
            self.alone = None
            self._next()

    # -- the end ------------------------------------------------------------------------------------------------------

    def ended(self, delivery: Delivery, outcome: str) -> None:
        """An attempt ended by itself or was stopped."""
        self.running -= 1
        self.ended_run(delivery)
        if delivery.stopped and (delivery.stopped == "lost" or outcome != "returned"):
            outcome = delivery.stopped
        self.conclude(delivery, outcome)
        self._lane_ended(delivery)
        self.fill()

    def fill(self) -> None:
        """Start what is buffered, as far as slots are free."""
        while self.alone is None and not self.draining and self.buffer and self.running < self.settings.slots:
            self.start(self.all[self.buffer.pop(0)])
            if self.life == "gone":
                return

    def conclude(self, delivery: Delivery, outcome: str) -> None:
        """The verdict is the real decision."""
        delivery.state = "settling"
        entry, settings = delivery.entry, self.settings
        read = delivery.read or outcome == "unknown"
        found = verdict(
            outcome, delivery.count, entry.attempt, read, settings.cap, settings.retries, settings.idempotent
        )
        delivery.verdict = found
        if found.op == "-":
            self.forget(delivery)
            self.settled(delivery, found, False)
            return
        delivery.given_back = found.op == "L"
        self.pending.append(delivery.n)

    def forget(self, delivery: Delivery) -> None:
        """It is out of the table; the object goes with the last list that names it."""
        if self.held.get(delivery.id) == delivery.n:
            del self.held[delivery.id]
        delivery.state = "settling"

    def stop(self, delivery: Delivery, outcome: str) -> None:
        """Ask a running attempt to end; a thread ends when it likes."""
        delivery.stopped = outcome
        if delivery.state == "running" and not self.settings.threads:
            self.ended(delivery, outcome)

    def lost(self, delivery: Delivery) -> None:
        """Another worker has it: stop what runs, forget what waits."""
        if delivery.state in UNDER_WAY:
            self.stop(delivery, "lost")
            return
        for waiting in (self.buffer, self.lane, self.first):
            if delivery.n in waiting:
                waiting.remove(delivery.n)
        if delivery.state == "buffered":
            if self.rules.unreserve:
                self._unreserve(delivery)
            self.conclude(delivery, "lost")
            self._lane_ended(delivery)
            self.fill()

    # -- what the lease thread posts, overdue, the stop ---------------------------------------------------------------

    def post(self) -> None:
        """The loop takes the lease thread's next word."""
        kind, n, count = self.posts.pop(0)
        delivery = self.all.get(n)
        if delivery is None or self.held.get(delivery.id) != n:
            return
        if kind == "fresh":
            if delivery.state == "buffered" and not self.draining and (delivery.asked or not self.rules.asked):
                delivery.asked = False
                if delivery.n == self.alone:
                    self.start(delivery)
                    if self.life == "up" and delivery.state == "settling" and self.rules.lane_ends:
                        self._lane_ended(delivery)
                        self.fill()
                else:
                    self._place(delivery)
        elif delivery.count != count:
            if delivery.asked and self.rules.asked:  # adopted meanwhile: ask again with the new token
                self.urgent.append(n)
        elif delivery.state != "settling" and (kind == "taken" or delivery.state not in UNDER_WAY):
            self.lost(delivery)

    def overdue(self) -> None:
        """Give back what waits too long."""
        waiting, self.buffer = self.buffer, []
        if self.alone is not None:
            waiting, self.lane = waiting + self.lane, []
        for n in waiting:
            self.conclude(self.all[n], "never started")

    def drain(self) -> None:
        """The stop, once no read is under way: everything that has not started goes back."""
        self.draining = True
        self.lane, self.first, self.buffer = [], [], []
        for n in list(self.held.values()):
            if self.all[n].state == "buffered":
                self.conclude(self.all[n], "never started")

    def hurry(self) -> None:
        """The grace is over: what runs is stopped and given back."""
        self.hurried = True
        for delivery in [d for d in self.all.values() if d.state in UNDER_WAY]:
            self.stop(delivery, "stopped")

    def tidy(self) -> None:
        """Deliveries that no list and no table names any more are gone."""
        if len(self.all) == len(self.held):
            return
        used = set(self.held.values()) | set(self.pending) | set(self.marking) | set(self.urgent)
        used |= {n for n, d in self.all.items() if d.state in UNDER_WAY}
        for flight in self.links.values():
            used |= set(flight.what or ()) if flight.kind != "read" else set()
        used |= {self.alone} if self.alone is not None else set()
        used |= {post[1] for post in self.posts}
        self.all = {n: d for n, d in self.all.items() if n in used}
