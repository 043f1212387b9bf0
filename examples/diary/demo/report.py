"""What the demo shows: progress while it runs, and the table, the summaries and the commands at its end."""

from __future__ import annotations

import os
import shlex
import textwrap
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from sqlalchemy import select
from sqlalchemy.orm import Session

from examples.diary.demo.facts import Facts
from examples.diary.demo.fleet import STREAMTASK
from examples.diary.demo.plan import ROOT, Plan
from examples.diary.models import DailySummary, Diary, MonthlySummary


def show(session: Session, plan: Plan, facts: Facts, dead: Sequence[str]) -> None:
    """Print the table, where everything is, and three summaries."""
    console = Console(highlight=False, soft_wrap=True)
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    for name, value, note in _rows(facts, dead):
        table.add_row(name, value, note)
    console.print(table)
    print(f"database      {_short(plan.database)}")
    print(f"dead letters  {dead_command(plan)}")
    print(f"logs          {_short(plan.folder)}/*.log")
    for title, text in _examples(session):
        print(f"\n{title}")
        print(textwrap.indent(_wrap(text), "  "))


def _rows(facts: Facts, dead: Sequence[str]) -> list[tuple[str, str, str]]:
    rate = facts.executions / facts.seconds if facts.seconds else 0.0
    return [
        ("entries", f"{facts.entries:,}", ""),
        ("daily summaries", f"{facts.daily:,}", ""),
        ("monthly summaries", f"{facts.monthly:,}", ""),
        ("retries", f"{facts.retries:,}", "attempts after a failed one"),
        ("takeovers", f"{facts.takeovers:,}", f"{facts.interrupted} of them ran on the killed worker"),
        ("executed twice", f"{facts.twice:,}", f"{facts.found_done} found their summary written"),
        ("dead letters", f"{len(dead):,}", ", ".join(dead[:3])),
        ("ticks of two beats", f"{facts.ticks:,}", f"{facts.ticks_twice} fired twice"),
        ("tasks/s", f"{rate:.1f}", f"{facts.executions:,} attempts in {facts.seconds:.1f} s"),
    ]


def dead_command(plan: Plan) -> str:
    """The command that shows the dead letters, as one types it at the top of the clone; it starts the Redis again."""
    program = shlex.join([_short(STREAMTASK[0]), *STREAMTASK[1:]])
    return f"STREAMTASK_URL={shlex.quote(plan.url)} {program} dead list --namespace diary --queue summaries"


def _short(path: str | os.PathLike[str]) -> str:
    """The path from the top of the clone, where that is shorter."""
    relative = os.path.relpath(path, ROOT)
    return os.fspath(path) if relative.startswith("..") else relative


def _examples(session: Session) -> Iterator[tuple[str, str]]:
    """Three summaries: a month, and days of different users while there are any."""
    month = session.scalars(select(MonthlySummary).where(MonthlySummary.summary.is_not(None)).limit(1)).first()
    if month and month.summary:
        yield f"{month.user_id}, {month.year:04}-{month.month:02}, the month:", month.summary
    days = select(DailySummary).where(DailySummary.summary.is_not(None)).order_by(DailySummary.date)
    others = session.scalars(days.where(DailySummary.user_id != (month.user_id if month else ""))).all()
    shown: dict[str, DailySummary] = {}
    for day in [*others, *session.scalars(days)]:
        shown.setdefault(day.user_id if len(shown) < 1 or others else f"{day.user_id} {day.date}", day)
        if len(shown) == 2:
            break
    for day in shown.values():
        length = len(session.get_one(Diary, (day.user_id, day.date)).content)
        yield f"{day.user_id}, {day.date}, of {length:,} characters:", str(day.summary)


def _wrap(text: str) -> str:
    """Lines of about 100 columns; a text without spaces is cut anywhere."""
    wide = " " not in text.strip()
    return "\n".join(textwrap.wrap(text, 50 if wide else 100))
