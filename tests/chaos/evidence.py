"""Why a message was started again: what the log of a chaos run proves of the worker that had it before. No I/O.

Another worker takes a message when nobody has renewed it for a lease. A worker that lives renews at least once in half
a lease what it holds, so there are three reasons, and no others:

* it was killed, and a lease has passed since its last renewal: the proxy has seen each turn of its lease thread;
* its lease thread did not get through for too long, which the proxy has seen, too. For at least half of the time by
  which the next turn was late, there must be something that held it up: the process stood still (SIGSTOP, or its own
  clock says that the machine gave it no time), the proxy did, or a command of the lease thread was spoiled;
* the answer that brought the message was late by so much that the first renewal came too late. The proxy noted that.

That Redis was away is no reason, however long it was: workers give each other the time to renew first. Nor is a lost
answer to a read or to a verdict.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice

from tests.e2e.fleet import Run

#: What a lease thread sends. A spoiled one costs the turn, which has a limit of time and is tried again a period later.
RENEWING = {"renew", "eval", "set", "client setname"}
#: Commands whose answer brings messages.
READING = {"xreadgroup", "read", "eval"}
#: Seconds that a step may take which nothing notes: from the decision to start until the task runs, or from a thread's
#: look at the clock until the proxy has its command. And those by which an answer to a read may be late without being
#: older than the worker takes it to be, as a part of the lease.
AWAKE, MARGIN = 0.2, 1 / 8


@dataclass(frozen=True)
class Fault:
    """Something that was done, from `at` to `until` (monotonic). `pid` is the process it was done to, if only one.

    Of the kind "stalled" without a pid: the proxy. Of the kind "turn": no fault, but a lease thread's turn.
    """

    kind: str
    at: float
    until: float
    pid: int | None = None
    command: str = ""

    def __str__(self) -> str:
        where = f" of {self.pid}" if self.pid is not None else ""
        what = f" {self.command}" if self.command else ""
        return f"{self.kind}{what}{where} at {self.at:.2f} for {self.seconds:.2f} s"

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return self.until - self.at

    def within(self, at: float, until: float) -> float:
        """Seconds of it between two moments."""
        return max(0.0, min(self.until, until) - max(self.at, at))


class Evidence:
    """Everything that was noted, by the process it concerns. `lease` in seconds."""

    def __init__(self, faults: Iterable[Fault], lease: float) -> None:
        self.lease, self.period, self.margin = lease, min(lease / 3, 5.0), min(2.0, lease * MARGIN)
        self._kills: dict[int | None, list[Fault]] = defaultdict(list)
        self._standing: dict[int | None, Spans] = defaultdict(Spans)
        self._turns: dict[int | None, Spans] = defaultdict(Spans)
        self._renewing: dict[int | None, Spans] = defaultdict(Spans)
        self._reading: dict[int | None, Spans] = defaultdict(Spans)
        self._away = Spans()
        for fault in sorted(faults, key=lambda fault: fault.at):
            self._sort(fault)

    def _sort(self, fault: Fault) -> None:
        if fault.kind == "kill -9":
            self._kills[fault.pid].append(fault)
        elif fault.kind in {"SIGSTOP", "stalled"}:
            self._standing[fault.pid].add(fault)
        elif fault.kind == "turn":
            self._turns[fault.pid].add(fault)
        elif fault.kind.startswith("redis "):
            self._away.add(fault)
        else:
            if fault.command in RENEWING:
                self._renewing[fault.pid].add(fault)
            if fault.command in READING and fault.kind == "late_reply":
                self._reading[fault.pid].add(fault)

    def cause(self, first: Run, second: Run) -> Fault | None:
        """What cost the process of `first` the message, which then was started as `second`; None when nothing did."""
        late = self._late_read(first)
        old = max(0.0, late.seconds - self.margin) if late else 0.0
        for at, until in self._gaps(first, second):
            # What was renewed half a period before a turn is not renewed by it.
            if until - at + old >= self.lease - self.period / 2 - AWAKE:
                cause = self._killed(first, at, until) or self._held_up(first.pid, at, until, late)
                if cause is not None:
                    return cause
        return None

    def too_soon(self, first: Run, second: Run) -> bool:
        """Was it decided to start `first` with less than half a lease left? Freshness forbids that, unless the answer
        that brought it was old without a sign of it. The process may have stood still before the task's first step.
        """
        missing = first.at + self.lease / 2 - second.at
        stood, _ = self._stood(first.pid, first.at - first.late, first.at)
        late = self._late_read(first)
        return missing > AWAKE + stood + (late.seconds if late else 0.0)

    # -- a lease thread that did not get through -----------------------------------------------------------------------

    def _gaps(self, first: Run, second: Run) -> list[tuple[float, float]]:
        """Each time between two turns in which the message can have been taken: from the beginning of one to the end of
        the next, or to the second start. Before the first turn there was nothing to renew for longer than a lease.
        """
        turns = self._turns[first.pid].all
        begins = [first.at - self.lease, *(turn.at for turn in turns)]
        ends = [*(turn.until for turn in turns), second.at]
        return [
            (at, min(until, second.at))
            for at, until in zip(begins, ends, strict=True)
            if until >= min(first.at, second.at) - AWAKE
        ]

    def _killed(self, first: Run, at: float, until: float) -> Fault | None:
        kills = self._kills[first.pid]
        return next((kill for kill in kills if kill.until >= max(at, first.at) and kill.at <= until), None)

    def _held_up(self, pid: int, at: float, until: float, late: Fault | None) -> Fault | None:
        """What held up the lease thread in a gap that was too long; None when hardly anything did."""
        delay = late.seconds if late else 0.0
        away = sum(fault.within(at, until) for fault in self._away.between(at, until))
        # After an outage the next turn comes a period after the one that failed.
        missing = until - at - away - self.period * (2 if away else 1) + delay
        stood, standing = self._stood(pid, at, until)
        spoiled = self._renewing[pid].between(at, until)
        noted = stood + 2 * self.period * len(spoiled) + delay
        if missing <= 0 or noted < missing / 2:
            return None
        # A process that was frozen notes that it stood still, too.
        return max([*standing, *spoiled, *([late] if late else [])], key=lambda f: (f.kind == "SIGSTOP", f.seconds))

    def _stood(self, pid: int | None, at: float, until: float) -> tuple[float, list[Fault]]:
        """Seconds for which the process or the proxy stood still, each moment once, and what made them do so."""
        own, proxy = self._standing[pid].between(at, until), self._standing[None].between(at, until)
        seconds, past = 0.0, at
        for fault in sorted([*own, *proxy], key=lambda fault: fault.at):
            seconds += fault.within(past, until)
            past = max(past, fault.until)
        return seconds, [*own, *proxy]

    def _late_read(self, first: Run) -> Fault | None:
        """What made the answer late that brought the message; of several faults the sum, by the name of the longest."""
        at = first.at - self.lease
        both = [*self._reading[first.pid].between(at, first.at), *self._standing[None].between(at, first.at)]
        late = [fault for fault in both if fault.seconds > self.margin / 2]
        if not late:
            return None
        longest = max(late, key=lambda fault: fault.seconds)
        return replace(longest, until=longest.at + sum(fault.seconds for fault in late))


class Spans:
    """Faults in the order in which they began; of one kind and process, so the next begins when one has ended."""

    def __init__(self) -> None:
        self.all: list[Fault] = []
        self._untils: list[float] = []

    def add(self, fault: Fault) -> None:
        """One more, the latest."""
        self.all.append(fault)
        self._untils.append(max(fault.until, self._untils[-1] if self._untils else fault.until))

    def between(self, at: float, until: float) -> list[Fault]:
        """Those that touch a time."""
        found = []
        for fault in islice(self.all, bisect_left(self._untils, at), None):
            if fault.at > until:
                break
            if fault.until >= at:
                found.append(fault)
        return found
