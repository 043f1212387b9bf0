"""The post office of an app: what tasks, results and schedules use to reach Redis.

The one place with lazy imports: a process that only imports tasks pays for redis-py and the settings when it first
sends.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from streamtask.address import Address, locate
from streamtask.errors import MessageTooLarge, SendError, UnknownQueue

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Coroutine

    from streamtask.broker.keys import QueueKeys
    from streamtask.broker.lookup import MessageInfo, Record
    from streamtask.broker.notices import Notice, Notices
    from streamtask.broker.outgoing import Outgoing, Receipt
    from streamtask.broker.publishing import Publication
    from streamtask.broker.sender import Sender, Steps
    from streamtask.broker.sending import Receipts
    from streamtask.broker.watch import SyncWatch
    from streamtask.settings import Settings

T = TypeVar("T")


class Post:
    """Addresses, clients and queue names of one app in this process."""

    def __init__(self, namespace: str, url: str | None, settings: Settings | None, on_blocking_send: str) -> None:
        self.namespace, self.on_blocking_send = namespace, on_blocking_send
        self.queues: set[str] = {"default"}
        self._keys: dict[str, QueueKeys] = {}
        self._notices: WeakKeyDictionary[AbstractEventLoop, Notices] = WeakKeyDictionary()
        self.warned: set[tuple[str, int]] = set()
        self._explicit, self._settings = url, settings

    @cached_property
    def settings(self) -> Settings:
        """The app's settings, read at first use."""
        from streamtask.settings import load

        return self._settings or load()

    @cached_property
    def address(self) -> Address:
        """Where Redis is, decided at first use."""
        return locate(self._explicit, self.settings.url, os.environ)

    @cached_property
    def sender(self) -> Sender:
        """The clients, made at first use."""
        from streamtask.broker.sender import Sender

        return Sender(self.address, self.namespace, self.settings.send_timeout)

    def relocate(self, url: str | None) -> None:
        """Take another server than the code says (the CLI's --url); only before the first use."""
        if url:
            self._explicit = url
            self.__dict__.pop("address", None)
            self.__dict__.pop("sender", None)

    def keys(self, queue: str) -> QueueKeys:
        """The keys of a queue; raises UnknownQueue, with the nearest name, for one that nobody declared."""
        known = self._keys.get(queue)
        if known is not None:
            return known
        from streamtask.broker.keys import queue_keys

        if queue not in self.queues:
            near = difflib.get_close_matches(queue, self.queues, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"declare it: app.queue({queue!r})"
            raise UnknownQueue(f"no task uses the queue {queue!r}; {hint} (known: {', '.join(sorted(self.queues))})")
        keys = self._keys[queue] = queue_keys(self.namespace, queue)
        return keys

    @cached_property
    def build(self) -> Callable[..., Outgoing]:
        """`outgoing.build`, loaded at first use."""
        from streamtask.broker.outgoing import build

        return build

    def send(self, outgoing: Sequence[Outgoing]) -> list[Receipt]:
        """Send; raises SendError when one or more were not accepted."""
        self._fits(outgoing)
        return _all_accepted(outgoing, self.sender.send(outgoing))

    async def asend(self, outgoing: Sequence[Outgoing]) -> list[Receipt]:
        """The asyncio twin of `send`."""
        self._fits(outgoing)
        return _all_accepted(outgoing, await self.sender.asend(outgoing))

    @cached_property
    def publication(self) -> Callable[..., Publication]:
        """`publishing.Publication`, loaded at first use."""
        from streamtask.broker.publishing import Publication

        return Publication

    @cached_property
    def events(self) -> ModuleType:
        """`broker.events`, loaded at first use."""
        from streamtask.broker import events

        return events

    def publish(self, publications: Sequence[Publication]) -> Receipts:
        """Publish events of one topic; who was refused, is in doubt or was not sent has its error there."""
        return self.sender.send_each(publications)

    async def apublish(self, publications: Sequence[Publication]) -> Receipts:
        """The asyncio twin of `publish`."""
        return await self.sender.asend_each(publications)

    def drive(self, steps: Steps[T]) -> T:
        """Carry a conversation over the blocking client."""
        return self.sender.drive(steps)

    def adrive(self, steps: Steps[T]) -> Coroutine[Any, Any, T]:
        """Carry a conversation over the running loop's client."""
        return self.sender.adrive(steps)

    def watch(self, channel: str) -> SyncWatch:
        """Listen on a channel, blocking."""
        from streamtask.broker.watch import SyncWatch

        return SyncWatch(self.sender.url(), channel, timeout=self.settings.send_timeout)

    def awatch(self, channel: str) -> Notice:
        """Listen on a channel in the running loop; all that listen there share one connection."""
        from asyncio import get_running_loop

        from streamtask.broker.notices import Notices

        loop = get_running_loop()
        if loop not in self._notices:
            self._notices[loop] = Notices(self.sender.url(), timeout=self.settings.send_timeout)
        return self._notices[loop].on(channel)

    async def aclose(self) -> None:
        """Close the running loop's connections; they open again when needed."""
        from asyncio import get_running_loop

        notices = self._notices.pop(get_running_loop(), None)
        if notices is not None:
            await notices.close()
        await self.sender.aclose()

    @cached_property
    def find(self) -> Callable[..., Steps[MessageInfo]]:
        """`lookup.find`, loaded at first use."""
        from streamtask.broker.lookup import find

        return find

    @cached_property
    def parse_record(self) -> Callable[[str, str, bytes], Record]:
        """`lookup.parse_record`, loaded at first use."""
        from streamtask.broker.lookup import parse_record

        return parse_record

    def _fits(self, outgoing: Sequence[Outgoing]) -> None:
        limit = self.settings.max_message_bytes
        for item in outgoing:
            message = item.message
            size = len(message.task) + len(message.id) + len(message.args)
            if message.meta:
                size = sum(map(len, message.fields()[1::2]))
            if size > limit:
                raise MessageTooLarge(
                    f"{item.message.task}: the message takes {size:,} bytes, {limit:,} are allowed (max_message_bytes)"
                    "; store the data and send its key"
                )


def _all_accepted(outgoing: Sequence[Outgoing], receipts: Sequence[Receipt | Exception]) -> list[Receipt]:
    errors = {i: receipt for i, receipt in enumerate(receipts) if isinstance(receipt, Exception)}
    if errors:
        first = next(iter(errors.values()))
        what = outgoing[0].message.task if len(outgoing) == 1 else f"{len(errors)} of {len(outgoing)} messages"
        raise SendError(f"Redis refused {what}: {first}", errors) from first
    return [receipt for receipt in receipts if not isinstance(receipt, Exception)]
