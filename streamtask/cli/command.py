"""Our kind of click command: global options before and after it, examples in its help, one line for an error."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import click

from streamtask.cli.failures import failure_of
from streamtask.cli.options import Globals, global_options

C = TypeVar("C", bound=click.Command)
#: When this command began, as time.monotonic() says it.
BEGAN = time.monotonic()
#: Columns of help text at most.
WIDTH = 120


class Command(click.Command):
    """A command that takes the global options too. `examples` and the sections `more` are printed as they stand."""

    def __init__(self, *args: Any, examples: str = "", more: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        kwargs["context_settings"] = {"max_content_width": WIDTH} | (kwargs.get("context_settings") or {})
        super().__init__(*args, **kwargs)
        self.examples, self.more = examples, more or {}
        self.global_params = global_options(root=isinstance(self, Root))
        self.params.extend(self.global_params)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Own options first; the global ones in full for `streamtask` itself, by name elsewhere."""
        records = [(param, param.get_help_record(ctx)) for param in self.get_params(ctx)]
        own = [record for param, record in records if record and param not in self.global_params]
        common = [record for param, record in records if record and param in self.global_params]
        if own:
            with formatter.section("Options"):
                formatter.write_dl(own)
        with formatter.section("Global options (before or after the command)"):
            if ctx.parent is None:
                formatter.write_dl(common)
            else:
                formatter.write_text(" ".join(name.split(", ")[-1].split()[0] for name, _ in common))
                formatter.write_text("See: streamtask --help")

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples and the other sections, line by line."""
        for title, text in {"Examples": self.examples, **self.more}.items():
            if text:
                formatter.write_paragraph()
                formatter.write_heading(title)
                for line in text.strip("\n").splitlines():
                    formatter.write(f"  {line}\n")

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; errors that the user can mend become one line and an exit code."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            failure = failure_of(error)
            if failure is None:
                raise
            raise failure from None


class Group(Command, click.Group):
    """A group of our commands."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.command_class = Command

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Options, then the commands."""
        Command.format_options(self, ctx, formatter)
        self.format_commands(ctx, formatter)


@dataclass(frozen=True, slots=True)
class Entry:
    """A command that is loaded when asked for: the attribute `command` of a module, its short help, its section."""

    module: str
    help: str
    section: str


class Root(Group):
    """The command `streamtask`: its commands are named here and loaded one at a time."""

    def __init__(self, *args: Any, entries: Mapping[str, Entry], **kwargs: Any) -> None:
        kwargs["context_settings"] = {"auto_envvar_prefix": "STREAMTASK", "help_option_names": ["-h", "--help"]}
        super().__init__(*args, **kwargs)
        self.entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, without loading anything."""
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command."""
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        return cast("click.Command", importlib.import_module(entry.module).command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by section, without loading them."""
        for section in dict.fromkeys(entry.section for entry in self.entries.values()):
            with formatter.section(section):
                formatter.write_dl([(name, e.help) for name, e in self.entries.items() if e.section == section])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; Ctrl-C ends it with 130, as a shell expects."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo(err=True)
            ctx.exit(130)


def command(name: str, **kwargs: Any) -> Callable[[Callable[..., Any]], Command]:
    """Decorator: make a function one of our commands."""
    return click.command(name, cls=Command, **kwargs)


def globals_of(ctx: click.Context) -> Globals:
    """The global options as they were given, before or after the command."""
    return ctx.ensure_object(Globals)
