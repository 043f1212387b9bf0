"""`python -m examples.alt.demo`: hundreds of articles through the hub, a service killed, a group that comes late."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import NoReturn

from examples.alt.articles import Article, editions, parts
from examples.alt.backend import Backend, opened, tags_now
from examples.alt.db import Database
from examples.alt.demo import facts, report
from examples.alt.demo.events import Bad, publish_bad
from examples.alt.environment import SettingError, number, value
from examples.alt.feeds import BUNDLED, FeedError, read
from examples.alt.fleet import LEASE, SERVICES, Alt, DemoFailed, new_folder
from examples.alt.search import LONGEST
from examples.alt.settings import BackendSettings
from examples.alt.store import get_article
from examples.shown import Shown, progress

#: Seconds until the demo gives up.
PATIENCE = 80.0
#: About how many articles, and how many seconds the services should take for them all, and at most for one: what the
#: killed one had begun is begun again one by one, should it be what killed it.
ENOUGH, LENGTH, LONGEST_DELAY = 300, 8.0, 0.4
THREADS = 10
VICTIM, LATE = "pre_processor", "archive"
#: Share of the work after which the victim is killed, and after which the late group joins.
KILL_AT, JOIN_AT = 0.3, 0.6


def main() -> int:
    """Run the demo; 0 when everything adds up."""
    # Ctrl-C must end it also where a script started it in the background, which makes SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for stop in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, _leave)
    try:
        enough = value(os.environ, "ALT_DEMO_ARTICLES", number(1, 5000), str(ENOUGH))
        return run(Path(os.environ.get("FEED") or BUNDLED), enough)
    except (DemoFailed, FeedError, SettingError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: stopped; nothing of it runs on", file=sys.stderr)
        return 130


def run(path: Path, enough: int) -> int:
    """The story: start, publish, kill, join late, wait, show, check."""
    articles = plenty(path, enough)
    folder = new_folder("demo-alt", datetime.now(UTC))
    with Alt(folder, os.environ, delay=min(LONGEST_DELAY, LENGTH * THREADS / len(articles))) as fleet:
        print("Starting Redis, the hub, and three services.")
        fleet.start_hub()
        for service in SERVICES:
            fleet.serve(service)
        settings = BackendSettings.read(fleet.backend())
        database = Database(settings.database)
        database.create()
        bad = asyncio.run(publish(settings, articles))
        total = 2 * (len(articles) + 1)  # a summary and a list of tags each, the one that is too long included
        with progress(total, "summaries and tag lists") as shown:
            live, took, waiting = watch(fleet, database, settings, articles[0], total, shown)
        asyncio.run(change(settings, articles))
        settled(fleet, database)
        return show(fleet, database, bad, (articles[0].article_id, live, took, waiting))


def plenty(path: Path, enough: int) -> list[Article]:
    """The articles of the feeds; where they are few, with their paragraphs, and in daily editions. Says so."""
    found = read([path])
    for problem in found.problems[:10]:
        print(f"  {problem}")
    articles = [article for article in found.articles if 0 < len(article.content) <= LONGEST]
    if not articles:
        raise DemoFailed(f"no article of {path} has a text of up to {LONGEST:,} characters")
    if len(articles) < len(found.articles):
        print(f"  {len(found.articles) - len(articles)} articles without a text, or with too long a one, are left out")
    made = f"{len(articles)} articles"
    if len(articles) < enough and any("\n\n" in article.content for article in articles):
        articles = list(parts(articles))
        made += f", each paragraph as an article of its own: {len(articles)}"
    if len(articles) < enough:
        days = -(-enough // len(articles))
        articles = list(editions(articles, days))
        made += f", in {days} daily editions: {len(articles)}"
    print(f"{path.name}: {made}.")
    return articles


async def publish(settings: BackendSettings, articles: list[Article]) -> Bad:
    """Store and tell of all articles, and publish what is bad."""
    async with opened(settings) as backend:
        started = time.monotonic()
        await backend.save(articles)
        assert backend.publisher is not None
        await backend.publisher.drained()
        took = time.monotonic() - started
        print(f"{len(articles)} articles stored, and published through the hub in {took:.1f} s.")
        bad = await publish_bad(backend, articles[0])
    print(
        "Also published: two events that nobody can read, one of an unknown type, one event twice, one of an article "
        "that is gone, and an article that is too long for the index."
    )
    _complain(backend)
    return bad


def watch(
    fleet: Alt, database: Database, settings: BackendSettings, sample: Article, total: int, shown: Shown
) -> tuple[str, float, int]:
    """Follow the work to its end; kill a service and let a group join on the way. Returns what a tag request gave."""
    deadline = time.monotonic() + PATIENCE
    joined, answer = False, ("", 0.0, 0)
    while (done := facts.done(database)) < total:
        fleet.check()
        shown.at(done)
        if done >= KILL_AT * total and not fleet.killed:
            kill(fleet, shown)
            answer = asyncio.run(tags_while_busy(fleet, settings, database, sample))
        if done >= JOIN_AT * total and not joined:
            fleet.serve(LATE)
            shown.say(f"a fourth group joins late: {LATE}-group, from the beginning")
            joined = True
        if time.monotonic() > deadline:
            raise DemoFailed(f"only {done} of {total} after {PATIENCE:.0f} s; see {fleet.folder}/*.log")
        time.sleep(0.05)
    shown.at(done)
    if not (fleet.killed and joined):
        raise DemoFailed("all was done before a service could be killed: there are too few articles")
    return answer


def kill(fleet: Alt, shown: Shown) -> None:
    """Kill the service where it stands, and start it again. Frozen first, so that the numbers stay true."""
    fleet.freeze(VICTIM)
    row = next(row for row in fleet.groups() if row.group == "pre-processor-group")
    fleet.kill(VICTIM)
    fleet.serve(VICTIM, f"{VICTIM}-again")
    shown.say(
        f"kill -9 {fleet.pid(VICTIM)} ({VICTIM}): it held {row.pending} events, {row.lag} more waited in the topic. "
        f"It is started again, and gets them back when their lease of {LEASE} s ends."
    )


async def tags_while_busy(
    fleet: Alt, settings: BackendSettings, database: Database, sample: Article
) -> tuple[str, float, int]:
    """Have an article tagged through the hub, while the tag generator's other group is behind."""
    rows = await asyncio.to_thread(fleet.groups)
    waiting = sum(row.behind for row in rows if row.group == "tag-generator-group")
    async with opened(settings) as backend:
        with database.reading() as connection:
            article = get_article(connection, sample.article_id)
        assert backend.hub is not None
        assert article is not None
        started = time.monotonic()
        tags = await tags_now(backend.hub, article)
    return tags, time.monotonic() - started, waiting


async def change(settings: BackendSettings, articles: list[Article]) -> None:
    """What else happens to articles: some change, and all are to be indexed anew."""
    async with opened(settings) as backend:
        corrected = [_corrected(article) for article in articles[:5]]
        await backend.save(corrected)
        await backend.reindex()
    _complain(backend)
    print(f"\n{len(corrected)} articles corrected: updated, summarised, tagged and indexed again; all to be reindexed.")


def settled(fleet: Alt, database: Database) -> None:
    """Wait until no event waits anywhere, and the late group has kept all."""

    def kept() -> bool:
        return facts.count(database, "archive") >= len(facts.event_ids(fleet.redis))

    fleet.wait(kept, PATIENCE / 2, "the late group has not kept all events")
    fleet.quiet(PATIENCE / 2)


def show(fleet: Alt, database: Database, bad: Bad, live: tuple[str, str, float, int]) -> int:
    """Print what became of everything, and whether it adds up."""
    report.searches(database, report.topics(database, 3))
    report.example(database, *live)
    groups, letters = fleet.groups(), fleet.ask("dead", "list")["dead"]
    print()
    report.groups(groups, "lag of each group")
    report.dead(letters, {bad.oversized: "(too long)"})
    found = facts.gather(database, fleet.redis, letters)
    report.numbers(found)
    report.where(fleet)
    problems = facts.wrong(found, bad, groups)
    fleet.stop()
    fleet.check_ends()
    database.close()
    for problem in problems:
        print(f"\nFAILED: {problem}")
    if not problems:
        print(
            f"\nIt adds up: {found.articles - 1} articles are summarised, tagged and in the index once each; the late"
        )
        print(f"group kept all {found.events} events; {sum(found.dead.values())} dead letters, each with its reason.")
    return 1 if problems else 0


def _corrected(article: Article) -> Article:
    return replace(article, content=f"{article.content}\n\nCorrection: an earlier version left this sentence out.")


def _complain(backend: Backend) -> None:
    """A backend that could not tell something has failed its part of the demo."""
    lost = [*backend.told.failed, *backend.told.lost]
    if lost:
        raise DemoFailed(f"the backend could not tell of {len(lost)} events: {lost[0]}")


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does: through every `with`."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
