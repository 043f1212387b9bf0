"""A worker beside a page of the docs: `work(app)` in a hidden block, so that the results a page shows are real."""

from __future__ import annotations

import asyncio
import threading

from streamtask import StreamTask
from streamtask.worker import Worker, WorkerOptions


def work(app: StreamTask, options: WorkerOptions | None = None) -> None:
    """Serve the app in a thread until the process ends."""
    worker = Worker(app, options or WorkerOptions())
    threading.Thread(target=lambda: asyncio.run(worker.run()), name="worker-beside", daemon=True).start()
