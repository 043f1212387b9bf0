"""The judgement of a chaos run, from what was sent, what was run, what died and which faults there were. No I/O."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import pairwise

from tests.chaos.evidence import Evidence, Fault
from tests.chaos.producer import Sent
from tests.e2e.fleet import Run


@dataclass
class Judgement:
    """What is wrong, in words, and what was counted."""

    wrong: list[str] = field(default_factory=list)
    repeats: list[str] = field(default_factory=list)
    causes: Counter[str] = field(default_factory=Counter)  # how many repeats each kind of fault made
    done: int = 0
    dead: int = 0
    doubtful: int = 0
    doubtful_done: int = 0
    duplicates: int = 0
    flushed: int = 0  # were in Redis when it was emptied
    flushed_done: int = 0  # of them, ended all the same: a worker had them


class Judge:
    """Judges one run. `dead` are the reasons of the dead letters of each `n`, `flushed` what Redis held at a FLUSHALL;
    `lease` in seconds.
    """

    def __init__(
        self,
        sent: Sequence[Sent],
        runs: Iterable[Run],
        dead: dict[int, list[str]],
        faults: Sequence[Fault],
        lease: float,
        flushed: AbstractSet[int] = frozenset(),
    ) -> None:
        self.sent, self.dead, self.flushed = sent, dead, flushed
        self.starts: dict[int, list[Run]] = defaultdict(list)
        self.stops: dict[tuple[str, int], list[Run]] = defaultdict(list)  # by message and process: ends, and cuts short
        self.ends: Counter[int] = Counter()
        stalls = []
        for run in runs:
            if run.what == "stalled":
                stalls.append(Fault("stalled", run.at - float(run.n), run.at, run.pid))
            elif run.what == "start":
                self.starts[int(run.n)].append(run)
            else:
                self.stops[run.id, run.pid].append(run)
                self.ends[int(run.n)] += run.what == "end"
        self.evidence = Evidence([*faults, *stalls], lease)
        self.found = Judgement()

    def judge(self) -> Judgement:
        """Look at every message, at every repeat, and at the keys."""
        for one in self.sent:
            self._message(one)
        for number in set(self.starts) | set(self.dead):
            if not 0 <= number < len(self.sent):
                self.found.wrong.append(f"n={number} was run, but never sent")
        for number, starts in self.starts.items():
            self._repeats(number, starts)
        self._keys()
        return self.found

    # -- each message ends once --------------------------------------------------------------------------------------

    def _message(self, one: Sent) -> None:
        starts, dead, found = self.starts.get(one.n, []), self.dead.get(one.n, []), self.found
        ids = {run.id for run in starts}
        if one.duplicate:
            found.duplicates += 1
            if starts or dead:
                found.wrong.append(f"{one} was no message of its own, but ran")
            return
        if len(ids) > 1 or (one.id is not None and ids - {one.id}):
            found.wrong.append(f"{one} was sent once and ran as {sorted(ids)}")
        if one.doubtful:
            found.doubtful += 1
            found.doubtful_done += bool(starts)
            if not starts and not dead:
                return  # refused, or the send never arrived
        if one.n in self.flushed:
            found.flushed += 1
            found.flushed_done += bool(self.ends[one.n])
            return
        self._end(one, starts, dead)

    def _end(self, one: Sent, starts: list[Run], dead: list[str]) -> None:
        ends, found = self.ends[one.n], self.found
        if one.dies and (dead != ["retries"] or ends):
            found.wrong.append(f"{one} should be one dead letter: {dead}, {ends} ends, {_told(starts)}")
        if not one.dies and (dead or not ends):
            found.wrong.append(f"{one} should be done: {dead}, {ends} ends, {_told(starts)}")
        attempts = set(range(1, one.fails + (0 if one.dies else 1) + 1))
        if {run.attempt for run in starts} != attempts:
            found.wrong.append(f"{one} should have run the attempts {sorted(attempts)}: {_told(starts)}")
        if starts and starts[0].at < one.began + one.countdown - 0.01:
            found.wrong.append(f"{one} started {one.began + one.countdown - starts[0].at:.3f} s early")
        found.dead += bool(dead)
        found.done += not dead

    # -- what ran more than once -------------------------------------------------------------------------------------

    def _repeats(self, number: int, starts: list[Run]) -> None:
        by_attempt: dict[int, list[Run]] = defaultdict(list)
        for run in starts:
            by_attempt[run.attempt].append(run)
        for attempt, runs in by_attempt.items():
            runs.sort(key=lambda run: run.deliveries)  # in the order in which Redis gave them away
            for first, second in pairwise(runs):
                self._repeat(f"n={number}, attempt {attempt}", first, second)

    def _repeat(self, which: str, first: Run, second: Run) -> None:
        cause = self.evidence.cause(first, second)
        text = f"{which}: {_told([first, second])}: {cause or 'no fault'}"
        self.found.repeats.append(text)
        self.found.causes[f"{cause.kind} {cause.command}".strip() if cause else "no fault"] += 1
        if cause is None:
            self.found.wrong.append(text)
        if first.deliveries == second.deliveries:
            self.found.wrong.append(f"{text}; one token started twice")
        elif self.evidence.too_soon(first, second):
            self.found.wrong.append(f"{text}; the lease of the first cannot have been confirmed when it started")
        if first.pid == second.pid and not self._ended_between(*sorted((first, second), key=lambda run: run.at)):
            self.found.wrong.append(f"{text}; twice at once in one process")

    def _ended_between(self, first: Run, second: Run) -> bool:
        return any(first.at <= stop.at <= second.at for stop in self.stops[first.id, first.pid])

    # -- one at a time under a unique key ------------------------------------------------------------------------------

    def _keys(self) -> None:
        """Redis took a message under a key only when the one before it was final, so it never started after that."""
        holders: dict[int, Sent] = {}
        for one in self.sent:
            if one.key is None or not one.accepted or one.n in self.flushed:
                continue
            before = holders.get(one.key)
            late = [run for run in self.starts.get(before.n, []) if run.at > one.ended] if before else []
            if late:
                self.found.wrong.append(f"{one} was taken under the key of {before}, which then ran: {_told(late)}")
            holders[one.key] = one


def _told(runs: Iterable[Run]) -> str:
    """Runs in short."""
    return ", ".join(f"{run.what} in {run.pid} at {run.at:.2f} (delivery {run.deliveries})" for run in runs) or "no run"
