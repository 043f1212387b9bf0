"""An event: a frozen pydantic model that is published to a topic, and comes to one handler of each group."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Self, Unpack

from pydantic import BaseModel, ConfigDict, PrivateAttr

from streamtask.checks import label
from streamtask.checks import topic as check_topic
from streamtask.envelope import EventKind, EventMeta


class Event(BaseModel):  # noqa: PLW1641 - a frozen model gets its __hash__ from pydantic
    """Subclass it: `class ArticleCreated(Event, topic="articles", source="shop"): ...`.

    `topic` is the stream's key in Redis, `type` the event's name on the wire (by default the class's), `source` who
    publishes it (by default the app's name). The fields are the payload. The envelope is at `meta`, so that no field
    can clash with it: before the event is published it says what it was made with.
    """

    model_config = ConfigDict(frozen=True, ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="strings")

    __event__: ClassVar[EventKind | None] = None
    _meta: EventMeta | None = PrivateAttr(default=None)

    def __init_subclass__(
        cls,
        *,
        topic: str | None = None,
        type: str | None = None,
        source: str | None = None,
        **kwargs: Unpack[ConfigDict],
    ) -> None:
        """Learn the topic; what is not given comes from the class above, but for the type."""
        if unknown := ", ".join(map(repr, kwargs)):
            raise TypeError(f"class {cls.__qualname__}: no option {unknown}; an event has topic, type and source")
        super().__init_subclass__()
        above = cls.__event__
        found = topic or (above.topic if above is not None else None)
        if found is None:
            if type is not None or source is not None:
                raise TypeError(f"{cls.__qualname__} names no topic: class {cls.__name__}(Event, topic=...)")
            return
        name = cls.__name__ if type is None else label("type", type)
        if source is not None:
            label("source", source)
        elif above is not None:
            source = above.source
        cls.__event__ = EventKind(check_topic(found), name, source)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Raises TypeError for a field that would hide the envelope."""
        if "meta" in cls.model_fields:
            raise TypeError(
                f"{cls.__qualname__}: `meta` is the envelope, so no field can be called that; write "
                f"meta_: ... = Field(alias='meta')"
            )

    def __eq__(self, other: object) -> bool:
        """Of the same class with the same fields. The envelope does not count: each event has one of its own."""
        if not isinstance(other, Event):
            return NotImplemented
        mine, others = (self.__dict__, self.__pydantic_extra__), (other.__dict__, other.__pydantic_extra__)
        return type(self) is type(other) and mine == others

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Another event with these fields: it has an envelope of its own."""
        copy = super().model_copy(update=update, deep=deep)
        copy._meta = None
        return copy

    @property
    def meta(self) -> EventMeta:
        """The envelope: of an event that came, as it came; of a new one, with an id of its own and the time now."""
        if self._meta is None:
            kind = self.__event__
            name, source = (kind.type, kind.source or "") if kind is not None else (type(self).__name__, "")
            self._meta = EventMeta(os.urandom(16).hex(), name, source, datetime.now(UTC))
        return self._meta
