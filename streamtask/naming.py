"""What a task is called: `module.function`, the same for who sends and who runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from streamtask.message import MAX_NAME


def task_name(fn: Callable[..., Any], given: str | None) -> str:
    """The registered name; raises TypeError where none can be told from the function."""
    if given is not None:
        if not given or len(given) > MAX_NAME or any(c.isspace() or not c.isprintable() for c in given):
            raise TypeError(f"{given!r} is no task name: 1 to {MAX_NAME} printable characters, no spaces")
        return given
    if "<" in fn.__qualname__:
        raise TypeError(f"{fn.__qualname__} has no name that a worker could import; write @app.task(name=...)")
    return f"{module_name(fn)}.{fn.__qualname__}"


def module_name(fn: Callable[..., Any]) -> str:
    """The module as a worker imports it; `python tasks.py` calls it `__main__`, the worker calls it `tasks`."""
    if fn.__module__ != "__main__":
        return fn.__module__
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name:
        name = str(spec.name)
        return name.removesuffix(".__main__")
    file: str | None = getattr(main, "__file__", None)
    if file is None or file.startswith("<"):  # `python -` calls its file <stdin>
        raise TypeError(f"{fn.__qualname__} is defined in a REPL or notebook; write @app.task(name=...)")
    path = os.path.splitext(os.path.realpath(file))[0]
    root = os.path.join(os.path.realpath(sys.path[0] if sys.path else "."), "")
    return path.removeprefix(root).replace(os.sep, ".") if path.startswith(root) else os.path.basename(path)


def place(fn: Callable[..., Any]) -> str:
    """Where a function stands, for error texts."""
    code = getattr(fn, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(fn)
