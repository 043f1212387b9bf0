"""What the demo shows: progress while it runs, and at its end what was found, tagged, buried and kept."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from examples.alt import store
from examples.alt.db import Database
from examples.alt.demo.facts import Facts, group_of
from examples.alt.fleet import ROOT, STREAMTASK, Alt, Group
from examples.alt.search import search
from examples.alt.service import NAMESPACE


def topics(database: Database, number: int) -> list[str]:
    """The best tags of articles of different feeds: something to search for."""
    found: dict[str, str] = {}
    with database.reading() as connection:
        for article_id in store.article_ids(connection):
            article = store.get_article(connection, article_id)
            _, tags = store.get_tags(connection, article_id)
            pairs = [tag.name for tag in tags if " " in tag.name] or [tag.name for tag in tags]
            if article is not None and pairs:
                found.setdefault(article.feed_id, pairs[0])
    return list(found.values())[:number]


def searches(database: Database, queries: Iterable[str]) -> None:
    """Print what some queries find."""
    for query in queries:
        print(f"\nsearch: {query}")
        for hit in search(database, query, 3):
            print(f"  {hit.title}  ({hit.feed_id})\n      {hit.snippet}")


def example(database: Database, article_id: str, live: str, seconds: float, waiting: int) -> None:
    """Print an article's summary and tags, and those that the hub got while we waited."""
    with database.reading() as connection:
        article = store.get_article(connection, article_id)
        _, summary = store.get_summary(connection, article_id)
        _, tags = store.get_tags(connection, article_id)
    assert article is not None
    print(f"\n{article.title}\n  {summary}")
    print(f"  tags      {', '.join(f'{tag.name} {tag.confidence:.2f}' for tag in tags)}")
    print(
        f"  tags now  {live}\n            (GenerateTagsForArticle, answered in {seconds * 1000:.0f} ms "
        f"while {waiting} articles waited to be tagged)"
    )


def groups(rows: Iterable[Group], title: str) -> None:
    """Print how far each group is."""
    table = Table(title=title, title_justify="left")
    table.add_column("topic / group")
    for name in ("lag", "in hand", "to retry", "dead"):
        table.add_column(name, justify="right")
    for row in rows:
        told = (f"{row.topic.rpartition(':')[2]} / {row.group}", row.lag, row.pending, row.retrying, row.dead)
        table.add_row(*map(str, told))
    _console().print(table)


def dead(letters: Iterable[Mapping[str, Any]], names: Mapping[str, str]) -> None:
    """Print the dead letters: who buried which event, and why."""
    table = Table(title="dead letters", title_justify="left")
    for name in ("group", "event", "why"):
        table.add_column(name, overflow="fold")
    for letter in letters:
        reason = str(letter.get("error") or letter["reason"])
        table.add_row(
            group_of(letter), str(letter.get("fields", {}).get("event_type") or letter["task"]), shorten(reason, names)
        )
    _console().print(table)


def shorten(text: str, names: Mapping[str, str]) -> str:
    """One line of it, with names in the place of ids."""
    for long, short in names.items():
        text = text.replace(long, short)
    line = " ".join(text.split())
    return line if len(line) <= 90 else line[:89] + "…"


def numbers(facts: Facts) -> None:
    """Print the numbers."""
    print()
    for name, value, note in (
        ("articles", facts.articles, "one of them too long for the index"),
        ("summaries", facts.summaries, ""),
        ("tag lists", facts.tags, ""),
        ("in the index", facts.documents, ""),
        ("writes", facts.effects, f"{facts.twice} pieces of work were written twice"),
        ("events", facts.events, f"{facts.archived} kept by the late group"),
        ("dead letters", sum(facts.dead.values()), ", ".join(f"{n} in {group}" for group, n in facts.dead.items())),
    ):
        print(f"{name:13}{value:6,}  {note}".rstrip())


def where(fleet: Alt) -> None:
    """Print where everything is."""
    program = shlex.join([_short(STREAMTASK[0]), *STREAMTASK[1:]])
    print(f"\ndatabase      {_short(fleet.database)}")
    print(f"dead letters  STREAMTASK_URL={shlex.quote(fleet.url)} {program} dead list --namespace {NAMESPACE}")
    print(f"logs          {_short(fleet.folder)}/*.log")


def _short(path: str | os.PathLike[str]) -> str:
    """The path from the top of the clone, where that is shorter."""
    relative = os.path.relpath(path, ROOT)
    return os.fspath(path) if relative.startswith("..") else relative


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)
