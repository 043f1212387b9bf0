"""What is counted, under mq-hub's names.

Other than there, a refused event is no `redis_error`, and no caller can fill the memory with names of streams: the
first LABELS have their own label, all others share one.
"""

from __future__ import annotations

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

#: Streams with a label of their own, and the label of all others.
LABELS, OTHER = 100, "_other"
_SIZES = (1, 5, 10, 25, 50, 100, 250, 500, 1000)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The five families of one hub."""

    def __init__(self) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry = CollectorRegistry()
        of = ["stream", "status"]
        self._published = Counter("mqhub_publish", "Calls that publish", of, registry=registry)
        self._duration = Histogram("mqhub_publish_duration_seconds", "How long they took", of, registry=registry)
        self._batch = Histogram("mqhub_batch_size", "Events of a batch", ["stream"], buckets=_SIZES, registry=registry)
        self._errors = Counter("mqhub_errors", "What went wrong", ["operation", "error_type"], registry=registry)
        self._redis = Gauge("mqhub_redis_connection_status", "1: Redis answers", registry=registry)
        self._labels: set[str] = set()
        #: By stream and status: finding them by labels takes longer than counting.
        self._of: dict[tuple[str, str], tuple[Counter, Histogram]] = {}

    def published(self, stream: str, status: str, seconds: float) -> None:
        """A call ended: success, error, or partial_error."""
        label = self._label(stream)
        count, duration = self._of.get((label, status)) or self._new(label, status)
        count.inc()
        duration.observe(seconds)

    def batch(self, stream: str, size: int) -> None:
        """A batch came."""
        self._batch.labels(self._label(stream)).observe(size)

    def error(self, operation: str, kind: str) -> None:
        """Something went wrong in `publish` or `publish_batch`: redis_error, batch_too_large, invalid, denied."""
        self._errors.labels(operation, kind).inc()

    def redis(self, up: bool) -> None:
        """Does Redis answer?"""
        self._redis.set(1 if up else 0)

    def text(self) -> bytes:
        """All of them as Prometheus reads them."""
        return generate_latest(self._registry)

    def _new(self, label: str, status: str) -> tuple[Counter, Histogram]:
        found = self._published.labels(label, status), self._duration.labels(label, status)
        self._of[label, status] = found
        return found

    def _label(self, stream: str) -> str:
        if stream in self._labels:
            return stream
        if len(self._labels) >= LABELS:
            return OTHER
        self._labels.add(stream)
        return stream
