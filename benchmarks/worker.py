"""One streamtask worker with default settings on uvloop: `python -m benchmarks.worker quiet`."""

from __future__ import annotations

import asyncio
import signal
import sys

import uvloop

from benchmarks import tasks
from streamtask.worker import Worker, WorkerOptions


async def _serve(name: str) -> int:
    worker = Worker(getattr(tasks, name), WorkerOptions())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    return await worker.run()


if __name__ == "__main__":
    sys.exit(uvloop.run(_serve(sys.argv[1])))
