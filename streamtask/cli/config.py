"""`streamtask config`: the settings that hold here, and where each comes from."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from streamtask import heartbeat
from streamtask.address import locate, safe_url
from streamtask.app import StreamTask
from streamtask.cli.apps import load_app, pyproject_app
from streamtask.cli.command import Command, Root, globals_of
from streamtask.cli.options import Globals
from streamtask.cli.text import print_json, table
from streamtask.settings import Settings, load

_HELP = """Show the settings that hold in this folder and environment; passwords are hidden.

Order, the first that is given wins: the call, the task, the app's code, STREAMTASK_* in the environment,
[tool.streamtask] in pyproject.toml, the default. With -A the app is imported, and its code counts.
"""
_EXAMPLES = """
streamtask config --sources
streamtask -A shop.tasks config --format json
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One setting: its value as text, and who said so."""

    name: str
    value: str
    source: str
    about: str = ""


@click.command("config", cls=Command, help=_HELP, examples=_EXAMPLES)
@click.option("--sources", is_flag=True, help="Say where each value comes from, and what it means.")
@click.pass_context
def command(ctx: click.Context, sources: bool) -> None:
    """Collect and print."""
    options = globals_of(ctx)
    app = load_app(options.app).app if options.app and "app" in options.typed else None
    lines = [*_globals(options, app), *_settings(app), *_flags(ctx)]
    strange = list(_strange(ctx))
    if options.json:
        shown = {line.name: {"value": line.value, "source": line.source} for line in lines}
        print_json({"settings": shown, "unknown": strange})
        return
    if sources:
        rows = [[line.name, line.value, line.source, line.about] for line in lines]
        click.echo("\n".join(table(["SETTING", "VALUE", "FROM", "MEANING"], rows)))
    else:
        width = max(len(line.name) for line in lines)
        click.echo("\n".join(f"{line.name:<{width}}  {line.value}" for line in lines))
    for name in strange:
        click.echo(f"! {name}", err=True)


def _globals(options: Globals, app: StreamTask | None) -> Iterator[Line]:
    """Where Redis is, which app and namespace, how the log is written."""
    where = app.post.address if app is not None and not options.url else locate(options.url, load().url, os.environ)
    source = "--url" if options.url else "app code" if where.source == "the argument" else where.source
    yield Line("url", safe_url(where.url), source, "address of Redis")
    path, source = options.app, "--app" if "app" in options.typed else "STREAMTASK_APP"
    if path is None:
        path, source = pyproject_app(), "pyproject.toml"
    yield Line("app", path or "-", source if path else "default", "the app of commands that name none")
    if options.namespace:
        yield Line("namespace", options.namespace, "--namespace", "prefix of all keys")
    elif app is not None:
        yield Line("namespace", app.namespace, "app code", "prefix of all keys")
    else:
        chosen = os.environ.get("STREAMTASK_NAMESPACE")
        source = "STREAMTASK_NAMESPACE" if chosen else "default"
        yield Line(
            "namespace", chosen or "-", source, "prefix of all keys; else the app's name, or the only one there is"
        )
    for name, default in (("log_level", "info"), ("log_format", "text"), ("format", "text")):
        value = getattr(options, name)
        source = f"--{name.replace('_', '-')}" if name in options.typed else f"STREAMTASK_{name.upper()}"
        yield Line(
            name, value or default, source if value else "default", "of worker, beat and dev" if "log" in name else ""
        )


def _settings(app: StreamTask | None) -> Iterator[Line]:
    """The settings of an app."""
    settings = app.post.settings if app is not None else load()
    table = _pyproject()
    plain = load()
    for name, field in Settings.model_fields.items():
        if name == "url":
            continue
        value = getattr(settings, name)
        variable = f"STREAMTASK_{name.upper()}"
        if app is not None and value != getattr(plain, name):
            source = "app code"
        elif variable in {key.upper() for key in os.environ}:
            source = variable
        elif name in table:
            source = "pyproject.toml"
        else:
            source = "default"
        yield Line(name, "-" if value is None else str(value), source, field.description or "")


def _flags(ctx: click.Context) -> Iterator[Line]:
    """Options of commands that the environment sets."""
    for variable, name in _variables(ctx).items():
        if variable in os.environ and " " in name:  # those of streamtask itself stand further up
            yield Line(name, os.environ[variable], variable, "an option")


def _strange(ctx: click.Context) -> Iterator[str]:
    """Variables that look like ours and that nothing reads: typos, as a rule."""
    known = {f"STREAMTASK_{name.upper()}" for name in Settings.model_fields} | set(_variables(ctx))
    known |= {"STREAMTASK_APP", "STREAMTASK_URL", "STREAMTASK_NAMESPACE", heartbeat.FOLDER}
    for name in sorted(os.environ):
        if name.startswith("STREAMTASK_") and name not in known:
            near = difflib.get_close_matches(name, known, 1)
            yield f"{name} is set, and nothing reads it{f'; did you mean {near[0]}?' if near else ''}"


def _variables(ctx: click.Context) -> dict[str, str]:
    """The variable of each option of each command, and how the option is called."""
    root = ctx.find_root()
    assert isinstance(root.command, Root)
    found = {f"STREAMTASK_{_upper(param)}": param.opts[-1] for param in root.command.params}
    for name in root.command.list_commands(root):
        loaded = root.command.get_command(root, name)
        if loaded is not None:
            found |= _of(loaded, f"STREAMTASK_{name.upper()}", name)
    return found


def _of(loaded: click.Command, prefix: str, label: str) -> dict[str, str]:
    options = [param for param in loaded.params if isinstance(param, click.Option)]
    own = {str(p.envvar or f"{prefix}_{_upper(p)}"): f"{label} {p.opts[-1]}" for p in options}
    if isinstance(loaded, click.Group):
        for name, child in loaded.commands.items():
            own |= _of(child, f"{prefix}_{name.upper()}", f"{label} {name}")
    return own


def _upper(param: click.Parameter) -> str:
    return (param.name or "").upper()


def _pyproject() -> dict[str, Any]:
    path = Path("pyproject.toml")
    found: dict[str, Any] = (
        tomllib.loads(path.read_text()).get("tool", {}).get("streamtask", {}) if path.exists() else {}
    )
    return found
