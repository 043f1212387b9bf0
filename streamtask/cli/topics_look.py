"""The topics that a command means: those that are named, or all of a namespace; and a place in one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from streamtask import checks
from streamtask.broker.sender import Sender
from streamtask.cli.failures import USAGE, Failure
from streamtask.cli.options import SINCE, Globals
from streamtask.cli.reach import check_typed, namespace_of, namespaces
from streamtask.cli.text import count
from streamtask.inspector import presences, queue_names, topic_names
from streamtask.subscription import entry_id
from streamtask.topics import GroupView, TopicView, survey


class Place(click.ParamType[str]):
    """A place in a topic, as the entry id after which a group goes on: beginning, new, an entry's id, or a moment as
    `Since` takes it.
    """

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The entry id, or "$"."""
        text = str(value)
        if text in ("beginning", "new") or _STREAM_ID.fullmatch(text):
            return entry_id(text)
        try:
            moment = SINCE.convert(text.removesuffix(" ago"), param, ctx)
        except click.BadParameter:
            forms = "beginning, new, an entry's id (1795308987490-0), 2h, or a time such as 2026-11-21T12:00:00Z"
            self.fail(f"{text!r}: write {forms}", param, ctx)
        return entry_id(datetime.fromtimestamp(moment, UTC))


PLACE, _STREAM_ID = Place(), re.compile(r"0|\d{12,19}|\d{1,19}-\d{1,19}")


def look(client: Sender, options: Globals, topics: Sequence[str]) -> tuple[TopicView, ...]:
    """Topics that are named, which need no namespace, or all of one namespace; Failure (usage) for one that is not
    there.
    """
    if not topics:
        spaces = [namespace_of(options, client)]
    else:
        spaces = [check_typed("namespace", options.namespace)] if options.namespace else namespaces(client)
    own: list[str] = []
    known: list[str] = []
    living: set[str] = set()
    for space in spaces:
        own += [name for name in client.drive(queue_names(space)) if "/" in name]
        known += client.drive(topic_names(space))
        living |= {process.consumer for process in client.drive(presences(space))}
    known += [name.rpartition("/")[0] for name in own]
    names = [topic_of(topic) for topic in topics] or known
    seen = client.drive(survey(names, own, living))
    for topic in seen:
        if topics and not topic.last_id and not topic.groups and topic.name not in known:
            there = ", ".join(sorted(set(known))) or "none"
            raise Failure(f"there is no topic {topic.name!r}; known here: {there}", USAGE)
    return seen


def topic_of(text: str) -> str:
    """A topic as it was typed; UsageError for one that cannot be."""
    try:
        return checks.topic(text)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def lag_of(group: GroupView) -> str:
    """`1,204`, or `10,000+`."""
    return f"{count(group.lag)}{'' if group.lag_exact else '+'}"
