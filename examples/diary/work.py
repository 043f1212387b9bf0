"""One summary from end to end: read, check, summarise, write. Knows the database and the summarizer, no queue."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from examples.diary import executions, store
from examples.diary.db import Database
from examples.diary.executions import Attempt, Outcome
from examples.diary.settings import DiarySettings
from examples.diary.store import Source, Written
from examples.diary.summarizer import RateLimited, Refused, Summarizer
from examples.diary.targets import Day, Month

#: Longest summaries, in characters.
DAY_LIMIT, MONTH_LIMIT = 400, 900


class InjectedFailure(Exception):
    """DIARY_FAIL_ITEM names this item: the demo wants to see what becomes of a task that always fails."""


def label(item: Day | Month) -> str:
    """`mara/2025-03-14` or `mara/2025-03`."""
    if isinstance(item, Day):
        return f"{item.user_id}/{item.date.isoformat()}"
    return f"{item.user_id}/{item.year:04}-{item.month:02}"


@dataclass(frozen=True, slots=True)
class Desk:
    """Where summaries are made: what an attempt needs beside its item."""

    database: Database
    summarizer: Summarizer
    settings: DiarySettings
    retries: Callable[[Exception], bool]  # is this error one that is tried again at all?

    def summarise(self, item: Day | Month, attempt: Attempt) -> Outcome:
        """Make and store the item's summary. What goes wrong is raised, and stored when it is final."""
        with self.database.reading() as session:
            source = store.source_of(session, item)
            row = store.summary_of(session, item)
        kind = "daily" if isinstance(item, Day) else "monthly"
        execution = executions.start(self.database, kind, label(item), attempt, source.updated_at if source else None)
        if source is None:
            return self._end(execution, "gone")
        if row is not None and row.error_reason is None and row.source_updated_at >= source.updated_at:
            return self._end(execution, "fresh")  # a worker died after its commit and before its acknowledgement
        if attempt.is_last_delivery:
            self._foresee_a_crash(item, source, attempt)
        try:
            text = self._make(item, source)
        except RateLimited:
            self._end(execution, "limited")
            raise
        except Exception as error:
            self._fail(execution, item, source, attempt, error)
            raise
        return self._end(execution, "done", item, source, self._written(text))

    def _make(self, item: Day | Month, source: Source) -> str:
        if self.settings.simulated_delay:
            time.sleep(self.settings.simulated_delay.total_seconds())
        if self.settings.fail_item == label(item):
            raise InjectedFailure(f"DIARY_FAIL_ITEM names {label(item)}")
        return self.summarizer.summarize(source.text, DAY_LIMIT if isinstance(item, Day) else MONTH_LIMIT)

    def _fail(self, execution: int, item: Day | Month, source: Source, attempt: Attempt, error: Exception) -> None:
        """Record the failure; a final one becomes the item's row, so that no scan asks again for this version."""
        refused = isinstance(error, Refused)
        if refused or attempt.is_last or not self.retries(error):
            reason = f"{type(error).__name__}: {error}"[:500]
            self._end(execution, "refused" if refused else "failed", item, source, self._written(None, reason))
        else:
            self._end(execution, "retry")

    def _foresee_a_crash(self, item: Day | Month, source: Source, attempt: Attempt) -> None:
        """If this delivery kills its worker, too, nobody is left to write the error: so it is written before.

        A summary replaces it. Without it, each scan would send the poison again, to kill the next workers.
        """
        reason = f"its worker died {attempt.deliveries - 1} times, and again at delivery {attempt.deliveries}"
        with self.database.writing() as session:
            store.save_summary(session, item, source.updated_at, self._written(None, reason), datetime.now(UTC))

    def _written(self, text: str | None, reason: str | None = None) -> Written:
        return Written(text, reason, self.summarizer.model_version)

    def _end(
        self,
        execution: int,
        outcome: Outcome,
        item: Day | Month | None = None,
        source: Source | None = None,
        written: Written | None = None,
    ) -> Outcome:
        """Write the row and the end of the attempt in one transaction: either both are there or none."""
        with self.database.writing() as session:
            if item and source and written:
                stored = store.save_summary(session, item, source.updated_at, written, datetime.now(UTC))
                outcome = outcome if stored else "late"
            executions.end(session, execution, outcome)
        return outcome
