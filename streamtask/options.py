"""What can be set on a task and on a call: frozen objects, checked where they are written down."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self, TypedDict

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import to_json

from streamtask.duration import Seconds, seconds

#: Names of apps, queues and schedules: what is safe in a key, a shell and a URL.
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


def check_name(kind: str, name: object) -> str:
    """Return the name, or raise ValueError that says what is allowed."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no {kind} name: use 1 to 64 of A-Z a-z 0-9 . _ -")
    return name


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
        if self.delays is not None and (not self.delays or min(self.delays) < 0):
            raise ValueError(f"RetryPolicy(delays={self.delays!r}): give at least one wait, none negative")

    def delay(self, attempt: int, random: float) -> float:
        """Seconds to wait after failed attempt number `attempt` (1 for the first); `random` is drawn from [0, 1)."""
        if self.delays is not None:
            return float(self.delays[min(attempt, len(self.delays)) - 1])
        try:
            full = min(self.max_delay, self.base * self.factor ** (attempt - 1))
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
    returns text. The key is held until the message is final (`until="done"`: retries keep it, dead letters release it),
    or for a fixed time (`until=timedelta(...)`), at most `ttl` seconds in any case. A second `delay()` then gives the
    first message's Result with `duplicate=True` (`on_conflict="return"`) or raises AlreadyQueued ("raise").
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
        if self.until != "done" and not isinstance(self.until, timedelta):
            raise ValueError(f'Unique(until={self.until!r}): give "done" or a timedelta')
        if self.on_conflict not in ("return", "raise"):
            raise ValueError(f'Unique(on_conflict={self.on_conflict!r}): give "return" or "raise"')

    @property
    def seconds(self) -> float:
        """How long the key is held at most."""
        return seconds(self.until if isinstance(self.until, timedelta) else self.ttl)

    def key(self, arguments: Mapping[str, Any]) -> str:
        """The key's hash for these arguments (parameter name to value): canonical JSON, hashed."""
        if callable(self.by):
            text: Any = self.by(**arguments)
        else:
            text = {name: arguments.get(name) for name in sorted(self.by or arguments)}
        return hashlib.blake2b(to_json(text, inf_nan_mode="strings"), digest_size=16).hexdigest()


def _unique(value: Any) -> Any:
    if value is True:
        return Unique()
    if value is False:
        return None
    return Unique(by=value) if isinstance(value, (str, list, tuple)) else value


class TaskOptions(BaseModel):
    """Options of a task, in seconds; an app's `defaults` are overridden by the task's own, those by the call's."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    name: str | None = None
    queue: str = "default"
    max_retries: Annotated[int, Field(ge=0)] | None = 3
    retry: RetryPolicy = RetryPolicy()
    timeout: Seconds | None = None
    expires: Seconds | None = None
    max_deliveries: Annotated[int, Field(ge=1)] = 3
    unique: Annotated[Unique | None, BeforeValidator(_unique)] = None
    result: bool = True
    result_ttl: Seconds = 900.0
    idempotent: bool = True
    unknown_grace: Seconds | None = None
    log_args: bool = False

    @field_validator("queue")
    @classmethod
    def _queue(cls, value: str) -> str:
        return check_name("queue", value)

    @field_validator("retry", mode="before")
    @classmethod
    def _retry(cls, value: Any) -> Any:
        if not isinstance(value, RetryPolicy):
            raise ValueError(f"{value!r} is no RetryPolicy; the number of retries is max_retries=")
        return value

    @field_validator("unique", mode="after")
    @classmethod
    def _is_unique(cls, value: Any) -> Any:
        if value is not None and not isinstance(value, Unique):
            raise ValueError(f"{value!r} is no Unique; write unique=Unique(by=('user_id',)) or unique=True")
        return value

    @model_validator(mode="after")
    def _at_most_once(self) -> Self:
        """`idempotent=False`: one delivery, no retries, unless the task says otherwise."""
        if not self.idempotent:
            for name, value in (("max_deliveries", 1), ("max_retries", 0)):
                if name not in self.model_fields_set:
                    object.__setattr__(self, name, value)
        return self

    def over(self, defaults: TaskOptions | None) -> TaskOptions:
        """These options where they were set, the defaults elsewhere."""
        if defaults is None:
            return self
        chosen = {name: getattr(defaults, name) for name in defaults.model_fields_set}
        if "idempotent" in self.model_fields_set and not self.idempotent:
            chosen = {name: value for name, value in chosen.items() if name not in ("max_deliveries", "max_retries")}
        return TaskOptions(**(chosen | {name: getattr(self, name) for name in self.model_fields_set}))


class TaskOptionsDict(TypedDict, total=False):
    """The keywords of `@app.task(...)`, for type checkers."""

    name: str
    queue: str
    max_retries: int | None
    retry: RetryPolicy
    timeout: float | timedelta | None
    expires: float | timedelta | None
    max_deliveries: int
    unique: Unique | bool | str | Sequence[str] | None
    result: bool
    result_ttl: float | timedelta
    idempotent: bool
    unknown_grace: float | timedelta
    log_args: bool


class CallOptions(BaseModel):
    """Options of one call (`task.options(...)`). Times in seconds; `eta` is an aware datetime."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    countdown: Seconds | None = None
    eta: datetime | None = None
    expires: Seconds | None = None
    queue: str | None = None
    message_id: str | None = None
    headers: Mapping[str, str] | None = None

    @field_validator("eta")
    @classmethod
    def _aware(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.utcoffset() is None:
            raise ValueError(
                f"eta {value.isoformat()} has no time zone; write datetime.now(UTC) or .replace(tzinfo=UTC)"
            )
        return value

    @field_validator("message_id")
    @classmethod
    def _id(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Za-z0-9._:@/-]{1,128}", value):
            raise ValueError(f"{value!r} is no message id: use 1 to 128 of A-Z a-z 0-9 . _ : @ / -")
        return value

    @model_validator(mode="after")
    def _one_time(self) -> Self:
        if self.countdown is not None and self.eta is not None:
            raise ValueError("give countdown (seconds from now) or eta (a datetime), not both")
        return self


class CallOptionsDict(TypedDict, total=False):
    """The keywords of `task.options(...)`, for type checkers."""

    countdown: float | timedelta | None
    eta: datetime | None
    expires: float | timedelta | None
    queue: str | None
    message_id: str | None
    headers: Mapping[str, str] | None
