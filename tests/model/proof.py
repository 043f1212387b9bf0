"""What the proof remembers beside the state: who runs what, what was started, and which faults explain a repeat."""

from __future__ import annotations

from .delivery import Delivery
from .server import FINAL, Broken, Entry, Server
from .worker import Worker


class Proof:
    """Watches starts and ends of attempts. A fault *excuses* the entries that it touches: they may start once more."""

    def __init__(self) -> None:
        #: Running attempts: (worker, n) -> (entry id, copy, excused)
        self.runs: dict[tuple[str, int], tuple[int, int, bool]] = {}
        #: Starts of one entry: id -> excused
        self.started: dict[int, bool] = {}
        #: Copies whose marked start did not end gracefully: only these may be convicted.
        self.suspicious: set[int] = set()
        #: Workers that each poisonous copy has killed.
        self.kills: dict[int, int] = {}
        #: Entries that a fault took from their owner before they started.
        self.early: set[int] = set()
        #: Copies whose history was rewritten (flush, failover, a destroyed group): only the keys are checked.
        self.vanished: set[int] = set()
        #: Message ids that two messages have. Marks are kept by message id, so these share their evidence.
        self.shared: set[str] = set()
        #: Entries whose owner was not well: id -> when it had last been renewed then.
        self.hindered: dict[int, int] = {}
        self.jumped = False  # the server's clock was set: nothing is known of what runs out
        self.repeats = 0

    def copied(self) -> Proof:
        """An independent one."""
        new = object.__new__(Proof)
        new.runs, new.started, new.kills = dict(self.runs), dict(self.started), dict(self.kills)
        new.suspicious, new.vanished, new.repeats = set(self.suspicious), set(self.vanished), self.repeats
        new.shared, new.jumped, new.early = self.shared, self.jumped, set(self.early)
        new.hindered = dict(self.hindered)
        return new

    # -- attempts -----------------------------------------------------------------------------------------------------

    def began(self, worker: Worker, delivery: Delivery) -> None:
        """I6, I7, I8, I9: an attempt begins."""
        id, copy = delivery.id, delivery.entry.copy
        lease = worker.settings.lease
        if worker.now - delivery.confirmed >= lease / 2:
            raise Broken(
                f"I9: {worker.name} starts copy {copy}, last confirmed {worker.now - delivery.confirmed} ms ago"
            )
        if worker.now - worker.last_turn > lease / 2:
            raise Broken(
                f"B10: {worker.name} starts copy {copy}, but has renewed nothing for {worker.now - worker.last_turn} ms"
            )
        for (name, _), (_, other, excused) in self.runs.items():
            if other == copy and name == worker.name:
                raise Broken(f"I7: copy {copy} runs twice in {name}")
            if other == copy and not excused:
                raise Broken(
                    f"I6: copy {copy} runs in {name} and starts in {worker.name} without a fault to explain it"
                )
        if id in self.started and not self.started[id]:
            raise Broken(f"I8: entry {id} (copy {copy}) starts again in {worker.name} without a fault to explain it")
        self.repeats += id in self.started
        rewritten = copy in self.vanished or id in self.early
        self.early.discard(id)
        self.started[id] = rewritten
        self.runs[worker.name, delivery.n] = (id, copy, rewritten)

    def ended(self, worker: Worker, delivery: Delivery) -> None:
        """An attempt ended; one that is given back may start again."""
        self.runs.pop((worker.name, delivery.n), None)
        if delivery.stopped in ("stopped", "lost"):
            self.excuse(delivery.id)

    def excuse(self, id: int) -> None:
        """A fault touched this entry."""
        if id in self.started:
            self.started[id] = True
        for key, (entry, copy, _) in self.runs.items():
            if entry == id:
                self.runs[key] = (entry, copy, True)

    def excuse_all(self) -> None:
        """A fault that forgets or moves everything."""
        for id in [*self.started, *(entry for entry, _, _ in self.runs.values())]:
            self.excuse(id)

    def killed(self, worker: Worker, server: Server) -> None:
        """A process is gone: what it ran may start again, and a mark of its own is evidence."""
        for key in [key for key in self.runs if key[0] == worker.name]:
            self.excuse(self.runs.pop(key)[0])
        for id in worker.held:
            self.excuse(id)
        for entry in server.stream.values():
            mark = server.suspects.get(entry.mid)
            if mark is not None and mark[1][2] == worker.name:
                self.suspicious.add(entry.copy)

    def poisoned(self, entry: Entry, cap: int) -> None:
        """I10: a poison kills at most `cap` workers (one that kills the reader waits for SWEEP)."""
        kills = self.kills[entry.copy] = self.kills.get(entry.copy, 0) + 1
        exempt = entry.mid in self.shared or entry.copy in self.vanished
        if kills > (cap if entry.kind != "parse" else 10 * cap) and not exempt:
            raise Broken(f"I10: copy {entry.copy} has killed {kills} workers")

    def convicted(self, entry: Entry) -> None:
        """I10: only what was started and marked, and never ended, is convicted."""
        known = entry.copy in self.suspicious or entry.copy in self.vanished or entry.mid in self.shared
        if not known:
            raise Broken(f"I10: copy {entry.copy} is buried as poison, but no marked start of it went wrong")

    def final(self, copy: int, server: Server) -> None:
        """A final copy needs no memory."""
        if server.ledger.get(copy) in FINAL:
            self.suspicious.discard(copy)
