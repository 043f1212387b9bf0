"""What happened, counted from the database and from Redis after the fact, and whether it adds up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis

from examples.alt import store
from examples.alt.db import Database
from examples.alt.demo.events import Bad
from examples.alt.events import TOPICS
from examples.alt.fleet import Group


@dataclass(frozen=True, slots=True)
class Facts:
    """The numbers of the end."""

    articles: int
    summaries: int
    tags: int
    documents: int
    archived: int
    events: int  # different event ids on all topics
    effects: int
    twice: int  # pieces of work that were written more than once
    unfinished: list[str]
    dead: dict[str, int]


def done(database: Database) -> int:
    """How many summaries and tags stand in the store: what the services have done so far."""
    with database.reading() as connection:
        return sum(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("summaries", "tags"))


def count(database: Database, table: str) -> int:
    """Rows of a table."""
    with database.reading() as connection:
        found: int = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    return found


def event_ids(redis_url: str) -> set[str]:
    """The ids of all events that are on the topics."""
    with redis.Redis.from_url(redis_url) as client:
        return {fields[b"event_id"].decode() for topic in TOPICS for _, fields in client.xrange(topic)}


def gather(database: Database, redis_url: str, letters: list[dict[str, Any]]) -> Facts:
    """Count everything once."""
    with database.reading() as connection:
        effects = store.effects(connection)
        unfinished = store.unfinished(connection)
    return Facts(
        articles=count(database, "articles"),
        summaries=count(database, "summaries"),
        tags=count(database, "tags"),
        documents=count(database, "documents"),
        archived=count(database, "archive"),
        events=len(event_ids(redis_url)),
        effects=sum(map(len, effects.values())),
        twice=sum(len(ways) > 1 for ways in effects.values()),
        unfinished=unfinished,
        dead=dict(Counter(group_of(letter) for letter in letters)),
    )


def group_of(letter: Mapping[str, Any]) -> str:
    """The group that buried it."""
    return str(letter["queue"]).rpartition("/")[2]


def wrong(facts: Facts, bad: Bad, groups: list[Group]) -> list[str]:
    """What does not add up, a line each."""
    found = []
    behind = [f"{row.topic} for {row.group}" for row in groups if row.behind]
    if behind:
        found.append(f"events still wait in {', '.join(behind)}")
    if facts.unfinished != [bad.oversized]:
        found.append(f"not finished: {', '.join(facts.unfinished) or 'nothing'}, and should be {bad.oversized} alone")
    if not facts.summaries == facts.tags == facts.articles == facts.documents + 1:
        found.append(
            f"{facts.articles} articles have {facts.summaries} summaries, {facts.tags} lists of tags, and "
            f"{facts.documents} documents in the index (one less than articles is right: one is too long)"
        )
    if facts.twice:
        found.append(f"{facts.twice} pieces of work were written twice")
    if facts.dead != bad.dead:
        found.append(f"dead letters by group are {facts.dead}, and should be {bad.dead}")
    if facts.archived != facts.events:
        found.append(f"the late group kept {facts.archived} events of {facts.events}")
    return found
