"""Load diaries: `python -m examples.diary.load file.jsonl`, one JSON object a line with user_id, date and content."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from examples.diary import store
from examples.diary.db import Database, database

#: The diaries that come with the example.
BUNDLED = Path(__file__).parent / "data" / "diaries.jsonl"


class LoadError(Exception):
    """There is nothing to load: no such file, or no diary in it."""


class Line(BaseModel):
    """One line of the file. Unknown keys are let through; wrong types are not."""

    model_config = ConfigDict(frozen=True)

    user_id: str = Field(min_length=1, max_length=64)
    date: dt.date
    content: str = Field(min_length=1)

    @field_validator("user_id", "content")
    @classmethod
    def _no_nul(cls, value: str) -> str:
        if "\x00" in value:  # SQLite's length() would stop there
            raise ValueError("holds a NUL character")
        return value

    @field_validator("date", mode="before")
    @classmethod
    def _plain_day(cls, value: object) -> object:
        """Only `2025-03-14`: pydantic would also take numbers and midnights as dates."""
        if isinstance(value, str) and len(value) == 10:
            return value
        raise ValueError("write it as YYYY-MM-DD")


@dataclass(slots=True)
class Loaded:
    """What became of the lines; `problems` names the bad and the repeated ones by number."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    bad: int = 0
    repeated: int = 0
    users: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    @property
    def entries(self) -> int:
        return self.added + self.changed + self.unchanged

    def __str__(self) -> str:
        return (
            f"{self.entries} diaries of {len(self.users)} users: {self.added} new, {self.changed} changed, "
            f"{self.unchanged} as before; {self.bad} bad and {self.repeated} repeated lines left out"
        )


def load(path: Path, into: Database, now: dt.datetime) -> Loaded:
    """Write the file's diaries in one transaction; every user is opted in to both summaries. Raises LoadError.

    A second line of the same user and day is left out: the first one stands. Loading a file again changes nothing.
    """
    result = Loaded()
    seen: dict[tuple[str, dt.date], int] = {}
    with into.writing() as session:
        for number, line in _lines(path, result):
            key = (line.user_id, line.date)
            if key in seen:
                result.repeated += 1
                result.problems.append(f"line {number}: repeats {line.user_id} {line.date} of line {seen[key]}")
                continue
            seen[key] = number
            if line.user_id not in result.users:
                store.opt_in(session, line.user_id)
                result.users.add(line.user_id)
            outcome = store.save_diary(session, line.user_id, line.date, line.content, now)
            setattr(result, outcome, getattr(result, outcome) + 1)
    if not result.entries:
        raise LoadError("\n".join([f"{path} holds no diary", *result.problems[:20]]))
    return result


def _lines(path: Path, result: Loaded) -> Iterator[tuple[int, Line]]:
    """The good lines with their numbers; the bad ones go into the result. Blank lines are none."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror}") from None
    if not data.strip():
        raise LoadError(f"{path} is empty")
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not raw.strip():
            continue
        try:
            yield number, Line.model_validate_json(raw)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            result.bad += 1
            result.problems.append(f"line {number}: {where + ': ' if where else ''}{first['msg']}")


def main(arguments: list[str]) -> int:
    """Load the named file, or the bundled one, into DIARY_DATABASE."""
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        print("usage: python -m examples.diary.load [FILE.jsonl]", file=sys.stderr)
        return 2
    path = Path(arguments[0]) if arguments else BUNDLED
    try:
        result = load(path, database(), dt.datetime.now(dt.UTC))
    except LoadError as error:
        print(f"load: {error}", file=sys.stderr)
        return 1
    for problem in result.problems:
        print(problem, file=sys.stderr)
    print(f"{database().path}: {result}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
