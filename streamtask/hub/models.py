"""What comes in by the JSON door, as the OpenAPI document says it: nothing more, and nothing of another type."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

#: Patterns of names in paths: printable ASCII that no client or proxy rewrites; streams have no braces.
TASK, STREAM = r"^[A-Za-z0-9_][!-~]{0,255}$", r"^[A-Za-z0-9_][!-z|~]{0,255}$"
QUEUE, MESSAGE_ID = r"^[A-Za-z0-9._-]{1,64}$", r"^[A-Za-z0-9._:@/-]{1,128}$"
#: Seconds: ten years, the longest time that a message can be told to wait.
LONGEST = 315_360_000.0
_TIME = re.compile(
    r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[Tt]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)"
)


def _moment(value: Any) -> Any:
    """RFC 3339, which is less than pydantic takes: with a zone, and no numbers."""
    if value is None:
        return None
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise ValueError("write a time with its zone, as in 2026-01-13T09:00:00+09:00")
    try:
        return datetime.fromisoformat(re.sub(r"\.(\d{1,6})\d*", r".\1", value.upper()))
    except ValueError:
        raise ValueError("there is no such day") from None


def _finite(value: Any) -> Any:
    """JSON has no infinity, but 1e400 reads as one."""
    match value:
        case float() if not math.isfinite(value):
            raise ValueError("a number is too large")
        case dict():
            for one in value.values():
                _finite(one)
        case list():
            for one in value:
                _finite(one)
    return value


Moment = Annotated[datetime | None, BeforeValidator(_moment)]
Json = Annotated[Any, AfterValidator(_finite)]
Name = Annotated[str, Field(min_length=1, max_length=256)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class TaskCall(_Model):
    """A call of a task."""

    args: Annotated[dict[str, Any], AfterValidator(_finite)] = Field(default_factory=dict)
    countdown: float | None = Field(default=None, ge=0, le=LONGEST)
    eta: Moment = None
    expires: float | None = Field(default=None, ge=0, le=LONGEST)
    queue: str | None = Field(default=None, pattern=QUEUE)
    message_id: str | None = Field(default=None, pattern=MESSAGE_ID)
    headers: dict[str, str] | None = None

    @model_validator(mode="after")
    def _one_time(self) -> TaskCall:
        if self.countdown is not None and self.eta is not None:
            raise ValueError("give countdown or eta, not both")
        return self


class NewEvent(_Model):
    """An event to publish. `payload` is any JSON; left out, the event has none."""

    type: Name
    source: Name
    id: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    created_at: Moment = None
    payload: Json = None
    metadata: dict[str, str] = Field(default_factory=dict)
