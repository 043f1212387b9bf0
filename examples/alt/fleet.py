"""The processes of the demo and of the migration: a private Redis, the hub, and services, all in one folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from examples.alt.service import NAMESPACE
from examples.diary.demo.fleet import STREAMTASK, DemoFailed, Fleet
from examples.diary.demo.plan import ROOT
from streamtask.embedded import ensure

__all__ = ["ROOT", "STREAMTASK", "Alt", "DemoFailed", "new_folder"]

SERVICES = ("pre_processor", "search_indexer", "tag_generator")
#: Seconds: a dead worker's events move after LEASE; a payload that nobody can read is a dead letter after GRACE.
LEASE, GRACE = 3, 1
#: What a user's own settings must not change here.
_OURS = ("STREAMTASK_", "REDIS_", "ALT_", "MQHUB_", "CONSUMER_", "TAGS_CONSUMER_", "CONNECT_", "STREAM_", "MAX_BATCH_")
_ALSO_OURS = frozenset({"APP_ENV", "LOG_LEVEL", "OTEL_EXPORTER_OTLP_ENDPOINT"})


def new_folder(name: str, now: datetime) -> Path:
    """A fresh folder for this run's Redis, database and logs."""
    folder = ROOT / ".streamtask" / name / f"{now:%Y%m%d-%H%M%S}-{os.getpid()}"
    folder.mkdir(parents=True)
    return folder


@dataclass(frozen=True, slots=True)
class Group:
    """How a group on a topic stands, in events."""

    topic: str
    group: str
    lag: int  # not read yet
    pending: int  # in a worker's hands
    retrying: int  # in the group's own queue: waiting, running, or due later
    dead: int

    @property
    def behind(self) -> int:
        """What it has not done with."""
        return self.lag + self.pending + self.retrying


class Alt(Fleet):
    """The example as processes. Leaving the `with` block ends all of them."""

    def __init__(self, folder: Path, given: Mapping[str, str], delay: float = 0.0) -> None:
        kept = {name: value for name, value in given.items() if not name.startswith(_OURS) and name not in _ALSO_OURS}
        self.url = f"embedded://{quote(str(folder / 'redis'))}"
        self.database = folder / "alt.sqlite3"
        ours = {
            "STREAMTASK_URL": self.url,
            "STREAMTASK_UNKNOWN_GRACE": f"{GRACE}s",
            "STREAMTASK_WORKER_LEASE": f"{LEASE}s",
            "ALT_DATABASE": str(self.database),
            "ALT_SIMULATED_DELAY": f"{delay * 1000:.0f}ms",
            "CONSUMER_ENABLED": "true",
        }
        super().__init__(folder, kept | ours)
        self.redis = ensure(self.url)  # as one of its users: the server lives as long as this process
        self.hub_url = ""

    def start_hub(self, name: str = "hub", port: int = 0) -> None:
        """Start the hub and wait until it says where it listens (on a free port, unless one is given)."""
        self.start(name, ("hub", "--namespace", NAMESPACE, "--port", str(port)))

        def address() -> str:
            said = self.log(name).read_text(encoding="utf-8", errors="replace")
            found = re.search(r"address\s+(http://\S+)", said)
            return found[1] if found and " ready in " in said else ""

        self.hub_url = self.wait(address, 30, "the hub does not say that it is ready")

    def serve(self, service: str, name: str = "") -> None:
        """Start the worker of a service."""
        self.start(name or service, ("worker", f"examples/alt/{service}.py"))

    def wait(self, fact: Callable[[], Any], seconds: float, otherwise: str) -> Any:
        """Look for the fact until it is there, and return it; DemoFailed when a process ends or the time is over."""
        deadline = time.monotonic() + seconds
        while True:
            found = fact()
            if found:
                return found
            self.check()
            if time.monotonic() > deadline:
                raise DemoFailed(f"{otherwise} after {seconds:.0f} s; see {self.folder}/*.log")
            time.sleep(0.05)

    def backend(self, **changes: str) -> dict[str, str]:
        """The environment of a backend that publishes to this hub."""
        return {**self.environment, "MQHUB_ENABLED": "true", "MQHUB_CONNECT_URL": self.hub_url, **changes}

    def ask(self, *arguments: str) -> dict[str, Any]:
        """What a command of `streamtask` says, asked as a user would."""
        command = [*STREAMTASK, *arguments, "--namespace", NAMESPACE, "--format", "json"]
        asked = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        if asked.returncode != 0:
            raise DemoFailed(f"streamtask {' '.join(arguments)} ended with {asked.returncode}: {asked.stderr.strip()}")
        answer: dict[str, Any] = json.loads(asked.stdout)
        return answer

    def groups(self) -> list[Group]:
        """How each group on each topic stands."""
        return [
            Group(
                topic=topic["name"],
                group=group["name"],
                lag=group["lag"],
                pending=group["pending"],
                retrying=group["waiting"] + group["running"] + group["due"],
                dead=group["dead"],
            )
            for topic in self.ask("topics", "list")["topics"]
            for group in topic["groups"]
        ]

    def quiet(self, seconds: float) -> None:
        """Wait until no group is behind, at two looks: between two topics an event may have led to another one."""
        looks = [True, True]

        def twice() -> bool:
            looks[:] = [looks[1], any(group.behind for group in self.groups())]
            return not any(looks)

        self.wait(twice, seconds, "events still wait")
