"""From the app path a user types to the app: `pkg.mod:app`, `pkg.mod`, `pkg.mod:create_app()`, `path/file.py[:app]`."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import tomllib
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import click

import streamtask
from streamtask.app import StreamTask
from streamtask.errors import AppImportError, ConfigError

#: Beginnings of the file names of frames that tell a user nothing.
_NOT_THE_USERS = (str(Path(streamtask.__file__).parent) + os.sep, importlib.__file__, "<frozen importlib")


@dataclass(frozen=True, slots=True)
class Loaded:
    """An app, the path that named it, and the modules that were imported for it."""

    app: StreamTask
    path: str
    modules: tuple[str, ...]


def app_path(argument: str | None, option: str | None) -> str:
    """The app path: the argument, `--app` or STREAMTASK_APP, or pyproject.toml; UsageError when nothing names one."""
    path = argument or option or pyproject_app()
    if not path:
        raise click.UsageError(
            "which app? Give it as an argument (pkg.module:app or tasks.py), by -A, in STREAMTASK_APP, "
            'or as app = "pkg.module:app" under [tool.streamtask] in pyproject.toml'
        )
    return path


def pyproject_app() -> str | None:
    """`app` of [tool.streamtask] in this folder's pyproject.toml."""
    try:
        table = tomllib.loads(Path("pyproject.toml").read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"pyproject.toml cannot be read: {error}") from None
    found = table.get("tool", {}).get("streamtask", {}).get("app")
    if found is not None and not isinstance(found, str):
        raise ConfigError(f'[tool.streamtask] app is {found!r}; write app = "pkg.module:app"')
    return found


def load_app(path: str, include: tuple[str, ...] = ()) -> Loaded:
    """Import the app, its `include` modules and those named here; AppImportError with the user's own traceback."""
    _put_first(Path.cwd())
    module_name, file, attribute = _split(path)
    module = _import_file(file) if file else _import(module_name)
    app = _find(module, attribute, path)
    more = [_import(name).__name__ for name in dict.fromkeys((*app.include, *include))]
    return Loaded(app, path, (module.__name__, *more))


def need_tasks(loaded: Loaded) -> None:
    """Raise AppImportError when no task is registered: then a worker would be idle for ever."""
    if not loaded.app.tasks and not loaded.app.subscriptions:
        raise AppImportError(
            f"the app {loaded.app.name!r} has no tasks and no event handlers. Imported: "
            f"{', '.join(loaded.modules)}. Import the modules with "
            f"your tasks there, name them in StreamTask(include=[...]), or by --include"
        )


def _split(path: str) -> tuple[str, Path | None, str]:
    """Module name, file, attribute; one of the first two is empty."""
    head, dot_py, tail = path.rpartition(".py")
    if dot_py and (not tail or tail.startswith(":")):
        return "", Path(head + dot_py), tail[1:]
    module, _, attribute = path.partition(":")
    if os.sep in module:
        raise AppImportError(f"{path!r} is no app path; write pkg.module:app, or a file that ends with .py")
    return module, None, attribute


def _import_file(file: Path) -> ModuleType:
    """Import a file under the name that `import` would give it, so that its tasks are called the same everywhere."""
    file = file.resolve()
    if not file.is_file():
        raise AppImportError(f"there is no file {file}")
    root = file.parent
    while (root / "__init__.py").exists():
        root = root.parent
    _put_first(root)
    parts = file.relative_to(root).with_suffix("").parts
    module = _import(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    if Path(module.__file__ or "").resolve() != file:
        other = f"another module called {module.__name__} ({module.__file__})"
        raise AppImportError(f"{file} is hidden by {other}; rename it")
    return module


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):  # it is the path that is wrong
            raise AppImportError(_not_found(name, error.name)) from None
        raise AppImportError(_users_fault(name, error)) from None
    except ImportError as error:
        raise AppImportError(_users_fault(name, error)) from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever the user's module raises, SystemExit too
        raise AppImportError(_users_fault(name, error)) from None


def _not_found(name: str, missing: str) -> str:
    parent, _, last = missing.rpartition(".")
    folders = list(getattr(sys.modules.get(parent), "__path__", [])) if parent else [str(Path.cwd())]
    names = {p.stem for folder in folders for p in Path(folder).glob("*.py")}
    names |= {p.parent.name for folder in folders for p in Path(folder).glob("*/__init__.py")}
    near = difflib.get_close_matches(last, names, 1)
    hint = f"; did you mean {'.'.join(filter(None, (parent, near[0])))!r}?" if near else ""
    where = f"in the package {parent}" if parent else f"in {Path.cwd()} or among what is installed"
    return f"cannot import {name!r}: there is no module {missing!r} {where}{hint}"


def _users_fault(name: str, error: BaseException) -> str:
    """A module's error with the traceback of its own frames: ours and the import system's tell the user nothing."""
    seen = traceback.TracebackException.from_exception(error)
    _strip(seen)
    return f"the import of {name!r} failed:\n{''.join(seen.format()).rstrip()}"


def _strip(seen: traceback.TracebackException | None) -> None:
    if seen is None:
        return
    kept = [frame for frame in seen.stack if not frame.filename.startswith(_NOT_THE_USERS)]
    seen.stack = traceback.StackSummary.from_list(kept)
    for other in (seen.__cause__, seen.__context__, *(seen.exceptions or ())):
        _strip(other)


def _find(module: ModuleType, attribute: str, path: str) -> StreamTask:
    if not attribute:
        return _only_app(module, path)
    factory = attribute.endswith("()")
    found: Any = module
    for part in attribute.removesuffix("()").split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, vars(found), 1) if hasattr(found, "__dict__") else []
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise AppImportError(f"{module.__name__} has no {attribute!r}{hint}")
        found = getattr(found, part)
    if factory:
        try:
            found = found()
        except Exception as error:  # noqa: BLE001 - whatever the user's factory raises
            raise AppImportError(_users_fault(f"{module.__name__}:{attribute}", error)) from None
    if isinstance(found, StreamTask):
        return found
    hint = f"; is it a factory? Write {path}()" if callable(found) and not factory else ""
    raise AppImportError(f"{path} is a {type(found).__name__}, not a StreamTask{hint}")


def _only_app(module: ModuleType, path: str) -> StreamTask:
    apps = {name: value for name, value in vars(module).items() if isinstance(value, StreamTask)}
    if len({id(app) for app in apps.values()}) == 1:
        return next(iter(apps.values()))
    if "app" in apps:
        return apps["app"]
    if apps:
        raise AppImportError(f"{path} has several apps; say which: {' or '.join(f'{path}:{name}' for name in apps)}")
    raise AppImportError(f"{path} has no StreamTask; write {path}:name, or {path}:create_app() for a factory")


def _put_first(folder: Path) -> None:
    """The folder goes first on sys.path, as `python -m` does; console scripts do not."""
    text = str(folder)
    if sys.path[:1] != [text]:
        sys.path.insert(0, text)
