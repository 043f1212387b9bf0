"""What waits in this process for a free slot, by the kind of slot; the oldest first. Of a batch the leader waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from streamtask.task import Kind
from streamtask.worker.batches import promote
from streamtask.worker.delivery import Delivery


class Buffers(dict[Kind, deque[Delivery]]):
    """One a kind."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        super().__init__({kind: deque() for kind in kinds})

    def overdue(self, limit: float) -> Iterator[Delivery]:
        """Take out what has been here since before `limit` (monotonic)."""
        for buffer in self.values():
            while buffer and buffer[0].received_at < limit:
                yield buffer.popleft()

    def remove(self, delivery: Delivery) -> None:
        """It is not ours any more. A batch that it led goes on under its next item, at the same place."""
        for buffer in self.values():
            if delivery in buffer:
                leader = promote(delivery)
                if leader is not None:
                    buffer[buffer.index(delivery)] = leader
                else:
                    buffer.remove(delivery)

    def drain(self) -> None:
        """Forget all."""
        for buffer in self.values():
            buffer.clear()
