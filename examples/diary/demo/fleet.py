"""The demo's processes: started together, watched, and ended together, whatever happens in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from examples.diary.demo.plan import ROOT
from streamtask.embedded.keeper import end_with_parent

_SCRIPT = Path(sys.executable).parent / "streamtask"
#: The command beside this interpreter; in a clone whose package is not installed, the module.
STREAMTASK = [str(_SCRIPT)] if _SCRIPT.exists() else [sys.executable, "-m", "streamtask"]
#: Seconds to end by themselves after SIGTERM.
GRACE = 15.0


class DemoFailed(Exception):
    """The demo did not do what it is there to show."""


class Fleet:
    """Child processes by name, each with its log file. Leaving the `with` block ends all of them."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder, self.environment = folder, environment
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.killed: set[str] = set()

    def start(self, name: str, arguments: Sequence[str]) -> None:
        """Run `streamtask <arguments>`; its output goes to `<name>.log`.

        A session of its own: Ctrl-C is ours to pass on, once.
        """
        with self.log(name).open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [*STREAMTASK, *arguments],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # By SIGKILL: when the demo is killed its victim may stand frozen, and hears nothing else.
                preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - no threads yet
            )

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def pid(self, name: str) -> int:
        return self.processes[name].pid

    def check(self) -> None:
        """Raise DemoFailed when a process has ended that should run."""
        for name, process in self.processes.items():
            if name not in self.killed and process.poll() is not None:
                raise DemoFailed(f"{name} ended by itself with {process.returncode}:\n{self._tail(name)}")

    def freeze(self, name: str) -> None:
        """Stop it where it stands, and return when it has."""
        self.processes[name].send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid(name), os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGCONT)

    def kill(self, name: str) -> None:
        """SIGKILL: no handler runs, nothing is given back."""
        self.killed.add(name)
        self.processes[name].kill()
        self.processes[name].wait()

    def stop(self) -> None:
        """End everything in good order (SIGTERM), by force where that takes too long; nothing is left afterwards."""
        try:
            for process in self.processes.values():
                if process.poll() is None:
                    process.send_signal(signal.SIGCONT)  # a frozen one would not hear
                    process.terminate()
            deadline = time.monotonic() + GRACE
            for process in self.processes.values():
                process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            pass  # the finally below is for it
        finally:
            for process in self.processes.values():
                if process.poll() is None:
                    process.kill()
                process.wait()

    def check_ends(self) -> None:
        """Raise DemoFailed unless every process that was not killed ended well."""
        for name, process in self.processes.items():
            if name not in self.killed and process.returncode != 0:
                raise DemoFailed(f"{name} ended with {process.returncode}:\n{self._tail(name)}")

    def _tail(self, name: str) -> str:
        lines = self.log(name).read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-15:]) + f"\n(all of it: {self.log(name)})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
