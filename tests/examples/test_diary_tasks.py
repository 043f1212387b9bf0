"""The app's tasks in real worker processes on a real Redis: scans, limits, refusals, failures and replays."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import select

from examples.diary.db import Database
from examples.diary.load import BUNDLED, load
from examples.diary.models import DailySummary, Execution, MonthlySummary
from streamtask import StreamTask
from tests.examples.conftest import LONG, NOON
from tests.examples.model_server import ModelServer, answer
from tests.servers import Server
from tests.support import eventually

ROOT = Path(__file__).parents[2]
TASKS = "examples.diary.tasks"
DAILY, MONTHLY = f"{TASKS}.queue_daily_summaries", f"{TASKS}.queue_monthly_summaries"


class Service:
    """The diary's commands against one Redis and one database."""

    def __init__(self, url: str, db: Database) -> None:
        self.db = db
        self.redis = Redis.from_url(url)
        self.env = {
            **os.environ,
            "STREAMTASK_URL": url,
            "DIARY_DATABASE": str(db.path),
            "DIARY_RETRY_BASE": "10ms",
            "DIARY_MAX_RETRIES": "1",
            "NO_PROXY": "127.0.0.1",
        }

    def streamtask(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "streamtask", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def scan(self, *names: str, queues: str = "default") -> None:
        """Send the scans by hand, and let a worker of these queues work everything off."""
        with StreamTask("diary", self.env["STREAMTASK_URL"]) as sender:  # by name, as another service would
            for name in names or (DAILY, MONTHLY):
                assert not sender.send(name, queue="default").duplicate
        self.work(queues)

    def work(self, queues: str = "default,summaries") -> None:
        self.streamtask("worker", f"{TASKS}:app", "--burst", "--queues", queues)

    def work_until(self, fact: Callable[[], bool]) -> None:
        """A worker that stays (a burst does not wait for retries), until this is true."""
        if fact():  # a burst may have been slow enough to see the retries out
            return
        command = [sys.executable, "-m", "streamtask", "worker", f"{TASKS}:app"]
        worker = subprocess.Popen(command, cwd=ROOT, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            eventually(fact, timeout=30)
        finally:
            worker.terminate()
            assert worker.wait(30) == 0

    def waiting(self) -> int:
        return int(self.redis.xlen("diary:summaries"))

    def log(self) -> list[tuple[str, str | None]]:
        """Items and outcomes of the summaries' attempts."""
        with self.db.reading() as session:
            rows = session.scalars(select(Execution).where(Execution.kind != "scan").order_by(Execution.id))
            return [(row.item, row.outcome) for row in rows]

    def days(self) -> dict[str, str | None]:
        """The users' stored errors (None: a summary), of their only day."""
        with self.db.reading() as session:
            return {row.user_id: row.error_reason for row in session.scalars(select(DailySummary))}


@pytest.fixture
def service(redis86: Server, diary_db: Database) -> Iterator[Service]:
    opened = Service(redis86.url, diary_db)
    yield opened
    opened.redis.close()


@pytest.fixture
def model(service: Service) -> Iterator[ModelServer]:
    """A model that summarises everything as "It rained."; the service uses it."""
    server = ModelServer()
    server.says_text("It rained.")
    service.env |= {"SUMMARIZER_URL": server.url, "SUMMARIZER_MODEL": "m1"}
    yield server
    server.close()


def test_scans_queue_what_is_missing_once_and_workers_make_it(service: Service) -> None:
    load(BUNDLED, service.db, NOON)
    service.scan()
    assert service.waiting() == 46
    service.scan()  # nothing has been made meanwhile, and nothing piles up
    assert service.waiting() == 46
    service.work()
    assert service.waiting() == 0
    assert {outcome for _, outcome in service.log()} == {"done"}
    with service.db.reading() as session:
        assert len(session.scalars(select(DailySummary)).all()) == 34
        assert len(session.scalars(select(MonthlySummary)).all()) == 12
    service.scan()  # everything is made: nothing is sent
    assert service.waiting() == 0


def test_an_edited_diary_is_summarised_again_with_its_month_and_nothing_else(
    service: Service, write: Callable[..., None]
) -> None:
    for day in ("2025-02-28", "2025-03-01", "2025-03-31"):
        write("a", day)
    service.scan(queues="default,summaries")
    before = len(service.log())
    write("a", "2025-03-31", LONG + "Then it rained.", NOON + timedelta(days=60))
    service.scan(queues="default,summaries")
    assert sorted(service.log()[before:]) == [("a/2025-03", "done"), ("a/2025-03-31", "done")]


def test_a_scan_takes_its_day_from_the_tick_in_the_services_zone(service: Service, write: Callable[..., None]) -> None:
    """Yesterday's diary is due, today's is not, by the calendar of DIARY_TIMEZONE. These zones are 26 hours apart."""
    now = datetime.now(UTC)
    here, there = (now + timedelta(hours=14)).date(), (now - timedelta(hours=12)).date()
    write("a", there.isoformat())
    service.env["DIARY_TIMEZONE"] = "Etc/GMT+12"
    service.scan(DAILY)
    assert service.waiting() == 0 or datetime.now(UTC).hour == 12  # there, the day has just ended
    service.env["DIARY_TIMEZONE"] = "Pacific/Kiritimati"
    service.scan(DAILY)
    assert here > there
    assert service.waiting() == 1


def test_a_429_is_obeyed_and_is_no_attempt(service: Service, model: ModelServer, write: Callable[..., None]) -> None:
    write("a", "2025-03-01")
    limit = answer(429, {"error": {"message": "slow down"}}, Retry_After="1")
    model.first = [limit, limit, limit]  # more of them than there are attempts
    service.scan(DAILY, queues="default,summaries")
    service.work_until(lambda: service.days() == {"a": None})
    assert service.log() == [("a/2025-03-01", "limited")] * 3 + [("a/2025-03-01", "done")]
    with service.db.reading() as session:
        rows = session.scalars(select(Execution).where(Execution.kind == "daily").order_by(Execution.id)).all()
        assert {row.attempt for row in rows} == {1}
        assert len({row.message_id for row in rows}) == 1
        waits = [(later.started_at - row.started_at).total_seconds() for row, later in pairwise(rows)]
        assert min(waits) >= 1
    assert service.days() == {"a": None}


def test_a_refusal_is_buried_at_once_stored_and_stops_no_other_user(
    service: Service, model: ModelServer, write: Callable[..., None]
) -> None:
    write("a", "2025-03-01", "forbidden " * 200)
    write("b", "2025-03-01")
    service.scan(DAILY, queues="default,summaries")
    assert sorted(service.log()) == [("a/2025-03-01", "refused"), ("b/2025-03-01", "done")]
    assert service.days() == {"a": "Refused: content policy: not this", "b": None}
    assert "reject" in service.streamtask("dead", "list", "--namespace", "diary", "--queue", "summaries")
    service.scan(DAILY)
    assert service.waiting() == 0  # not asked for again...
    write("a", "2025-03-01", LONG, NOON + timedelta(days=60))
    service.scan(DAILY, queues="default,summaries")
    assert service.days() == {"a": None, "b": None}  # ...until the diary changes


def test_a_lasting_failure_ends_as_a_dead_letter_that_a_replay_makes_good(
    service: Service, model: ModelServer, write: Callable[..., None]
) -> None:
    write("a", "2025-03-01")
    model.says(503, {"error": {"message": "overloaded"}})
    service.scan(DAILY, queues="default,summaries")
    service.work_until(lambda: "a" in service.days())
    assert service.log() == [("a/2025-03-01", "retry"), ("a/2025-03-01", "failed")]
    assert "SummarizerError: HTTP 503" in str(service.days()["a"])
    service.scan(DAILY)
    assert service.waiting() == 0
    model.says_text("It rained.")
    service.streamtask("dead", "replay", "--all", "--namespace", "diary", "--queue", "summaries", "--yes")
    service.work()
    assert service.days() == {"a": None}
