"""`streamtask dev`: a private Redis, a worker and a beat in one terminal, started again when the code changes."""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from streamtask._version import __version__
from streamtask.address import safe_url
from streamtask.cli.apps import app_path
from streamtask.cli.command import Command, globals_of
from streamtask.cli.failures import FAILED, INTERRUPTED, NO_APP, USAGE, Failure
from streamtask.cli.options import Globals
from streamtask.embedded import ensure, folder_of
from streamtask.embedded.keeper import end_with_parent
from streamtask.errors import ConfigError

_HELP = """Run APP with a private Redis (a real server in .streamtask of this project), a worker and a beat.

The worker starts again when a Python file below this folder changes. Other terminals reach the same server by the URL
that is printed. Tasks that wait stay there until the next time.
"""
_EXAMPLES = """
streamtask dev tasks.py
streamtask dev shop.tasks:app --no-reload
streamtask dev shop.tasks --url embedded:///tmp/playground
"""
#: Seconds between two looks, and that running tasks are given when the code has changed.
LOOK, GRACE = 0.2, 5.0
#: Seconds to wait before a crashed worker is started again: the first time, and at most.
PAUSE, LONGEST_PAUSE = 1.0, 15.0
#: Exit codes of a worker that only a change of the code can mend.
MENDABLE = (FAILED, USAGE, NO_APP)


@click.command("dev", cls=Command, help=_HELP, examples=_EXAMPLES)
@click.argument("path", metavar="[APP]", required=False)
@click.option(
    "--reload/--no-reload", default=None, help="Start again when code changes.  [default: if watchfiles is there]"
)
@click.pass_context
def command(ctx: click.Context, path: str | None, reload: bool | None) -> None:
    """Start everything, and watch over it."""
    options = globals_of(ctx)
    app = app_path(path, options.app)
    watching = watches(reload)
    url = options.url or "embedded://"
    if url.startswith("embedded://"):
        url = f"embedded://{folder_of(url)}"
        server = ensure(url)
    else:
        server = url
    click.echo(f"streamtask {__version__}  dev {app}    (Ctrl-C to stop)", err=True)
    click.echo(f"  redis     {safe_url(server)}", err=True)
    click.echo(f"  elsewhere export STREAMTASK_URL={safe_url(url)}", err=True)
    click.echo(f"  reload    {f'on changes below {Path.cwd()}' if watching else 'off'}", err=True)
    # STREAMTASK_WORKER_URL is `worker --url`, which beats the app's code; an address may hold a password, so it is no
    # argument: these are for everybody to see.
    addresses = {"STREAMTASK_URL": url, "STREAMTASK_WORKER_URL": url}
    child = Child([*worker_command(app, options)], os.environ | addresses)
    ctx.exit(Watch(child, watching).run())


def watches(reload: bool | None) -> bool:
    """Whether to watch files; Failure when that was asked for and cannot be."""
    there = importlib.util.find_spec("watchfiles") is not None
    if reload and not there:
        raise Failure("--reload needs watchfiles: pip install 'streamtask[embedded]'")
    return there if reload is None else reload


def worker_command(app: str, options: Globals) -> list[str]:
    """The child's command line; what is said here is said by flags, which beat the app's code."""
    command = [sys.executable, "-m", "streamtask", "worker", app, "--beat", "--grace", f"{GRACE:g}s"]
    for flag, value in (
        ("--namespace", options.namespace),
        ("--log-level", options.log_level),
        ("--log-format", options.log_format),
    ):
        command += [flag, value] if value else []
    return [*command, "--no-color"] if options.no_color else command


class Child:
    """The worker's process. It is in a group of its own: Ctrl-C is this process's to pass on, once."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._command, self._environment = command, environment
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it ends with this process, also when this one is killed (Linux)."""
        self.process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            process_group=0,
            preexec_fn=end_with_parent(),  # noqa: PLW1509 - one thread here; watchfiles' own holds no lock of Python's
        )

    def signal(self, number: int) -> None:
        """Pass a signal on."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def exit_code(self) -> int | None:
        """None while it runs."""
        return None if self.process is None else self.process.poll()

    def stop(self) -> int:
        """Ask it to end, and wait until it has."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def forget(self) -> None:
        """It has ended, and what it ended with was told."""
        self.process = None

    def wait(self) -> int:
        """Wait until it has ended; a second Ctrl-C is passed on by the signal handler meanwhile."""
        return 0 if self.process is None else self.process.wait()


class Watch:
    """Keeps the worker running until Ctrl-C. `run()` returns this command's exit code."""

    def __init__(self, child: Child, watching: bool) -> None:
        self.child, self.watching = child, watching
        self._asked = False
        self._pause, self._started = PAUSE, 0.0

    def run(self) -> int:
        """Start the worker, and look after it every LOOK seconds."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        self._start()
        for changed in looks(self.watching, lambda: self._asked):
            if self._asked:
                break
            if changed:
                self._changed(changed)
                continue
            code = self._ended(self.child.exit_code())
            if code is not None:
                return code
        return INTERRUPTED if self.child.wait() == INTERRUPTED else 0

    def _stop(self, number: int, _: object) -> None:
        self._asked = True
        self.child.signal(number)

    def _start(self) -> None:
        if not self._asked:
            self.child.start()
            self._started = time.monotonic()

    def _changed(self, files: list[str]) -> None:
        click.echo(f"changed: {', '.join(files)}; starting again", err=True)
        self.child.stop()
        self._pause = PAUSE
        self._start()

    def _ended(self, code: int | None) -> int | None:
        """Start it again if it ended by itself; the exit code when that makes no sense."""
        if code is None:
            return None
        if code in MENDABLE:
            if not self.watching:
                return code
            click.echo("waiting for a change", err=True)
            self.child.forget()
            return None
        if time.monotonic() - self._started > LONGEST_PAUSE:
            self._pause = PAUSE
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        click.echo(f"the worker ended by itself ({how}); starting it again in {self._pause:g} s", err=True)
        until = time.monotonic() + self._pause
        while time.monotonic() < until and not self._asked:
            time.sleep(LOOK)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        self._start()
        return None


def looks(watching: bool, stop: Callable[[], bool]) -> Iterator[list[str]]:
    """Every LOOK seconds: the files that changed since the last time."""
    if not watching:
        while not stop():
            time.sleep(LOOK)
            yield []
        return
    watchfiles = importlib.import_module("watchfiles")  # an extra
    try:
        for changes in watchfiles.watch(
            Path.cwd(),
            watch_filter=watchfiles.PythonFilter(),
            rust_timeout=int(LOOK * 1000),
            yield_on_timeout=True,
            raise_interrupt=False,
        ):
            yield sorted({os.path.relpath(name) for _, name in changes})
            if stop():
                return
    except OSError as error:
        raise ConfigError(f"cannot watch {Path.cwd()}: {error}; try --no-reload") from None
