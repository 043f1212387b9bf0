"""A child process of `streamtask worker`: `python -m streamtask.cli.child`. Nobody types this; the worker does."""

from __future__ import annotations

import signal
import socket
import sys

from streamtask.child import ChildProcess, Handover
from streamtask.cli.apps import load_app
from streamtask.cli.failures import NO_APP
from streamtask.embedded.keeper import end_with_parent
from streamtask.errors import StreamTaskError


def main(handover: Handover) -> int:
    """Import the app, and serve; the exit code."""
    with_parent = end_with_parent(signal.SIGKILL, handover.parent)
    if with_parent is not None:
        with_parent()
    connection = socket.socket(fileno=handover.fd)
    connection.set_inheritable(False)
    origin = handover.origin
    try:
        app = load_app(origin.path, origin.include).app
    except StreamTaskError as error:
        print(f"a child process cannot start: {error}", file=sys.stderr)
        return NO_APP
    if origin.url is not None:
        app.post.relocate(origin.url)
    if origin.namespace is not None:
        app.namespace = app.post.namespace = origin.namespace
    ChildProcess(app, connection, handover.level, handover.ceilings).serve()
    return 0


if __name__ == "__main__":
    handover = Handover.at_hand()
    if handover is None:
        sys.exit("this is started by `streamtask worker`; see `streamtask worker --help`, option --children")
    sys.exit(main(handover))
