"""`python -m examples.diary.demo`: load diaries, run the service, kill a worker, count what became of everything."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import NoReturn

from examples.diary.db import Database
from examples.diary.demo import facts, report
from examples.diary.demo.fleet import DemoFailed, Fleet
from examples.diary.demo.inject import INJECTED, inject
from examples.diary.demo.plan import KILL_AT, LEASE, THREADS, Plan, new_folder
from examples.diary.load import BUNDLED, LoadError, load
from examples.diary.settings import DiarySettings
from examples.diary.targets import Day, Month, daily_targets, monthly_targets, today_at
from examples.diary.work import label
from examples.shown import Shown, progress
from streamtask.embedded import ensure

#: Seconds until the demo gives up.
PATIENCE = 120.0
APP = "examples.diary.tasks:app"
WORKER, BEAT = ("worker", APP, "--lease", str(LEASE), "--threads", str(THREADS)), ("beat", APP)
VICTIM = "worker-1"


def main() -> int:
    """Run the demo; 0 when every target has its summary or its dead letter."""
    # Ctrl-C must end it also where a script started it in the background, which makes SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    path = Path(os.environ.get("DIARY") or BUNDLED)
    try:
        return run(path)
    except (DemoFailed, LoadError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: stopped; nothing of it runs on", file=sys.stderr)
        return 130


def run(path: Path) -> int:
    """The story: load, start, watch and kill, stop, count."""
    now = datetime.now(UTC)
    folder = new_folder(now)
    database = Database(folder / "diary.sqlite3")
    database.create()
    try:
        loaded = load(path, database, now)
    except LoadError:
        database.close()
        shutil.rmtree(folder)  # nothing happened there
        raise
    print(f"{path.name}: {loaded}")
    for problem in loaded.problems[:10]:
        print(f"  {problem}")
    inject(database, now)
    with database.reading() as session:
        today = today_at(now, DiarySettings.read({}).timezone)
        targets: list[Day | Month] = [*daily_targets(session, today), *monthly_targets(session, today)]
    if targets == [INJECTED]:
        raise DemoFailed(f"{path} asks for no summary: no past month, no past day of 1,000 characters")
    plan = Plan(folder, label(INJECTED), len(targets))
    print(
        f"{plan.targets - 1} summaries to make, {plan.delay:.2f} s of simulated work each, "
        f"and one item that always fails: {plan.fail_item}.\n"
        f"Starting Redis, 2 beats, and 2 workers with {THREADS} threads each."
    )
    ensure(plan.url)  # as one of its users: the server lives as long as this process
    with Fleet(folder, plan.environment(os.environ)) as fleet:
        for name, command in [("beat-1", BEAT), ("beat-2", BEAT), ("worker-1", WORKER), ("worker-2", WORKER)]:
            fleet.start(name, command)
        watch(fleet, database, len(targets))
        dead = await_dead(fleet, plan)
    fleet.check_ends()
    with database.reading() as session:
        found = facts.gather(session)
        report.show(session, plan, found, dead)
        lost = facts.unsettled(session, targets, dead)
    database.close()
    return judge(targets, lost, found)


def watch(fleet: Fleet, database: Database, total: int) -> None:
    """Follow the summaries to the last one, and kill a worker on the way."""
    deadline = time.monotonic() + PATIENCE
    with progress(total, "summaries") as shown:
        done = 0
        while done < total:
            fleet.check()
            done = facts.settled(database)
            shown.at(done)
            if done >= KILL_AT * total and not fleet.killed:
                kill(fleet, database, shown)
            if time.monotonic() > deadline:
                raise DemoFailed(f"only {done} of {total} summaries after {PATIENCE:.0f} s; see {fleet.folder}/*.log")
            time.sleep(0.05)


def kill(fleet: Fleet, database: Database, shown: Shown) -> None:
    """Kill the worker if it is in the middle of something: frozen first, so that the answer stays true."""
    fleet.freeze(VICTIM)
    held = facts.running(database, fleet.pid(VICTIM))
    if not held:
        fleet.thaw(VICTIM)  # between two tasks: at the next look
        return
    fleet.kill(VICTIM)
    shown.say(
        f"kill -9 {fleet.pid(VICTIM)} ({VICTIM}) in the middle of {held} summaries. It is not replaced: "
        f"worker-2 takes them over when their lease of {LEASE} s ends."
    )


def await_dead(fleet: Fleet, plan: Plan) -> list[str]:
    """The dead letters, as soon as the injected item is among them."""
    deadline = time.monotonic() + 10
    while True:
        dead = facts.dead_items(fleet.environment)
        if plan.fail_item in dead or time.monotonic() > deadline:
            return dead


def judge(targets: Sequence[Day | Month], lost: Sequence[str], found: facts.Facts) -> int:
    """Say whether the promise held."""
    if lost:
        print(f"\nFAILED: {len(lost)} of {len(targets)} have neither summary nor dead letter: {', '.join(lost[:10])}")
        return 1
    print(f"\nAll {len(targets)} are settled: each has its summary or its dead letter. Nothing was lost.")
    if not found.interrupted:
        print("The killed worker was idle: there were too few diaries to interrupt one.")
    return 0


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does: through every `with`."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
