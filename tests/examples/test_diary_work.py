"""One attempt from end to end on a real database: what it writes when it works, fails, is refused or comes too late."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import ClassVar

import pytest
from sqlalchemy import select

from examples.diary import executions, store
from examples.diary.db import Database
from examples.diary.executions import Attempt
from examples.diary.extractive import ExtractiveSummarizer
from examples.diary.models import Execution
from examples.diary.settings import DiarySettings
from examples.diary.store import Written
from examples.diary.summarizer import RateLimited, Refused, Summarizer
from examples.diary.targets import Day, Month, daily_targets
from examples.diary.work import Desk, InjectedFailure, label
from streamtask import RetryPolicy
from tests.examples.conftest import LONG, NOON

DAY, MONTH = Day("a", date(2025, 3, 1)), Month("a", 2025, 3)
Write = Callable[..., None]


class Failing:
    """Raises what it was given; and does something first, when it was given that."""

    model_version: ClassVar[str] = "failing"

    def __init__(self, error: Exception | None = None, before: Callable[[], object] = lambda: None) -> None:
        self.error, self.before = error, before

    def summarize(self, text: str, limit: int) -> str:
        self.before()
        if self.error:
            raise self.error
        return text[:limit]


def desk(db: Database, summarizer: Summarizer | None = None, **env: str) -> Desk:
    return Desk(db, summarizer or ExtractiveSummarizer(), DiarySettings.read(env), RetryPolicy().retries)


def log(db: Database) -> list[tuple[str, str | None]]:
    """Item and outcome of every recorded attempt."""
    with db.reading() as session:
        return [(row.item, row.outcome) for row in session.scalars(select(Execution).order_by(Execution.id))]


def row_of(db: Database, item: Day | Month) -> tuple[str | None, str | None] | None:
    with db.reading() as session:
        row = store.summary_of(session, item)
        return (row.summary, row.error_reason) if row else None


def asked_for(db: Database) -> list[Day]:
    with db.reading() as session:
        return daily_targets(session, date(2025, 3, 2))


def test_labels_name_the_item() -> None:
    assert (label(DAY), label(Month("a", 987, 3))) == ("a/2025-03-01", "a/0987-03")


@pytest.mark.parametrize("item", [DAY, MONTH])
def test_a_summary_is_written_with_its_version_and_the_attempt_is_recorded(
    diary_db: Database, write: Write, item: Day | Month
) -> None:
    write("a", "2025-03-01")
    assert desk(diary_db).summarise(item, Attempt("m1", attempt=2, deliveries=2, worker="w1")) == "done"
    with diary_db.reading() as session:
        row = store.summary_of(session, item)
        assert row is not None
        assert (row.source_updated_at, row.model_version, row.error_reason) == (NOON, "extractive-1", None)
        execution = session.scalars(select(Execution)).one()
        recorded = (execution.message_id, execution.attempt, execution.deliveries, execution.worker)
        assert recorded == ("m1", 2, 2, "w1")
        assert execution.source_updated_at == NOON
        assert execution.ended_at is not None
        assert execution.started_at <= execution.ended_at


def test_the_same_version_is_not_summarised_twice_and_an_edited_one_is(diary_db: Database, write: Write) -> None:
    """A worker may die after its commit and before its acknowledgement: the next one finds the work done."""
    write("a", "2025-03-01")
    assert desk(diary_db).summarise(DAY, Attempt("m1")) == "done"
    assert desk(diary_db, Failing(AssertionError("asked again"))).summarise(DAY, Attempt("m1", deliveries=2)) == "fresh"
    write("a", "2025-03-01", "Rewritten. " * 100, NOON + timedelta(hours=1))
    assert desk(diary_db).summarise(DAY, Attempt("m2")) == "done"
    row = row_of(diary_db, DAY)
    assert row is not None
    assert "Rewritten." in str(row[0])


def test_a_diary_that_is_gone_needs_no_summary(diary_db: Database) -> None:
    assert desk(diary_db).summarise(DAY, Attempt("m1")) == "gone"
    assert log(diary_db) == [("a/2025-03-01", "gone")]
    assert row_of(diary_db, DAY) is None


def test_a_failure_is_stored_at_the_last_attempt_only(diary_db: Database, write: Write) -> None:
    write("a", "2025-03-01")
    failing = desk(diary_db, Failing(OSError("no route")))
    with pytest.raises(OSError, match="no route"):
        failing.summarise(DAY, Attempt("m1"))
    assert row_of(diary_db, DAY) is None
    assert asked_for(diary_db) == [DAY]
    with pytest.raises(OSError, match="no route"):
        failing.summarise(DAY, Attempt("m1", attempt=2, is_last=True))
    assert row_of(diary_db, DAY) == (None, "OSError: no route")
    assert asked_for(diary_db) == []
    assert log(diary_db) == [("a/2025-03-01", "retry"), ("a/2025-03-01", "failed")]


def test_a_replayed_dead_letter_puts_the_summary_in_place_of_the_error(diary_db: Database, write: Write) -> None:
    write("a", "2025-03-01")
    with pytest.raises(OSError, match="no route"):
        desk(diary_db, Failing(OSError("no route"))).summarise(DAY, Attempt("m1", is_last=True))
    assert desk(diary_db).summarise(DAY, Attempt("m1")) == "done"
    row = row_of(diary_db, DAY)
    assert row is not None
    assert row[1] is None


@pytest.mark.parametrize(("error", "outcome"), [(Refused("policy"), "refused"), (TypeError("a bug"), "failed")])
def test_what_is_never_tried_again_is_stored_at_once(
    diary_db: Database, write: Write, error: Exception, outcome: str
) -> None:
    """The queue buries a refusal and a TypeError at the first attempt: no later one could store the reason."""
    write("a", "2025-03-01")
    with pytest.raises(type(error)):
        desk(diary_db, Failing(error)).summarise(DAY, Attempt("m1"))
    assert row_of(diary_db, DAY) == (None, f"{type(error).__name__}: {error}")
    assert asked_for(diary_db) == []
    assert log(diary_db) == [("a/2025-03-01", outcome)]


def test_a_rate_limit_is_no_failure_even_at_the_last_attempt(diary_db: Database, write: Write) -> None:
    write("a", "2025-03-01")
    with pytest.raises(RateLimited):
        desk(diary_db, Failing(RateLimited(3))).summarise(DAY, Attempt("m1", is_last=True))
    assert row_of(diary_db, DAY) is None
    assert log(diary_db) == [("a/2025-03-01", "limited")]


def test_an_edit_during_the_attempt_is_asked_for_again(diary_db: Database, write: Write) -> None:
    write("a", "2025-03-01")
    edit = Failing(before=lambda: write("a", "2025-03-01", LONG + "!", NOON + timedelta(hours=1)))
    assert desk(diary_db, edit).summarise(DAY, Attempt("m1")) == "done"
    assert asked_for(diary_db) == [DAY]


def test_an_attempt_that_ends_after_a_newer_one_changes_nothing(diary_db: Database, write: Write) -> None:
    write("a", "2025-03-01")

    def overtake() -> None:
        write("a", "2025-03-01", LONG + "!", NOON + timedelta(hours=1))
        assert desk(diary_db, Failing()).summarise(DAY, Attempt("m2")) == "done"

    before = Failing(OSError("slow failure"), overtake)
    with pytest.raises(OSError, match="slow failure"):
        desk(diary_db, before).summarise(DAY, Attempt("m1", is_last=True))
    row = row_of(diary_db, DAY)
    assert row is not None
    assert row[1] is None
    assert log(diary_db) == [("a/2025-03-01", "late"), ("a/2025-03-01", "done")]


def test_the_last_delivery_leaves_an_error_behind_should_it_kill_its_worker(diary_db: Database, write: Write) -> None:
    """A dead worker stores nothing: without the error every scan would send the poison again."""
    write("a", "2025-03-01")
    seen = []
    poison = Failing(before=lambda: seen.append(row_of(diary_db, DAY)))
    assert desk(diary_db, poison).summarise(DAY, Attempt("m1", deliveries=3, is_last_delivery=True)) == "done"
    assert seen == [(None, "its worker died 2 times, and again at delivery 3")]
    row = row_of(diary_db, DAY)
    assert row is not None
    assert row[1] is None


def test_the_injected_failure_hits_its_item_only(diary_db: Database, write: Write) -> None:
    write("a", "2025-03-01")
    injected = desk(diary_db, DIARY_FAIL_ITEM="a/2025-03-01")
    with pytest.raises(InjectedFailure):
        injected.summarise(DAY, Attempt("m1"))
    assert injected.summarise(MONTH, Attempt("m2")) == "done"


def test_an_attempt_whose_worker_dies_stays_open_in_the_record(diary_db: Database) -> None:
    executions.start(diary_db, "daily", "a/2025-03-01", Attempt("m1"), NOON)
    assert log(diary_db) == [("a/2025-03-01", None)]


def test_one_users_failure_leaves_the_others_alone(diary_db: Database, write: Write) -> None:
    write("a", "2025-03-01")
    write("b", "2025-03-01")
    with pytest.raises(Refused):
        desk(diary_db, Failing(Refused("policy"))).summarise(DAY, Attempt("m1"))
    assert asked_for(diary_db) == [Day("b", date(2025, 3, 1))]
    assert desk(diary_db).summarise(Day("b", date(2025, 3, 1)), Attempt("m2")) == "done"
    with diary_db.writing() as session:  # and the refused one is still refused
        assert not store.save_summary(session, DAY, NOON - timedelta(1), Written("old", None, "x"), NOON)
