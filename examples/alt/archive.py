"""A group that joins late: keeps every event of every topic, from the beginning, whatever its type.

CONSUMER_ENABLED=true streamtask worker examples/alt/archive.py
"""

from __future__ import annotations

from examples.alt.events import INDEX, SUMMARIES, TAGS
from examples.alt.service import service
from examples.alt.wiring import announce, consumer_report
from streamtask import RawEvent

here = service("archive")
app, settings = here.app, here.settings
topics = (settings.stream_key, SUMMARIES, TAGS, INDEX)

announce(
    settings.service,
    consumer_report(
        settings,
        [f"{topic} as {settings.group}: every type, from the beginning" for topic in topics],
        ["nothing"],
    ),
)


@app.batch(size=100, wait=0.5)
def keep(events: list[RawEvent]) -> None:
    """One row an event id, so an event that comes again adds none."""
    rows = [
        (event.meta.id, event.meta.type, event.meta.source, event.meta.created_at.isoformat(), event.payload)
        for event in events
    ]
    with here.database.writing() as connection:
        connection.executemany("INSERT OR IGNORE INTO archive VALUES (?, ?, ?, ?, ?)", rows)


for _topic in topics:
    app.on(_topic, group=settings.group, start="beginning", max_retries=here.max_retries, retry=here.retry)(keep)
