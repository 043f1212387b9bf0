"""A task: a function under a name, and the ways to send a call of it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, Self, TypeVar, Unpack, cast

from streamtask.context import current
from streamtask.errors import AlreadyQueued
from streamtask.message import new_ids
from streamtask.options import Batching, CallOptions, CallOptionsDict, TaskOptions
from streamtask.post import Post
from streamtask.result import Result, running_loop, warn_blocking
from streamtask.signature import Signature

if TYPE_CHECKING:
    from streamtask.broker.outgoing import Outgoing, Receipt

P = ParamSpec("P")
R = TypeVar("R")

#: What a task runs in, and so the kind of slot that it takes.
Kind = Literal["coroutine", "thread", "child"]

_NO_OPTIONS = CallOptions()


@dataclass(frozen=True, slots=True)
class Call(Generic[R]):
    """A call that is not sent yet: a task and its checked arguments. Made by `task.s(...)`."""

    task: Task[..., R]
    values: Mapping[str, Any]


class Task(Generic[P, R]):
    """The sending half of a task. Calling a task (`task(...)`) runs the plain function, here and now."""

    is_async = False
    kind: Kind = "thread"
    #: Of a task whose function takes many calls at once.
    batching: Batching | None = None

    def __init__(self, fn: Callable[..., Any], name: str, options: TaskOptions, post: Post) -> None:
        self.fn, self.name, self.task_options = fn, name, options
        self.signature = self._signature_of(fn, name)
        self._post, self._call = post, _NO_OPTIONS
        if options.unique is not None and not callable(options.unique.by):
            for parameter in options.unique.by or ():
                if parameter not in self.signature.names:
                    raise TypeError(
                        f"{name}: Unique(by={options.unique.by!r}) names {parameter!r}, which is no parameter of it"
                    )
        update_wrapper(self, fn)  # type: ignore[arg-type]  # a task looks like its function to help() and inspect

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def _signature_of(self, fn: Callable[..., Any], name: str) -> Signature:
        return Signature(fn, name)

    @property
    def queue(self) -> str:
        """The queue that calls go to."""
        return self._call.queue or self.task_options.queue

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> Result[R]:
        """Send a call. Arguments are checked before Redis is asked.

        Raises pydantic's ValidationError (a ValueError) or TypeError for arguments, MessageTooLarge, and SendError when
        Redis does not accept the message within the setting `send_timeout` (seconds); its kind MaybeSent when Redis may
        have it.
        """
        self._guard("delay")
        outgoing = [self._outgoing(self._bind(args, kwargs))]
        return self._results(outgoing, self._post.send(outgoing))[0]

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> Result[R]:
        """The asyncio twin of `delay`. Calls that come side by side go to Redis in one write. Who is cancelled stops to
        wait; the call may be sent all the same.
        """
        outgoing = [self._outgoing(self._bind(args, kwargs))]
        return self._results(outgoing, await self._post.asend(outgoing))[0]

    def options(self, **options: Unpack[CallOptionsDict]) -> Self:
        """A copy of the task that sends with these options; the task itself stays as it is.

        `countdown` (seconds), `eta` (aware datetime), `expires` (seconds), `queue`, `message_id`, `headers`. A line
        `task.options(queue="x")` on its own does nothing: write `task.options(queue="x").delay(...)`.
        """
        return self.with_call(CallOptions(**options))

    def with_call(self, options: CallOptions) -> Self:
        """The same as `options(...)`, with options that are an object already."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._call = options.over(self._call)
        return twin

    def s(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """A call as data, arguments checked, for `delay_many`."""
        return Call(self, self._bind(args, kwargs))

    def delay_many(self, calls: Iterable[Call[R] | tuple[Any, ...] | Mapping[str, Any]]) -> list[Result[R]]:
        """Send many calls, a thousand a round trip; tuples and dicts are taken as arguments.

        Raises like `delay`; where others were accepted, `.errors` of the SendError maps each refused call's index to
        its error.
        """
        self._guard("delay_many")
        outgoing = self._all(calls)
        return self._results(outgoing, self._post.send(outgoing))

    async def adelay_many(self, calls: Iterable[Call[R] | tuple[Any, ...] | Mapping[str, Any]]) -> list[Result[R]]:
        """The asyncio twin of `delay_many`."""
        outgoing = self._all(calls)
        return self._results(outgoing, await self._post.asend(outgoing))

    def unique_lock(self, values: Mapping[str, Any]) -> tuple[str, int, str] | None:
        """The unique key for these arguments: its hash, its ttl in ms, the meta's `unique` ("": only time ends it)."""
        unique = self.task_options.unique
        if unique is None:
            return None
        key_hash = unique.key(self.signature.defaults | dict(values))
        return key_hash, int(unique.seconds * 1000), key_hash if unique.until == "done" else ""

    def _bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        return self.signature.bind(args, kwargs)

    def _all(self, calls: Iterable[Call[R] | tuple[Any, ...] | Mapping[str, Any]]) -> list[Outgoing]:
        values = [self._values(call) for call in calls]  # all are checked before the first is sent
        return [self._outgoing(one, id) for one, id in zip(values, new_ids(len(values)), strict=True)]

    def _values(self, call: Call[R] | tuple[Any, ...] | Mapping[str, Any]) -> Mapping[str, Any]:
        if isinstance(call, Call):
            if call.task.name != self.name:
                raise TypeError(f"{self.name}.delay_many() was given a call of {call.task.name}")
            return call.values
        if isinstance(call, tuple):
            return self._bind(call, {})
        if isinstance(call, Mapping):
            return self._bind((), call)
        raise TypeError(f"{self.name}.delay_many() takes task.s(...), tuples or dicts, not {call!r:.80}")

    def _outgoing(self, values: Mapping[str, Any], fresh_id: str | None = None) -> Outgoing:
        call, options, post = self._call, self.task_options, self._post
        lock = self.unique_lock(values) if options.unique is not None else None
        meta: dict[str, Any] = {}
        expires = call.expires if call.expires is not None else options.expires
        if expires is not None:
            meta["ttl"] = expires
        if lock is not None and lock[2]:
            meta["unique"] = lock[2]
        if call.headers:
            meta["headers"] = dict(call.headers)
        args = self.signature.dump(self.name, values)
        queue = self.queue
        return post.build(post.keys(queue), self.name, queue, args, meta, call, lock, current(None), fresh_id)

    def _results(self, outgoing: list[Outgoing], receipts: list[Receipt]) -> list[Result[R]]:
        unique = self.task_options.unique
        results: list[Result[R]] = []
        for item, receipt in zip(outgoing, receipts, strict=True):
            if receipt.holder not in (None, item.message.id) and unique is not None and unique.on_conflict == "raise":
                raise AlreadyQueued(self.name, receipt.holder)
            results.append(
                Result(  # not Result[R](...), which costs another 2 µs
                    self._post,
                    item.keys,
                    receipt.holder or item.message.id,
                    self.name,
                    item.queue,
                    signature=self.signature,
                    stored=self.task_options.result,
                    entry_id=receipt.entry_id,
                    duplicate=receipt.holder is not None,
                )
            )
        return results

    def _guard(self, what: str) -> None:
        """A blocking send in a running loop is bounded, but stops the loop: say so once a call site."""
        if running_loop() is not None:
            warn_blocking(self._post.on_blocking_send, what, self._post.warned, depth=3)


class SyncTask(Task[P, R]):
    """A task made of a plain function; it runs in a thread of the worker, or with `process=True` in a child process."""

    def __init__(self, fn: Callable[..., Any], name: str, options: TaskOptions, post: Post) -> None:
        super().__init__(fn, name, options, post)
        if options.process:
            self.kind = "child"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now, without Redis."""
        return cast("R", self.fn(*args, **kwargs))


class AsyncTask(Task[P, R]):
    """A task made of a coroutine function; it runs on the worker's event loop."""

    is_async = True
    kind: Kind = "coroutine"

    def __init__(self, fn: Callable[..., Any], name: str, options: TaskOptions, post: Post) -> None:
        if options.process:
            raise TypeError(
                f"{name}: process=True is for plain functions, and this one is `async def`; make it `def`, or leave "
                f"process=True out"
            )
        super().__init__(fn, name, options, post)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Run the function here and now, without Redis."""
        return cast("Coroutine[Any, Any, R]", self.fn(*args, **kwargs))
