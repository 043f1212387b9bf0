"""Bearer tokens: a file says who they belong to and what they may do; it holds their hashes only.

A line of the file is `NAME sha256:HEX SCOPE...`, where a scope is `stream:GLOB` or `task:GLOB`; `#` begins a comment.
A token is 256 random bits, which nobody finds by trying: a slow hash would protect nothing, and let anyone who sends
wrong tokens keep the hub busy.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from streamtask.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_HASH = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and the names of the streams and tasks that are theirs, as globs."""

    name: str
    streams: tuple[str, ...] = ("*",)
    tasks: tuple[str, ...] = ("*",)

    def may_stream(self, stream: str) -> bool:
        """May they write and look at this stream?"""
        return any(fnmatchcase(stream, glob) for glob in self.streams)

    def may_task(self, task: str) -> bool:
        """May they send this task?"""
        return any(fnmatchcase(task, glob) for glob in self.tasks)


class Tokens:
    """The tokens of a file, which is read again by `load`; raises ConfigError that names the line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._callers: list[tuple[bytes, Caller]] = []
        self.load()

    def __len__(self) -> int:
        return len(self._callers)

    def load(self) -> None:
        """Read the file; what was known stays when it cannot be used."""
        try:
            lines = self._path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the token file {str(self._path)!r} cannot be read: {error}") from None
        found = []
        for number, line in enumerate(lines, 1):
            words = line.partition("#")[0].split()
            if words:
                found.append(self._parse(words, number))
        if not found:
            raise ConfigError(f"the token file {str(self._path)!r} holds no token: make one by `streamtask hub token`")
        names = [caller.name for _, caller in found]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"{self._path}: two tokens are called {name!r}; the log could not tell them apart")
        self._callers = found

    def find(self, token: str) -> Caller | None:
        """Whose token is it? All are compared, so that the time taken tells nothing."""
        digest = hashlib.sha256(token.encode()).digest()
        found = None
        for known, caller in self._callers:
            if hmac.compare_digest(known, digest):
                found = caller
        return found

    def _parse(self, words: Sequence[str], number: int) -> tuple[bytes, Caller]:
        where = f"{self._path}, line {number}"
        name, *rest = words
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{where}: {name!r} is no name: use 1 to 64 of A-Z a-z 0-9 . _ @ -")
        digest = _HASH.fullmatch(rest[0]) if rest else None
        if digest is None:
            raise ConfigError(
                f"{where}: after the name comes sha256: and 64 hex digits, as `streamtask hub token` says"
            )
        globs: dict[str, list[str]] = {"stream": [], "task": []}
        for scope in rest[1:]:
            kind, _, glob = scope.partition(":")
            if kind not in globs or not glob:
                raise ConfigError(f"{where}: {scope!r} is no scope: write stream:GLOB or task:GLOB")
            globs[kind].append(glob)
        return bytes.fromhex(digest[1]), Caller(name, tuple(globs["stream"]), tuple(globs["task"]))


def make() -> str:
    """A new token."""
    return f"sth_{secrets.token_urlsafe(32)}"


def line_of(name: str, token: str, streams: Sequence[str], tasks: Sequence[str]) -> str:
    """The line of the file for a token; ConfigError for what the file could not hold."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no name: use 1 to 64 of A-Z a-z 0-9 . _ @ -")
    scopes = [*(f"stream:{glob}" for glob in streams), *(f"task:{glob}" for glob in tasks)]
    for scope in scopes:
        if any(c.isspace() or c == "#" for c in scope) or scope.endswith(":"):
            raise ConfigError(f"{scope!r} is no scope: no spaces and no #, and at least one character")
    return " ".join([name, f"sha256:{hashlib.sha256(token.encode()).hexdigest()}", *scopes])
