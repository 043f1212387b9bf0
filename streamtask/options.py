"""What can be set on a task and on a call: frozen objects, checked where they are written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Literal, TypedDict, Unpack

from pydantic_core import ValidationError, from_json, to_json

from streamtask import checks
from streamtask.duration import seconds


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When and how long to wait before an attempt is made again.

    The wait before retry n is `base * factor ** (n - 1)` seconds, at most `max_delay`, then jittered: "full" draws
    evenly between 0 and that (the spread that keeps a failed service from being hit by all at once; AWS Architecture
    Blog, "Exponential Backoff And Jitter"), "none" takes it as it is, a number j in 0..1 takes off up to that share.
    `delays` lists the waits by hand; its last one repeats. Only exceptions of `on` and not of `never` are retried;
    `retry_after(error)` may name the wait in seconds (None: the policy's own).
    """

    base: float = 2.0
    factor: float = 2.0
    max_delay: float = 600.0
    jitter: Literal["full", "none"] | float = "full"
    on: tuple[type[BaseException], ...] = (Exception,)
    never: tuple[type[BaseException], ...] = (TypeError, ValidationError)
    delays: Sequence[float] | None = None
    retry_after: Callable[[BaseException], float | None] | None = None

    def __post_init__(self) -> None:
        for name in ("base", "factor", "max_delay"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"RetryPolicy({name}={getattr(self, name)!r}): give a number that is not negative")
        if self.jitter not in ("full", "none") and not (
            isinstance(self.jitter, (int, float)) and 0 <= self.jitter <= 1
        ):
            raise ValueError(f'RetryPolicy(jitter={self.jitter!r}): give "full", "none" or a number from 0 to 1')
        if self.delays is not None and not (self.delays and all(0 <= wait < float("inf") for wait in self.delays)):
            raise ValueError(f"RetryPolicy(delays={self.delays!r}): give at least one wait, none negative")

    def delay(self, attempt: int, random: float) -> float:
        """Seconds to wait after failed attempt number `attempt` (1 for the first); `random` is drawn from [0, 1)."""
        if self.delays is not None:
            return float(self.delays[min(attempt, len(self.delays)) - 1])
        try:
            full = min(self.max_delay, self.base * float(self.factor) ** (attempt - 1))
        except OverflowError:
            full = self.max_delay
        if self.jitter == "full":
            return full * random
        return full if self.jitter == "none" else full * (1 - float(self.jitter) * random)

    def retries(self, error: BaseException) -> bool:
        """Is this exception one to try again after?"""
        return isinstance(error, self.on) and not isinstance(error, self.never)


@dataclass(frozen=True, slots=True)
class Unique:
    """At most one unfinished message with the same key.

    `by` names the parameters that make the key (None: all of them), or is a function of the task's arguments that
    returns text. A parameter that the caller leaves out counts with its default. The key is held until the message is
    final (`until="done"`: retries keep it, dead letters release it), or for a fixed time (`until=timedelta(...)`), at
    most `ttl` seconds in any case. A second `delay()` then gives the first message's Result with `duplicate=True`
    (`on_conflict="return"`) or raises AlreadyQueued ("raise").
    """

    by: Sequence[str] | Callable[..., str] | None = None
    until: Literal["done"] | timedelta = "done"
    ttl: timedelta | float = timedelta(days=7)
    on_conflict: Literal["return", "raise"] = "return"

    def __post_init__(self) -> None:
        if isinstance(self.by, str):
            object.__setattr__(self, "by", tuple(self.by.split()))
        elif isinstance(self.by, Sequence):
            object.__setattr__(self, "by", tuple(self.by))
        elif self.by is not None and not callable(self.by):
            raise ValueError(f"Unique(by={self.by!r}): give names of parameters, or a function of the arguments")
        if self.until != "done" and not isinstance(self.until, timedelta):
            raise ValueError(f'Unique(until={self.until!r}): give "done" or a timedelta')
        if self.on_conflict not in ("return", "raise"):
            raise ValueError(f'Unique(on_conflict={self.on_conflict!r}): give "return" or "raise"')
        if self.seconds < 0.001:
            raise ValueError(f"Unique(until={self.until!r}, ttl={self.ttl!r}): the key must be held for some time")

    @property
    def seconds(self) -> float:
        """How long the key is held at most."""
        return seconds(self.until if isinstance(self.until, timedelta) else self.ttl)

    def key(self, arguments: Mapping[str, Any]) -> str:
        """The key's hash for these arguments (parameter name to value): canonical JSON, hashed."""
        if callable(self.by):
            chosen: Any = self.by(**arguments)
        else:
            chosen = {name: arguments.get(name) for name in (arguments if self.by is None else self.by)}
        import hashlib  # takes 4 ms, for OpenSSL, and json 2 ms: only processes that send unique tasks pay for them
        import json

        plain = from_json(to_json(chosen, bytes_mode="base64", inf_nan_mode="strings"))
        return hashlib.blake2b(json.dumps(plain, sort_keys=True).encode(), digest_size=16).hexdigest()


def _unique(value: object) -> Unique | None:
    if value is None or value is False:
        return None
    if value is True:
        return Unique()
    if isinstance(value, (str, list, tuple)):
        return Unique(by=value)
    if not isinstance(value, Unique):
        raise ValueError(f"{value!r} is no Unique; write unique=Unique(by=('user_id',)) or unique=True")
    return value


def _retry(value: object) -> RetryPolicy:
    if not isinstance(value, RetryPolicy):
        raise ValueError(f"{value!r} is no RetryPolicy; the number of retries is max_retries=")
    return value


class TaskOptionsDict(TypedDict, total=False):
    """The keywords of `@app.task(...)` and `TaskOptions(...)`."""

    name: str | None
    queue: str
    max_retries: int | None
    retry: RetryPolicy
    timeout: float | timedelta | None
    expires: float | timedelta | None
    max_deliveries: int
    unique: Unique | bool | str | Sequence[str] | None
    result: bool
    result_ttl: float | timedelta
    process: bool
    max_memory: int | str | None
    idempotent: bool
    unknown_grace: float | timedelta | None
    log_args: bool


@dataclass(frozen=True, init=False)
class TaskOptions:
    """Options of a task, in seconds and bytes; an app's `defaults` yield to the task's own, those to the call's.

    Raises TypeError for an unknown option and ValueError for a bad value, so that a typo fails at import.
    """

    name: str | None = None
    queue: str = "default"
    max_retries: int | None = 3
    retry: RetryPolicy = RetryPolicy()
    timeout: float | None = None
    expires: float | None = None
    max_deliveries: int = 3
    unique: Unique | None = None
    result: bool = True
    result_ttl: float = 900.0
    process: bool = False
    max_memory: int | None = None
    idempotent: bool = True
    unknown_grace: float | None = None
    log_args: bool = False
    #: What was written down; the rest are defaults.
    given: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    def __init__(self, **options: Unpack[TaskOptionsDict]) -> None:
        values = checks.checked("a task", options, _TASK)
        if values.get("idempotent") is False:  # one delivery, no retries, unless the task says otherwise
            values = {"max_deliveries": 1, "max_retries": 0} | values
        self.__dict__.update(values, given=frozenset(options))

    def over(self, defaults: TaskOptions | None) -> TaskOptions:
        """These options where they were given, the defaults elsewhere."""
        if defaults is None:
            return self
        chosen = {name: getattr(defaults, name) for name in defaults.given}
        if (
            "idempotent" in self.given and not self.idempotent
        ):  # the app's retries are not for a task that asks for none
            chosen = {name: value for name, value in chosen.items() if name not in ("max_deliveries", "max_retries")}
        return TaskOptions(**(chosen | {name: getattr(self, name) for name in self.given}))


_TASK: Mapping[str, checks.Check] = {
    "name": checks.optional(checks.text),
    "queue": checks.queue,
    "max_retries": checks.optional(checks.count(0)),
    "retry": _retry,
    "timeout": checks.optional(checks.duration),
    "expires": checks.optional(checks.duration),
    "max_deliveries": checks.count(1),
    "unique": _unique,
    "result": checks.flag,
    "result_ttl": checks.duration,
    "process": checks.flag,
    "max_memory": checks.optional(checks.size),
    "idempotent": checks.flag,
    "unknown_grace": checks.optional(checks.duration),
    "log_args": checks.flag,
}


@dataclass(frozen=True, slots=True)
class Batching:
    """When a batch is full: `size` items, or `wait` seconds after its first one came."""

    size: int
    wait: float

    @classmethod
    def of(cls, size: object, wait: object) -> Batching:
        """Checked; raises ValueError that names the wrong one."""
        try:
            checked = checks.count(1)(size)
        except ValueError as error:
            raise ValueError(f"a batch, size: {error}") from None
        try:
            return cls(checked, checks.duration(wait))
        except ValueError as error:
            raise ValueError(f"a batch, wait: {error}") from None


class CallOptionsDict(TypedDict, total=False):
    """The keywords of `task.options(...)` and `CallOptions(...)`."""

    countdown: float | timedelta | None
    eta: datetime | None
    expires: float | timedelta | None
    queue: str | None
    message_id: str | None
    headers: Mapping[str, str] | None


@dataclass(frozen=True, init=False)
class CallOptions:
    """Options of one call (`task.options(...)`), in seconds; `eta` is an aware datetime. Errors as in TaskOptions."""

    countdown: float | None = None
    eta: datetime | None = None
    expires: float | None = None
    queue: str | None = None
    message_id: str | None = None
    headers: Mapping[str, str] | None = None
    #: What was written down.
    given: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    def __init__(self, **options: Unpack[CallOptionsDict]) -> None:
        self.__dict__.update(checks.checked("a call", options, _CALL), given=frozenset(options))
        if self.countdown is not None and self.eta is not None:
            raise ValueError("give countdown (seconds from now) or eta (a datetime), not both")

    @cached_property
    def plain(self) -> bool:
        """May the message be sent at once, under any id?"""
        return self.countdown is None and self.eta is None and self.message_id is None

    def over(self, defaults: CallOptions) -> CallOptions:
        """These options where they were given, the defaults elsewhere."""
        chosen = {name: getattr(options, name) for options in (defaults, self) for name in options.given}
        return CallOptions(**chosen)


_CALL: Mapping[str, checks.Check] = {
    "countdown": checks.optional(checks.duration),
    "eta": checks.optional(checks.aware),
    "expires": checks.optional(checks.duration),
    "queue": checks.optional(checks.queue),
    "message_id": checks.optional(checks.message_id),
    "headers": checks.optional(checks.headers),
}
