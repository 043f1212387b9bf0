"""A hub in a process of its own, what callers send it, and what Redis holds after that."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import httpx
import redis

from streamtask.embedded.keeper import end_with_parent
from tests.cli.kit import environment
from tests.support import eventually

MQHUB = "/services.mqhub.v1.MQHubService"
CALL = "/services.streamtask.v1.Hub/Call"


class Process:
    """A process of streamtask whose log is a file of JSON lines."""

    def __init__(self, log: Path, folder: Path, *args: str, **env: str) -> None:
        self.log = log
        with log.open("ab") as stream:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "streamtask", *args, "--log-format", "json"],
                cwd=folder,
                env=environment(**env),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - as in tests.servers
            )

    def events(self, name: str) -> list[dict[str, Any]]:
        """What it told under this name."""
        lines = [line for line in self.log.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        told = [json.loads(line) for line in lines if line.startswith(b"{")]
        return [one for one in told if one.get("event") == name]

    def wait_for(self, name: str) -> dict[str, Any]:
        """The first such event; AssertionError with the log when it ends before."""

        def told() -> list[dict[str, Any]]:
            found = self.events(name)
            if not found and self.popen.poll() is not None:
                raise RuntimeError(f"it ended with {self.popen.returncode}:\n{self.log.read_text(errors='replace')}")
            return found

        return eventually(told, 30)[0]

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.popen.terminate()
        return self.popen.wait(45)

    def close(self) -> None:
        """End it."""
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()


class Hub(Process):
    """A hub on a free port; `redis` looks into its Redis."""

    def __init__(self, folder: Path, url: str, *args: str, verify: Any = True, **env: str) -> None:
        super().__init__(folder / "hub.log", folder, "hub", "--url", url, "--port", "0", *args, **env)
        self.address: str = self.wait_for("hub.started")["address"]
        self.http = httpx.Client(base_url=self.address, timeout=30, verify=verify, trust_env=False)
        self.redis = redis.Redis.from_url(url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self.redis.close()
        self.close()

    def rpc(self, method: str, message: Any, **headers: str) -> httpx.Response:
        """Call a procedure of mq-hub in Connect's JSON."""
        path = method if method.startswith("/") else f"{MQHUB}/{method}"
        return self.http.post(path, json=message, headers=headers)

    def publish(self, stream: str = "alt:events:articles", **event: Any) -> httpx.Response:
        """Publish one event."""
        return self.rpc("Publish", {"stream": stream, "event": EVENT | event})


EVENT: dict[str, Any] = {"eventId": "e-1", "eventType": "ArticleCreated", "source": "alt-backend"}


def refused(answer: httpx.Response) -> tuple[int, str, str]:
    """Status, code and text of a refusal."""
    body = answer.json()
    return answer.status_code, body["code"], body["message"]
