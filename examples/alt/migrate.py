"""`python -m examples.alt.migrate [PHASE ...]`: the way from direct calls to the hub, in five phases, each proven.

Each phase brings new articles, and ends when all articles so far are summarised, tagged and in the index: once each,
however many ways the work came on. Without arguments all five run, on one database and one Redis.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NoReturn
from urllib.parse import urlsplit

import redis

from examples.alt import store
from examples.alt.articles import Article, editions
from examples.alt.backend import Backend, opened
from examples.alt.db import Database
from examples.alt.events import ARTICLES
from examples.alt.feeds import read
from examples.alt.fleet import SERVICES, Alt, DemoFailed, new_folder
from examples.alt.settings import BackendSettings

#: Articles that each phase brings.
EACH = 12
#: Seconds that the services may take.
PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase: what the backend is told, whether the services run, and what it shows."""

    hub: bool
    direct: str
    consumers: bool
    title: str


PHASES = (
    Phase(False, "on", False, "direct calls only, as before the hub"),
    Phase(True, "on", False, "the hub publishes, nobody consumes: a shadow"),
    Phase(True, "on", True, "consumers on, direct calls still on"),
    Phase(True, "fallback", True, "by events; directly what the hub does not take"),
    Phase(True, "off", True, "by events only"),
)


@dataclass(slots=True)
class Proof:
    """What a phase has shown."""

    number: int
    articles: int
    published: int
    directly: int
    ways: Counter[str]  # writes of this phase, by the way on which they came
    wrong: list[str]


def main(arguments: list[str]) -> int:
    """Run the phases; 0 when each holds."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for stop in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, _leave)
    if any(argument not in "12345" or len(argument) != 1 for argument in arguments):
        print("usage: python -m examples.alt.migrate [PHASE ...], phases 1 to 5", file=sys.stderr)
        return 2
    chosen = sorted(map(int, set(arguments) or "12345"))
    try:
        return run(chosen)
    except DemoFailed as error:
        print(f"migrate: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("migrate: stopped; nothing of it runs on", file=sys.stderr)
        return 130


def run(numbers: Iterable[int]) -> int:
    """One phase after the other; what a phase has written stays for the next ones."""
    supply = iter(list(editions(read().articles, 2)))
    failed = False
    folder = new_folder("migrate-alt", datetime.now(UTC))
    logging.basicConfig(filename=folder / "backend.log", format="%(asctime)s %(levelname)s %(message)s")
    with Alt(folder, os.environ) as fleet:
        database = Database(fleet.database)
        database.create()
        for number in numbers:
            phase = PHASES[number - 1]
            print(f"\nphase {number}: {phase.title}")
            proof = play(fleet, database, number, phase, [next(supply) for _ in range(EACH)])
            show(proof)
            failed = failed or bool(proof.wrong)
        database.close()
        fleet.stop()
        fleet.check_ends()
    print(
        "\nFAILED" if failed else "\nEach phase left every article summarised, tagged and indexed, and nothing twice."
    )
    return int(failed)


def play(fleet: Alt, database: Database, number: int, phase: Phase, articles: list[Article]) -> Proof:
    """Run a phase: start what it needs, bring its articles, and see that all are done."""
    if phase.hub and not fleet.hub_url:
        fleet.start_hub()
    if phase.consumers and "search_indexer" not in fleet.processes:
        waiting = on_topic(fleet)
        for service in SERVICES:
            fleet.serve(service)
        print(f"  the services start; {waiting} events wait for them from the phase before")
    before = ways(database)
    fallback = phase.direct == "fallback"
    settings = BackendSettings.read(
        fleet.backend(MQHUB_ENABLED=str(phase.hub).lower(), ALT_DIRECT=phase.direct, APP_ENV="development")
    )
    told = asyncio.run(bring(fleet, settings, articles, outage=fallback or phase.direct == "off", back=not fallback))
    finish(fleet, database, phase)
    return Proof(
        number,
        len(articles),
        told.publisher.counts.published if told.publisher else 0,
        told.told.directly,
        ways(database) - before,
        wrong(database, told),
    )


async def bring(fleet: Alt, settings: BackendSettings, articles: list[Article], *, outage: bool, back: bool) -> Backend:
    """Store and tell of the articles; with an outage, the hub goes away before the second half of them.

    `back`: it comes back while they wait, as one whose job it is would see to. Else it stays away until they are told.
    """
    half = len(articles) // 2 if outage else len(articles)
    port = urlsplit(settings.mqhub_connect_url).port or 0
    async with opened(settings) as backend:
        await backend.save(articles[:half])
        if outage and backend.publisher is not None:
            await backend.publisher.drained()
            end_hub(fleet)
            print("  the hub is stopped, and half of the articles come now")
            await backend.save(articles[half:])
            if back:
                waiting = backend.publisher.waiting
                fleet.start_hub("hub-again", port)  # here: a process ends with the thread that started it
                print(f"  {waiting} events waited in the backend; the hub is back")
            await backend.publisher.drained()
    if outage and not back:
        fleet.start_hub("hub-later", port)
    return backend


def end_hub(fleet: Alt) -> None:
    """Stop the hub in good order; it is no member of the fleet any more."""
    name = next(name for name in fleet.processes if name.startswith("hub"))
    process = fleet.processes.pop(name)
    process.terminate()
    process.wait()


def finish(fleet: Alt, database: Database, phase: Phase) -> None:
    """Wait until all is done: at once without consumers, else when no event waits any more."""

    def done() -> bool:
        with database.reading() as connection:
            return not store.unfinished(connection)

    fleet.wait(done, PATIENCE, "some articles are not finished")
    if phase.consumers:
        fleet.quiet(PATIENCE)


def wrong(database: Database, backend: Backend) -> list[str]:
    """What does not hold, a line each."""
    with database.reading() as connection:
        articles, effects = store.article_ids(connection), store.effects(connection)
        unfinished = store.unfinished(connection)
        rows = {
            table: [row[0] for row in connection.execute(f"SELECT article_id FROM {table}")]
            for table in ("summaries", "tags", "documents")
        }
    found = [f"not finished: {article_id}" for article_id in unfinished]
    found += [f"written {len(on)} times: {kind} of {id}" for (kind, id, _), on in effects.items() if len(on) > 1]
    for kind in ("summary", "tags"):
        times = Counter(id for what, id, _ in effects if what == kind)
        found += [f"{times[id]} writes of the {kind} of {id}, for one version" for id in articles if times[id] != 1]
    found += [f"{table} differs from the articles" for table, ids in rows.items() if sorted(ids) != sorted(articles)]
    return found + backend.told.failed + backend.told.lost


def ways(database: Database) -> Counter[str]:
    """How often each way has written something."""
    with database.reading() as connection:
        return Counter(via for on in store.effects(connection).values() for via in on)


def on_topic(fleet: Alt) -> int:
    """Events on the articles' topic."""
    with redis.Redis.from_url(fleet.redis) as client:
        return int(client.xlen(ARTICLES))


def show(proof: Proof) -> None:
    """Print what the phase has shown."""
    print(f"  {proof.articles} articles: {proof.published} events by the hub, {proof.directly} worked on directly")
    print(f"  writes: {proof.ways['direct']} by direct calls, {proof.ways['stream']} by events")
    for problem in proof.wrong[:10]:
        print(f"  WRONG: {problem}")
    if not proof.wrong:
        print("  every article so far: one summary, one list of tags, one place in the index; no write twice")


def _leave(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
