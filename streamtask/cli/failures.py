"""From an error to what the user sees: one line that says what to do, and the exit code."""

from __future__ import annotations

import click
from pydantic import ValidationError

from streamtask.errors import AppImportError, ConfigError, NoRedis, QueueFull, SendError, StreamTaskError, UnknownQueue

#: Exit codes; 5 to 7, 70 (streamtask.supervisor.restarts) and 130 are given by the commands themselves.
FAILED, USAGE, NO_REDIS, NO_APP, GAVE_BACK, UNFIT, DOUBTFUL, INTERRUPTED = 1, 2, 3, 4, 5, 6, 7, 130


_WAYS_OUT = "Start it, or give its address by --url or STREAMTASK_URL. `streamtask dev APP` brings a private one."


class Failure(click.ClickException):
    """Ends the command: `streamtask: <message>` on standard error."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click reads it from the instance

    def show(self, file: object = None) -> None:
        """Print it."""
        click.echo(f"streamtask: {self.message}", err=True)


def failure_of(error: Exception) -> Failure | None:
    """What an error is to the user; None for click's own, and for defects of ours, which show their traceback."""
    match error:
        case AppImportError():
            return Failure(str(error), NO_APP)
        case NoRedis():
            return Failure(str(error), NO_REDIS)
        case QueueFull():
            return Failure(str(error), FAILED)
        case SendError(errors=errors) if not errors:
            return Failure(f"{error}\n{_WAYS_OUT}", NO_REDIS)
        case ConfigError() | UnknownQueue():
            return Failure(str(error), USAGE)
        case ValidationError():
            return Failure(explain(error), USAGE)
        case StreamTaskError():
            return Failure(str(error), FAILED)
    if type(error).__module__.startswith("redis."):  # not imported for this: who has no client has no such error
        return Failure(f"Redis refused: {error}", FAILED)
    return None


def explain(error: ValidationError) -> str:
    """What is wrong with some input, in one line: `eta: give a time zone; count: must be positive`."""
    lines = []
    for problem in error.errors(include_url=False):
        where = ".".join(map(str, problem["loc"]))
        lines.append(f"{where}: {problem['msg']}" if where else problem["msg"])
    return "; ".join(lines)
