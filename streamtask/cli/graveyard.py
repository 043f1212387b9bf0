"""The dead letters that a `streamtask dead` command means: by its options, or by their ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from typing import Any, TypeVar

import click

from streamtask.broker.keys import QueueKeys, queue_keys
from streamtask.broker.sender import Sender
from streamtask.cli.failures import USAGE, Failure
from streamtask.cli.options import SINCE, Globals
from streamtask.cli.reach import namespace_of, reach
from streamtask.deadletters import Choice, DeadLetter, exact, walk
from streamtask.inspector import queue_names

F = TypeVar("F", bound=Callable[..., Any])


def choosing(fn: F) -> F:
    """Decorator: the options that choose dead letters."""
    for option in (
        click.option("--limit", type=click.IntRange(1), help="At most so many, the newest first."),
        click.option("--since", type=SINCE, help="Died since then: 2h, or 2026-11-21T12:00:00Z."),
        click.option("--error", help="A part of the error (TimeoutError), or the whole reason (poison)."),
        click.option("--task", help="The task's name, with or without its module; or the event's type."),
        click.option("--queue", help="Only of this queue, or TOPIC/GROUP."),
    ):
        fn = option(fn)
    return fn


@dataclass(frozen=True, slots=True)
class Graveyard:
    """The dead letters of a namespace, and the client to reach them."""

    client: Sender
    namespace: str
    queues: tuple[str, ...]

    @classmethod
    def open(cls, options: Globals, queue: str | None) -> Graveyard:
        """Of one queue or of all; Failure (usage) for a queue that is not there."""
        client = reach(options)
        namespace = namespace_of(options, client)
        known = client.drive(queue_names(namespace))
        if queue is not None and queue not in known:
            raise Failure(f"{namespace} has no queue {queue!r}; it has {', '.join(known) or 'none'}", USAGE)
        return cls(client, namespace, (queue,) if queue else tuple(known))

    def keys(self, queue: str) -> QueueKeys:
        """The keys of a queue."""
        return queue_keys(self.namespace, queue)

    def exact(self, queue: str, entry_ids: Sequence[str]) -> list[DeadLetter]:
        """Those of them that are still there."""
        return self.client.drive(exact(self.keys(queue), queue, entry_ids))

    def letters(self, choice: Choice) -> Iterator[DeadLetter]:
        """The chosen ones of all queues, newest first."""
        walks = [walk(self.client.drive, self.keys(queue), queue, choice) for queue in self.queues]
        return merge(*walks, key=_age)

    def named(self, ids: Sequence[str]) -> list[DeadLetter]:
        """The dead letters with these ids, which may be short; Failure for an id that names none, or several."""
        found = list(self.letters(Choice(ids=tuple(ids))))
        named: dict[str, DeadLetter] = {}
        for id in ids:
            same = [letter for letter in found if id in (letter.id, letter.entry_id)]
            fit = same or [letter for letter in found if Choice(ids=(id,)).takes(letter)]
            if not fit:
                raise Failure(f"{self.namespace} has no dead letter {id!r}")
            if len(queues := sorted({letter.queue for letter in same})) > 1:  # an event that several groups gave up
                raise Failure(f"{id!r} is dead in {', '.join(queues)}; say which by --queue", USAGE)
            if not same and len(fit) > 1:
                raise Failure(f"{id!r} names several dead letters: {', '.join(letter.id for letter in fit)}", USAGE)
            named.update((f"{letter.queue} {letter.entry_id}", letter) for letter in fit)
        return list(named.values())


def choice_of(task: str | None, error: str | None, since: float | None, ids: Sequence[str] = ()) -> Choice:
    """The choice that the options make."""
    return Choice(task=task, error=error, since=None if since is None else int(since * 1000), ids=tuple(ids))


def _age(letter: DeadLetter) -> tuple[int, int]:
    """Sorts the newest first."""
    ms, _, number = letter.entry_id.partition("-")
    return -int(ms), -int(number)
