"""A subscription: one group on one topic, and the functions that handle its events.

Each event comes to each group, and in a group to one handler. The group is a durable identity in Redis, so it is always
named, and the function may be renamed.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import wraps
from types import UnionType
from typing import Any, TypedDict, Union, get_args, get_origin

from streamtask import checks
from streamtask.batch import BatchTask
from streamtask.envelope import EventKind, RawEvent
from streamtask.errors import ConfigError, DuplicateHandler
from streamtask.naming import place, task_name
from streamtask.options import Batching, RetryPolicy, TaskOptions
from streamtask.post import Post
from streamtask.signature import Signature
from streamtask.task import Task

#: Where a group begins that is not there yet: "beginning", "new", a moment, or the entry id after which it begins.
Start = datetime | str
_ENTRY_ID = re.compile(r"([0-9]{1,20})(?:-([0-9]{1,20}))?")
#: The largest half of an entry id.
_LARGEST = 2**64 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OPTIONS = frozenset(
    {"name", "max_retries", "retry", "timeout", "max_deliveries", "idempotent", "unknown_grace", "log_args"}
)
#: Seconds for which once="event_id" remembers an event.
ONCE_TTL = 7 * 86_400.0


class HandlerOptionsDict(TypedDict, total=False):
    """The options of `app.on` that a task has, too."""

    name: str | None
    max_retries: int | None
    retry: RetryPolicy
    timeout: Any
    max_deliveries: int
    idempotent: bool
    unknown_grace: Any
    log_args: bool


class EventSignature(Signature):
    """What a handler is called with: the event, made from the message by its type."""

    def __init__(self, classes: dict[str, Any]) -> None:
        self._classes = classes
        self.names, self.defaults = ("event",), {}

    def load(self, message: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Raises pydantic's ValidationError for a payload that does not fit."""
        event = RawEvent(message.event, message.args)
        made = self._classes.get(event.meta.type)
        if made is None:
            return (event,), {}
        typed = made.model_validate_json(event.payload or b"{}")
        typed._meta = event.meta
        return (typed,), {}


class Handler(Task[Any, Any]):
    """A function that handles events of some types for one group. `once`: one event id is handled once."""

    def __init__(
        self,
        fn: Callable[..., Any],
        name: str,
        options: TaskOptions,
        post: Post,
        classes: dict[str, Any],
        *,
        batching: Batching | None = None,
        once: bool = False,
    ) -> None:
        self._classes, self.batching, self.once = classes, batching, once
        self.is_async = inspect.iscoroutinefunction(fn)
        self.kind = "coroutine" if self.is_async else "thread"
        super().__init__(fn, name, options, post)

    def _signature_of(self, fn: Callable[..., Any], name: str) -> Signature:
        return EventSignature(self._classes)


@dataclass(slots=True)
class Subscription:
    """One group on one topic. `handlers` by event type; `rest` takes all other types, if there is one."""

    topic: str
    group: str
    start: str = "0"
    handlers: dict[str, Handler] = field(default_factory=dict)
    rest: Handler | None = None

    @property
    def name(self) -> str:
        """As lists and the command line call it, and the group's own queue."""
        return f"{self.topic}/{self.group}"

    @property
    def all(self) -> list[Handler]:
        """Its handlers, each once."""
        found = [*self.handlers.values(), *((self.rest,) if self.rest is not None else ())]
        return list({id(handler): handler for handler in found}.values())

    def handler(self, event_type: str) -> Handler | None:
        """Who handles events of this type here."""
        return self.handlers.get(event_type) or self.rest


@dataclass(frozen=True, slots=True)
class Wish:
    """What `app.on(...)` was given, checked: event classes by topic (none: all types of a raw topic)."""

    topics: dict[str, dict[str, Any]]
    group: str
    start: str
    filter: Callable[[Any], object] | None
    once: bool
    options: TaskOptions


def wish(
    target: Any,
    group: object,
    start: object,
    filter: Callable[[Any], object] | None,
    once: object,
    options: HandlerOptionsDict,
) -> Wish:
    """Check the arguments of `app.on`; raises TypeError and ValueError that say what to write."""
    for name in options:
        if name not in _OPTIONS:
            raise TypeError(f"an event handler has no option {name!r}; known: {', '.join(sorted(_OPTIONS))}")
    if once not in (None, "event_id"):
        raise ValueError(f"once={once!r}: the only choice is once='event_id'")
    return Wish(_topics(target), checks.group(group), entry_id(start), filter, once is not None, TaskOptions(**options))


def subscribe(known: dict[str, Subscription], wished: Wish, fn: Any, defaults: TaskOptions | None, post: Post) -> None:
    """Add a handler to the app's subscriptions; raises DuplicateHandler and ConfigError for what contradicts them."""
    if isinstance(fn, Task) and not isinstance(fn, BatchTask):
        raise TypeError(f"{fn.name} is a task; app.on takes a plain function, which may send the task, or @app.batch")
    batching = fn.batching if isinstance(fn, BatchTask) else None
    function = fn.fn if isinstance(fn, Task) else fn
    name = fn.name if isinstance(fn, Task) else task_name(function, wished.options.name)
    _takes_one(function, name)
    options = TaskOptions(result=False).over(wished.options.over(fn.task_options if batching is not None else defaults))
    called = _filtered(function, wished.filter, batched=batching is not None)
    for topic, classes in wished.topics.items():
        handler = Handler(called, name, options, post, classes, batching=batching, once=wished.once)
        key = f"{topic}/{wished.group}"
        subscription = known.get(key)
        if subscription is None:
            subscription = known[key] = Subscription(topic, wished.group, wished.start)
        elif subscription.start != wished.start:
            raise ConfigError(
                f"the group {wished.group!r} on {topic!r} starts at {subscription.start} by one handler and at "
                f"{wished.start} by another; a group begins at one place"
            )
        _add(subscription, handler, classes)


def _takes_one(fn: Callable[..., Any], name: str) -> None:
    try:
        inspect.signature(fn).bind(None)
    except TypeError:
        raise TypeError(f"{name} must take one argument, the event; it is {name}{inspect.signature(fn)}") from None


def _add(subscription: Subscription, handler: Handler, classes: dict[str, Any]) -> None:
    for type_name in classes or (None,):
        before = subscription.rest if type_name is None else subscription.handlers.get(type_name)
        if before is not None and not _same(before, handler):
            what = "all types" if type_name is None else type_name
            raise DuplicateHandler(
                f"two handlers take {what} for the group {subscription.group!r}: {place(_original(before))} and "
                f"{place(_original(handler))}; each event goes to one handler of a group, so give one another group"
            )
        if type_name is None:
            subscription.rest = handler
        else:
            subscription.handlers[type_name] = handler


def _same(one: Handler, other: Handler) -> bool:
    """Is it the same function, perhaps of a module that was loaded again?"""
    files = [place(_original(handler)).rpartition(":")[0] for handler in (one, other)]
    return one.name == other.name and files[0] == files[1]


def _original(handler: Handler) -> Callable[..., Any]:
    """The user's function, without a filter around it."""
    found: Callable[..., Any] = inspect.unwrap(handler.fn)
    return found


def _topics(target: Any) -> dict[str, dict[str, Any]]:
    """Event classes by topic and type."""
    if isinstance(target, str):
        return {checks.topic(target): {}}
    topics: dict[str, dict[str, Any]] = {}
    for one in get_args(target) if get_origin(target) in (Union, UnionType) else (target,):
        kind: EventKind | None = getattr(one, "__event__", None)
        if kind is None:
            hint = "give it one: class X(Event, topic='...')" if isinstance(one, type) else "or a topic's name"
            raise TypeError(f"app.on takes event classes with a topic, A | B of them, or a topic; not {one!r}; {hint}")
        topics.setdefault(kind.topic, {})[kind.type] = one
    return topics


def entry_id(start: object) -> str:
    """Where a group begins, as XGROUP takes it: it gets what comes after this id."""
    if start == "beginning":
        return "0"
    if start == "new":
        return "$"
    if isinstance(start, datetime):
        ms = (checks.aware(start) - _EPOCH) // timedelta(milliseconds=1)
        return f"{ms - 1}-{_LARGEST}" if ms > 0 else "0"  # the last id before that millisecond
    found = _ENTRY_ID.fullmatch(start) if isinstance(start, str) else None
    if found is not None and all(int(half or 0) <= _LARGEST for half in found.groups()):
        return found[0]
    raise ValueError(
        f"start={start!r}: use 'beginning', 'new', a datetime with a time zone, or the entry id after which to begin"
    )


def _filtered(fn: Callable[..., Any], takes: Callable[[Any], object] | None, *, batched: bool) -> Callable[..., Any]:
    """The function for the events that pass the filter; what does not pass counts as handled."""
    if takes is None:
        return fn
    if batched:
        raise TypeError("filter= is not for batches: leave out what you do not want in the function")
    if inspect.iscoroutinefunction(fn):

        @wraps(fn)
        async def checked(event: Any) -> Any:
            return await fn(event) if takes(event) else None

        return checked

    @wraps(fn)
    def checked_here(event: Any) -> Any:
        return fn(event) if takes(event) else None

    return checked_here
