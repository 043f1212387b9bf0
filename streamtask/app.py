"""The app: a name, an address, and the tasks and schedules that belong to it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Protocol, Self, TypeVar, Unpack, cast, overload

from pydantic import ValidationError

from streamtask import checks
from streamtask.address import safe_url
from streamtask.batch import BatchTask
from streamtask.calling import Calls
from streamtask.checks import check_name
from streamtask.context import current
from streamtask.duration import seconds
from streamtask.errors import ConfigError, DuplicateSchedule, DuplicateTask, UnknownQueue
from streamtask.events import Events
from streamtask.naming import place, task_name
from streamtask.options import Batching, CallOptions, CallOptionsDict, TaskOptions, TaskOptionsDict
from streamtask.post import Post
from streamtask.result import Result, running_loop, warn_blocking
from streamtask.schedule import Schedule, ScheduleOptionsDict
from streamtask.signature import dump_arguments
from streamtask.size import show
from streamtask.subscription import Subscription
from streamtask.task import AsyncTask, SyncTask, Task
from streamtask.topic import TopicLimits

if TYPE_CHECKING:
    from datetime import timedelta

    from streamtask.cron import Cron
    from streamtask.settings import Settings
    from streamtask.when import When

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
TaskT = TypeVar("TaskT", bound=Task[..., Any])


class Schedulable(Protocol):
    """A task that can be called without arguments; a Protocol, because to pyright Task[[], Any] takes no defaults."""

    def delay(self) -> Result[Any]:
        """Send it."""
        ...


SchedulableT = TypeVar("SchedulableT", bound=Schedulable)


class _Decorator:
    """`@app.task(...)` with options in hand; typed like `@app.task`."""

    def __init__(self, app: StreamTask, options: TaskOptions) -> None:
        self._app, self._options = app, options

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, fn: Callable[P, R], /) -> SyncTask[P, R]: ...
    def __call__(self, fn: Callable[..., Any], /) -> Any:
        return self._app._register(fn, self._options)


@dataclass(frozen=True, slots=True)
class Queue:
    """A declared queue."""

    name: str


class _BatchDecorator:
    """`@app.batch(...)` with options in hand; the type of an item is that of the list."""

    def __init__(self, app: StreamTask, batching: Batching, options: TaskOptions) -> None:
        self._app, self._batching, self._options = app, batching, options

    @overload
    def __call__(self, fn: Callable[[list[T]], Coroutine[Any, Any, None]], /) -> BatchTask[T, None]: ...
    @overload
    def __call__(self, fn: Callable[[list[T]], Coroutine[Any, Any, list[R] | None]], /) -> BatchTask[T, R]: ...
    @overload
    def __call__(self, fn: Callable[[list[T]], None], /) -> BatchTask[T, None]: ...
    @overload
    def __call__(self, fn: Callable[[list[T]], list[R] | None], /) -> BatchTask[T, R]: ...
    def __call__(self, fn: Callable[..., Any], /) -> Any:
        return self._app._register(fn, self._options, self._batching)


class StreamTask(Calls, Events):
    """An app. Nothing is connected until something is sent.

    `name` is also the namespace, the prefix of all its keys, unless `namespace` says otherwise. `url` is the server's
    address; without it STREAMTASK_URL, REDIS_URL, REDIS_HOST and REDIS_PORT, or localhost. `include` names modules with
    more tasks, which workers and beats import. `defaults` hold for all tasks. `results=False` stores none unless a task
    asks. `on_blocking_send` says what a blocking `delay()` does inside a running event loop: "warn" once a call site,
    "raise" WouldBlock, or "allow".
    """

    def __init__(
        self,
        name: str = "st",
        url: str | None = None,
        *,
        namespace: str | None = None,
        include: Sequence[str] = (),
        queues: Sequence[str] | Mapping[str, Queue] = (),
        defaults: TaskOptions | None = None,
        settings: Settings | None = None,
        results: bool = True,
        on_blocking_send: Literal["warn", "raise", "allow"] = "warn",
    ) -> None:
        if "://" in str(name):
            raise TypeError(f"the first argument is the app's name; write StreamTask('myapp', {safe_url(name)!r})")
        self.name = check_name("app", name)
        self.namespace = check_name("namespace", namespace or name)
        self.include = tuple(include)
        self.defaults = defaults if results else TaskOptions(result=False).over(defaults)
        self.tasks: dict[str, Task[..., Any]] = {}
        self.schedules: dict[str, Schedule] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.topics: dict[str, TopicLimits] = {}
        self.post = Post(self.namespace, url, settings, on_blocking_send)
        for queue in queues:
            self.queue(queue)

    def __repr__(self) -> str:
        return f"<StreamTask {self.name}: {len(self.tasks)} tasks>"

    @overload
    def task(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def task(self, fn: Callable[P, R], /) -> SyncTask[P, R]: ...
    @overload
    def task(self, /, **options: Unpack[TaskOptionsDict]) -> _Decorator: ...
    def task(self, fn: Callable[..., Any] | None = None, /, **options: Unpack[TaskOptionsDict]) -> Any:
        """Make a function a task: `@app.task` or `@app.task(queue="mail", max_retries=5)`.

        Coroutine functions run on the worker's event loop, plain functions in its threads. Raises TypeError for
        functions whose parameters cannot travel by name and for unknown options, ValueError for bad ones, DuplicateTask
        for a name that is taken.
        """
        decorator = _Decorator(self, TaskOptions(**options))
        return decorator if fn is None else decorator(fn)

    def batch(
        self, size: int = 100, wait: float | timedelta = 2.0, **options: Unpack[TaskOptionsDict]
    ) -> _BatchDecorator:
        """Make a function that takes a list a task of single items: `f.delay(item)` sends one, and a worker calls it
        with up to `size` of them, at the latest `wait` seconds after the first one came.

        All are done when it returns; it may return a list with a result for each. `raise BatchError({3: error})` fails
        some of them, any other exception all. Under `@app.on` the items are events. Errors as in `task`.
        """
        return _BatchDecorator(self, Batching.of(size, wait), TaskOptions(**options))

    def queue(self, name: str) -> Queue:
        """Declare a queue that no task of this app names, so that calls may be sent to it."""
        self.post.queues.add(checks.queue(name))
        return Queue(name)

    @overload
    def schedule(
        self, when: When, **options: Unpack[ScheduleOptionsDict]
    ) -> Callable[[SchedulableT], SchedulableT]: ...
    @overload
    def schedule(
        self, when: When, *, args: Mapping[str, Any], **options: Unpack[ScheduleOptionsDict]
    ) -> Callable[[TaskT], TaskT]: ...
    def schedule(
        self, when: When, *, args: Mapping[str, Any] | None = None, **options: Unpack[ScheduleOptionsDict]
    ) -> Callable[[Any], Any]:
        """Run a task by the clock: `@app.schedule(Every(minutes=5))` above `@app.task`. Times in seconds.

        `missed` says what becomes of ticks that no beat saw: "skip" them, the newest "once", or "all" of them (at most
        `max_catch_up` at a time, none older than `max_age`). `overlap="skip"` leaves a tick out while the former one's
        message is unfinished. The tick's time reaches the task as `current().scheduled_for`. Raises DuplicateSchedule,
        and ConfigError for a Cron that names an hour while neither it nor the app has a time zone.
        """

        def register(target: Any) -> Any:
            task = target if isinstance(target, Task) else self.task(target)
            self._add_schedule(task, self._planned(task, when, args, options))
            return task

        return register

    def send(
        self, task: str, /, args: Mapping[str, Any] | None = None, **options: Unpack[CallOptionsDict]
    ) -> Result[Any]:
        """Send a call by the task's name; the task may live in another code base. Errors as in `Task.delay`.

        Arguments of a task that this app knows are checked, others are sent as they are.
        """
        if running_loop() is not None:
            warn_blocking(self.post.on_blocking_send, "send", self.post.warned, depth=2)
        outgoing = [self._by_name(task, args, CallOptions(**options))]
        return self._result(outgoing[0], self.post.send(outgoing)[0])

    async def asend(
        self, task: str, /, args: Mapping[str, Any] | None = None, **options: Unpack[CallOptionsDict]
    ) -> Result[Any]:
        """The asyncio twin of `send`."""
        outgoing = [self._by_name(task, args, CallOptions(**options))]
        return self._result(outgoing[0], (await self.post.asend(outgoing))[0])

    def result(self, id: str, queue: str | None = None) -> Result[Any]:
        """Reach a message again by its id; `queue` is needed when the app has more than one."""
        chosen = queue or next(iter(self.post.queues))
        if queue is None and len(self.post.queues) > 1:
            raise UnknownQueue(f"the app has several queues, say which: app.result(id, queue={chosen!r})")
        return Result(self.post, self.post.keys(chosen), id, "task", chosen)

    def close(self) -> None:
        """Close the blocking client; it opens again when needed."""
        self.post.sender.close()

    async def aclose(self) -> None:
        """Close this loop's client; it opens again when needed."""
        await self.post.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _register(
        self, fn: Callable[..., Any], options: TaskOptions, batching: Batching | None = None
    ) -> Task[..., Any]:
        if isinstance(fn, Task):
            raise TypeError(f"{fn.name} is already a task; put @app.task under @app.schedule")
        name = task_name(fn, options.name)
        known = self.tasks.get(name)
        if known is not None and place(known.fn).rpartition(":")[0] != place(fn).rpartition(":")[0]:
            raise DuplicateTask(
                f"two tasks are called {name!r}: {place(known.fn)} and {place(fn)}; give one of them name="
            )
        effective = options.over(self.defaults)
        if options.max_memory is not None and not effective.process:  # among an app's defaults it is for those that are
            raise TypeError(
                f"{name}: max_memory={show(options.max_memory)!r} is for tasks in a child process, and this one runs "
                f"inside the worker; add process=True, or leave max_memory out"
            )
        task: Task[..., Any]
        if batching is not None:
            task = BatchTask(fn, name, effective, self.post, batching)
        else:
            kind: type[Task[..., Any]] = AsyncTask if inspect.iscoroutinefunction(fn) else SyncTask
            task = kind(fn, name, effective, self.post)
        self.post.queues.add(task.queue)
        self.tasks[name] = task
        return task

    def _planned(
        self, task: Task[..., Any], when: When, args: Mapping[str, Any] | None, options: ScheduleOptionsDict
    ) -> Schedule:
        rest = {key: value for key, value in options.items() if key not in ("name", "max_age", "grace")}
        return Schedule(
            name=check_name("schedule", options.get("name") or task.name),
            when=self._zoned(when),
            task=task.name,
            queue=task.queue,
            args=dict(args or {}),
            max_age=_seconds(options.get("max_age")),
            grace=_seconds(options.get("grace")),
            **cast("Any", rest),
        )

    def _add_schedule(self, task: Task[..., Any], schedule: Schedule) -> None:
        known = self.schedules.get(schedule.name)
        if known is not None and known != schedule:
            raise DuplicateSchedule(f"two schedules are called {schedule.name!r}; give one of them name=")
        try:
            task.signature.bind((), schedule.args)
        except ValidationError as error:
            lines = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise TypeError(
                f"schedule {schedule.name!r} cannot call {task.name} ({lines}); give args={{...}}"
            ) from None
        self.schedules[schedule.name] = schedule

    def _zoned(self, when: When) -> When:
        """A Cron without a zone takes the app's; one that names an hour must have one (UTC may be another day)."""
        if getattr(when, "timezone", "none of its business") is not None:
            return when
        zone = self.post.settings.timezone
        cron = cast("Cron", when)
        if zone is None and cron.names_hour:
            raise ConfigError(f"{when} names an hour but no time zone: write timezone=..., or set STREAMTASK_TIMEZONE")
        return cron.with_timezone(zone or "UTC")

    def _by_name(self, task: str, args: Mapping[str, Any] | None, call: CallOptions) -> Any:
        known = self.tasks.get(task)
        if known is not None:
            return known.with_call(call)._outgoing(known._bind((), args or {}))
        meta: dict[str, Any] = {}
        if call.expires is not None:
            meta["ttl"] = call.expires
        if call.headers:
            meta["headers"] = dict(call.headers)
        queue = call.queue or "default"
        return self.post.build(
            self.post.keys(queue), task, queue, dump_arguments(task, args or {}), meta, call, None, current(None)
        )

    def _result(self, outgoing: Any, receipt: Any) -> Result[Any]:
        known = self.tasks.get(outgoing.message.task)
        return Result(
            self.post,
            outgoing.keys,
            receipt.holder or outgoing.message.id,
            outgoing.message.task,
            outgoing.queue,
            signature=known.signature if known else None,
            stored=known.task_options.result if known else True,
            entry_id=receipt.entry_id,
            duplicate=receipt.holder is not None,
        )


def _seconds(value: float | timedelta | None) -> float | None:
    return None if value is None else seconds(value)
