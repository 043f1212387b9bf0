"""The event half of an app: topics, publishing, handlers, answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack

from pydantic_core import to_json

from streamtask import checks
from streamtask.batch import BatchTask
from streamtask.duration import seconds
from streamtask.envelope import EventKind, EventMeta, RawEvent, encode
from streamtask.errors import MessageTooLarge, PublishErrors
from streamtask.options import TaskOptions
from streamtask.post import Post
from streamtask.result import running_loop, warn_blocking
from streamtask.subscription import HandlerOptionsDict, Start, Subscription, subscribe, wish
from streamtask.task import Task
from streamtask.topic import HARD_MAX_LENGTH, MAX_LENGTH, Overflow, TopicLimits

if TYPE_CHECKING:
    from streamtask.broker.outgoing import Receipt
    from streamtask.broker.publishing import Publication
    from streamtask.event import Event

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


class Events:
    """What `StreamTask` can do with events."""

    name: str
    post: Post
    defaults: TaskOptions | None
    tasks: dict[str, Task[..., Any]]
    subscriptions: dict[str, Subscription]
    topics: dict[str, TopicLimits]

    def topic(
        self,
        name: str,
        *,
        max_length: int = MAX_LENGTH,
        hard_max_length: int = HARD_MAX_LENGTH,
        overflow: Overflow = "refuse",
    ) -> TopicLimits:
        """Declare a topic's limits, in entries; one that is not declared has these defaults. See TopicLimits."""
        self._no_queue(checks.topic(name))
        limits = self.topics[name] = TopicLimits(max_length, hard_max_length, overflow)
        return limits

    def on(
        self,
        event: type[Event] | str | Any,
        *,
        group: str,
        start: Start = "beginning",
        filter: Callable[[Any], object] | None = None,
        once: Literal["event_id"] | None = None,
        **options: Unpack[HandlerOptionsDict],
    ) -> Callable[[FunctionT], FunctionT]:
        """Handle events in a worker: `@app.on(ArticleCreated, group="search")`, `A | B` for several types, or a topic's
        name for all its types as RawEvent. Over `@app.batch` the function gets lists.

        Each event comes to each group once, and goes to one handler of it. `start` is where a group begins that does
        not exist yet: "beginning", "new", a datetime with a zone, or an entry id (after which it begins). `filter`
        leaves events out; `once="event_id"` handles an event id once, also when it was published twice. Options as of
        a task. Raises TypeError, ValueError, DuplicateHandler and ConfigError at once.
        """
        wished = wish(event, group, start, filter, once, options)

        def register(fn: FunctionT) -> FunctionT:
            subscribe(self.subscriptions, wished, fn, self.defaults, self.post)
            if isinstance(fn, BatchTask):  # its items come by the topic, and not from a queue
                self.tasks.pop(fn.name, None)
            for name in wished.topics:
                self._no_queue(name)
                self.topics.setdefault(name, TopicLimits())
            return fn

        return register

    # -- publishing --------------------------------------------------------------------------------------------------

    def publish(
        self,
        event: Event,
        *,
        key: str | None = None,
        metadata: Mapping[str, str] | None = None,
        wait_for: Sequence[str] = (),
        timeout: float | timedelta = 60.0,
    ) -> str:
        """Publish an event to its topic; returns its entry id.

        With `key` it is published once, however often this is called (within 7 days). `wait_for` names groups, and
        publish() returns when each has handled the event; it raises TaskFailed when one buried it, TimeoutError after
        `timeout` seconds, and UnknownGroup, before anything is published, for a group that is not there.

        Raises SendError when Redis does not take it within `send_timeout` seconds: its kinds QueueFull when the topic
        is full, MaybeSent when it may be there; MessageTooLarge, and TypeError for what is no event.
        """
        self._guard("publish")
        publication = self._publication(event, key, metadata)
        wait_for, limit = _groups(wait_for), seconds(timeout)
        if wait_for:
            self.post.drive(self.post.events.check_groups(publication.topic, wait_for))
        entry_id = _entry_id(self.post.publish([publication])[0])
        if wait_for:
            self.post.drive(self.post.events.until_handled(publication.topic, wait_for, entry_id, limit))
        return entry_id

    async def apublish(
        self,
        event: Event,
        *,
        key: str | None = None,
        metadata: Mapping[str, str] | None = None,
        wait_for: Sequence[str] = (),
        timeout: float | timedelta = 60.0,
    ) -> str:
        """The asyncio twin of `publish`."""
        publication = self._publication(event, key, metadata)
        wait_for, limit = _groups(wait_for), seconds(timeout)
        if wait_for:
            await self.post.adrive(self.post.events.check_groups(publication.topic, wait_for))
        entry_id = _entry_id((await self.post.apublish([publication]))[0])
        if wait_for:
            await self.post.adrive(self.post.events.until_handled(publication.topic, wait_for, entry_id, limit))
        return entry_id

    def publish_many(self, events: Iterable[Event], *, metadata: Mapping[str, str] | None = None) -> list[str]:
        """Publish many events, a thousand a round trip; returns their entry ids, in order.

        Raises PublishErrors when some were not published: `.errors` says which and why, `.ids` holds the others' ids.
        """
        self._guard("publish_many")
        publications = [self._publication(event, None, metadata) for event in events]
        found: list[Receipt | Exception] = [PublishErrors("not sent", {}, ())] * len(publications)
        for places in _by_topic(publications):
            receipts = self.post.publish([publications[place] for place in places])
            for place, receipt in zip(places, receipts, strict=True):
                found[place] = receipt
        return _all_published(found)

    async def apublish_many(self, events: Iterable[Event], *, metadata: Mapping[str, str] | None = None) -> list[str]:
        """The asyncio twin of `publish_many`."""
        publications = [self._publication(event, None, metadata) for event in events]
        found: list[Receipt | Exception] = [PublishErrors("not sent", {}, ())] * len(publications)
        for places in _by_topic(publications):
            receipts = await self.post.apublish([publications[place] for place in places])
            for place, receipt in zip(places, receipts, strict=True):
                found[place] = receipt
        return _all_published(found)

    # -- answers -----------------------------------------------------------------------------------------------------

    def reply(self, to: Event | RawEvent, answer: Event) -> str | None:
        """Answer an event that asks for it: to the stream in its metadata's `reply_to`, with its `correlation_id`.

        Returns the entry id; None when that key is no reply stream. Raises ValueError when the event asks for no
        answer, SendError when Redis does not take it.
        """
        self._guard("reply")
        found: str | None = self.post.drive(self.post.events.reply(*self._answer(to, answer)))
        return found

    async def areply(self, to: Event | RawEvent, answer: Event) -> str | None:
        """The asyncio twin of `reply`."""
        found: str | None = await self.post.adrive(self.post.events.reply(*self._answer(to, answer)))
        return found

    def _answer(self, to: Event | RawEvent, answer: Event) -> tuple[str, list[bytes | str]]:
        asked = to.meta.metadata
        stream = asked.get("reply_to")
        if not stream:
            raise ValueError(f"{to.meta.type} {to.meta.id} asks for no answer: its metadata has no reply_to")
        metadata = {name: asked[name] for name in ("correlation_id", "trace_id") if name in asked}
        return checks.topic(stream), self._fields(answer, answer.meta, metadata)

    # -- to bytes ----------------------------------------------------------------------------------------------------

    def _publication(self, event: Event, key: str | None, metadata: Mapping[str, str] | None) -> Publication:
        kind: EventKind | None = getattr(event, "__event__", None)
        if kind is None or isinstance(event, type):
            raise TypeError(
                f"{event!r:.80} is no event with a topic; write class X(Event, topic='...') and publish X(...)"
            )
        meta = event.meta
        fields = self._fields(event, meta, checks.headers(metadata) if metadata else {})
        limits = self.topics.get(kind.topic) or self.topic(kind.topic)
        checked_key = None if key is None else checks.message_id(key)
        publication = self.post.publication(meta.id, meta.type, fields, kind.topic, limits, checked_key)
        limit, size = self.post.settings.max_message_bytes, publication.size()
        if size > limit:
            raise MessageTooLarge(
                f"{meta.type}: the event takes {size:,} bytes, {limit:,} are allowed (max_message_bytes); store the "
                f"data and publish its key"
            )
        return publication

    def _fields(self, event: Event, meta: EventMeta, metadata: Mapping[str, str]) -> list[bytes | str]:
        payload = to_json(event, by_alias=True, bytes_mode="base64", inf_nan_mode="strings")
        return encode(meta.id, meta.type, meta.source or self.name, meta.created_at, payload, metadata or meta.metadata)

    def _no_queue(self, topic: str) -> None:
        namespace, _, queue = topic.rpartition(":")
        if namespace == self.post.namespace and queue in self.post.queues:
            raise ValueError(f"{topic!r} is the stream of the app's queue {queue!r}; give the topic another name")

    def _guard(self, what: str) -> None:
        if running_loop() is not None:
            warn_blocking(self.post.on_blocking_send, what, self.post.warned, depth=3)


def _groups(wait_for: Sequence[str]) -> Sequence[str]:
    """One group's name is meant as a list of one."""
    return [checks.group(group) for group in ([wait_for] if isinstance(wait_for, str) else wait_for)]


def _entry_id(receipt: Receipt | Exception) -> str:
    if isinstance(receipt, Exception):
        raise receipt
    return receipt.entry_id or ""


def _by_topic(publications: Sequence[Publication]) -> list[list[int]]:
    places: dict[str, list[int]] = {}
    for place, publication in enumerate(publications):
        places.setdefault(publication.topic, []).append(place)
    return list(places.values())


def _all_published(found: Sequence[Receipt | Exception]) -> list[str]:
    errors = {place: one for place, one in enumerate(found) if isinstance(one, Exception)}
    ids = ["" if isinstance(one, Exception) else one.entry_id or "" for one in found]
    if errors:
        first = next(iter(errors.values()))
        text = f"{len(errors)} of {len(found)} events were not published: {first}"
        raise PublishErrors(text, errors, ids) from first
    return ids
