"""The log of workers and beats: its lines, its limits, and the records of user code among them."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from streamtask.context import CURRENT, Context
from streamtask.logs import LogReporter, TaskFilter, adopt_logging
from streamtask.logs.reporter import DONE_A_SECOND
from streamtask.logs.writer import LogWriter
from streamtask.message import Message
from tests.support import eventually

ID = "6f2c0000000000000000000000009a"
ERROR = {"error_type": "TimeoutError", "error": "LLM took 60 s\nreally", "traceback": "Traceback\n  boom"}


class Log:
    """A reporter, and what it wrote."""

    def __init__(self, **options: Any) -> None:
        self.stream = io.BytesIO()
        self.report = LogReporter(self.stream, **options)

    def lines(self) -> list[str]:
        """Everything that was written; ends the reporter."""
        self.report.close()
        return self.stream.getvalue().decode().splitlines()

    def line(self) -> str:
        """The only line, without its time."""
        (line,) = self.lines()
        assert re.match(r"\d\d:\d\d:\d\d\.\d{3} ", line), line
        return line[13:]


def retry(report: LogReporter) -> None:
    fields = {"task": "diary.daily_summary", "id": ID, "queue": "q", "attempt": 2, "attempts": 6}
    report.event("task.retry", logging.WARNING, "retry", retry_in_s=3.7, **fields, **ERROR)


def test_a_task_that_is_done() -> None:
    log = Log()
    log.report.done("diary.daily_summary", ID, 1, 0.4123, 0.003)
    assert log.line() == "done  daily_summary 6f2c…9a  attempt 1  0.412 s  waited 0.003 s"


def test_a_retry_has_no_traceback_unless_the_level_is_debug() -> None:
    log = Log()
    retry(log.report)
    assert log.line() == "retry daily_summary 6f2c…9a  attempt 2 of 6  in 3.7 s  TimeoutError: LLM took 60 s"
    log = Log(level=logging.DEBUG)
    retry(log.report)
    assert log.lines()[1:] == ["    Traceback", "      boom"]
    log = Log(as_json=True)
    retry(log.report)
    assert "error.stack" not in json.loads(log.lines()[0])


def test_a_dead_letter_has_its_traceback() -> None:
    log = Log()
    log.report.event("task.dead", logging.WARNING, "dead", task="a.b", id=ID, attempt=6, reason="retries", **ERROR)
    first, *more = log.lines()
    assert first[13:] == "dead  b 6f2c…9a  attempt 6  retries  TimeoutError: LLM took 60 s"
    assert more == ["    Traceback", "      boom"]


def test_json_lines_have_the_names_of_the_contract() -> None:
    log = Log(as_json=True)
    log.report.worker = "web-3:4711/6f2c"
    log.report.done("a.b", ID, 1, 0.4123, 0.003)
    fields = {"task": "a.b", "id": ID, "queue": "q", "attempt": 6, "deliveries": 1, "stream_id": "1-0"}
    log.report.event("task.dead", logging.WARNING, "dead", reason="retries", **fields, **ERROR)
    done, dead = map(json.loads, log.lines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", done.pop("ts"))
    assert done == {
        "level": "info", "logger": "streamtask", "event": "task.done", "msg": "done", "worker": "web-3:4711/6f2c",
        "task": "a.b", "id": ID, "attempt": 1, "verdict": "done", "duration_s": 0.4123, "wait_s": 0.003,
    }  # fmt: skip
    del dead["ts"]
    assert dead == fields | {
        "level": "warning", "logger": "streamtask", "event": "task.dead", "msg": "dead", "worker": "web-3:4711/6f2c",
        "verdict": "dead", "reason": "retries", "error.type": "TimeoutError", "error.message": "LLM took 60 s\nreally",
        "error.stack": "Traceback\n  boom",
    }  # fmt: skip


@pytest.mark.parametrize("as_json", [False, True])
def test_a_flood_is_counted_and_failures_among_it_are_all_written(as_json: bool) -> None:
    log = Log(as_json=as_json)
    for i in range(5000):
        log.report.done("a.b", ID, 1, 0.0, 0.0)
        if i % 10 == 0:
            log.report.event("task.dead", logging.WARNING, "dead", task="a.b", id=ID)
    eventually(lambda: b"more done in this second" in log.stream.getvalue())
    lines = log.lines()
    dead = [line for line in lines if " dead " in line or '"task.dead"' in line]
    counted = [int(n.replace(",", "")) for line in lines for n in re.findall(r"([\d,]+) more done", line)]
    written = len(lines) - len(dead) - len(counted)
    assert len(dead) == 500
    assert written + sum(counted) == 5000
    assert written <= DONE_A_SECOND * (len(counted) + 1)


def test_below_the_level_nothing_is_written() -> None:
    log = Log(level=logging.WARNING)
    log.report.done("a.b", ID, 1, 0.0, 0.0)
    log.report.event("worker.ready", logging.INFO, "ready")
    log.report.event("redis.lost", logging.WARNING, "redis is away")
    assert log.line() == "warning redis is away"


def test_an_amended_event_says_what_the_command_line_knows() -> None:
    log = Log()
    log.report.amend("worker.ready", "ready in 5 ms", waiting=3)
    log.report.event("worker.ready", logging.INFO, "ready")
    log.report.event("worker.ready", logging.INFO, "ready")
    assert [line[13:] for line in log.lines()] == ["ready in 5 ms", "ready"]


def test_ticks() -> None:
    log = Log()
    fields = {"schedule": "daily", "tick": "2026-11-21T09:05:00+00:00", "late_s": 0.0084}
    log.report.event("beat.tick", logging.INFO, "tick", sent=1, **fields)
    log.report.event("beat.tick", logging.INFO, "tick", sent=0, **fields)
    sent, skipped = log.lines()
    assert sent[13:] == "tick  daily  2026-11-21T09:05:00Z  0.008 s late"
    assert skipped.endswith("not sent: the one before is unfinished")


def test_colour_is_only_on_the_word() -> None:
    log = Log(colour=True)
    retry(log.report)
    assert log.line().startswith("\x1b[33mretry\x1b[0m daily_summary")


def test_an_output_that_takes_nothing_holds_up_nobody() -> None:
    reading, writing = os.pipe()
    with open(writing, "wb", buffering=0) as stream:
        writer = LogWriter(stream)
        for _ in range(50_000):  # far more than a pipe and the queue hold; each call returns at once
            writer.write("x" * 100)
        with open(reading, "rb") as other_end:  # now somebody reads
            collector = threading.Thread(target=lambda: taken.extend(iter(lambda: other_end.read1(1 << 16), b"")))
            taken: list[bytes] = []
            collector.start()
            eventually(lambda: b"were not written" in b"".join(taken))
            writer.close()
            stream.close()
            collector.join(10)


def test_an_output_that_is_closed_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb", buffering=0) as stream:
        writer = LogWriter(stream)
        writer.write("nobody reads this")
        writer.close()


@contextmanager
def bare_root() -> Iterator[logging.Logger]:
    """The root logger without handlers (pytest's are there by then), and as it was afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def in_task() -> Iterator[Context]:
    """Runs the test as inside a task."""
    message = Message(ID, "shop.tasks.add", b"{}", {"attempt": 1})
    times = {"sent_ms": 0, "started_ms": 0.0, "timeout": None}
    facts = {"queue": "mail", "stream_id": "1-0", "deliveries": 1, "worker": "w", "is_last_attempt": False}
    context = Context(message, **facts, **times)
    token = CURRENT.set(lambda: context)
    yield context
    CURRENT.reset(token)


def test_records_of_a_task_say_which_one(in_task: Context) -> None:
    log = Log()
    with bare_root():
        adopt_logging(log.report)
        in_task.logger.info("hello %d", 5)
        logging.getLogger("shop.tasks").warning("odd")
    first, second = log.lines()
    assert first[13:] == "info  hello 5  [add 6f2c…9a attempt 2]"
    assert second[13:] == "warning shop.tasks: odd  [add 6f2c…9a attempt 2]"


def test_records_as_json(in_task: Context) -> None:
    log = Log(as_json=True)
    with bare_root():
        adopt_logging(log.report)
        logging.getLogger("shop.tasks").error("failed", exc_info=LookupError("gone"))
    (line,) = map(json.loads, log.lines())
    expected = {
        "task": "shop.tasks.add",
        "id": ID,
        "queue": "mail",
        "attempt": 2,
        "logger": "shop.tasks",
        "msg": "failed",
    }
    assert line.items() >= expected.items()
    assert line["error.type"] == "LookupError"
    assert "gone" in line["error.stack"]


def test_records_elsewhere_have_the_attributes_empty() -> None:
    record = logging.LogRecord("x", logging.INFO, "f", 1, "text", None, None)
    assert TaskFilter().filter(record)
    assert (record.id, record.task, record.queue, record.attempt) == (None, None, None, None)


def test_a_root_logger_that_the_user_set_up_stays_the_users(in_task: Context) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(task)s %(attempt)s %(message)s"))
    log = Log()
    with bare_root() as root:
        root.addHandler(handler)
        root.setLevel(logging.WARNING)
        adopt_logging(log.report)
        logging.getLogger("shop").warning("mine")
        assert root.handlers == [handler]
        assert root.level == logging.WARNING
    assert stream.getvalue() == "shop.tasks.add 2 mine\n"
    assert log.lines() == []
