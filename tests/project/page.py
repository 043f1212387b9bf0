"""A page of the docs as a program: `python -m tests.project.page README.md` runs its Python blocks in order.

The blocks of a page share one namespace and one event loop (`await` may stand at the top). A block whose first line is
a comment with a file's name, such as `# tasks.py`, is that file: it is written to the working directory and imported,
and its names are there for the blocks below. A block ```` ```python no-run ```` is only compiled.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import re
import sys
import textwrap
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>`{3,})(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)(?P=fence) *$",
    re.MULTILINE | re.DOTALL,
)
_FILE = re.compile(r"# (\w+\.py)\b")


@dataclass(frozen=True)
class Block:
    """A fenced block: the first word of its info string, the others, its text, and the line it starts on."""

    language: str
    options: tuple[str, ...]
    text: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a Markdown file, in order."""
    text = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        language, *options = match["info"].split() or [""]
        line = text.count("\n", 0, match.start("body")) + 1
        yield Block(language, tuple(options), textwrap.dedent(match["body"]), line)


def compiled(page: Path, block: Block) -> types.CodeType:
    """The block's code; a traceback shows the page and the line in it."""
    source = "\n" * (block.line - 1) + block.text
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code: types.CodeType = compile(source, str(page), "exec", flags=flags, dont_inherit=True)
    return code


def run(page: Path) -> int:
    """Run the page in the working directory; returns how many blocks ran."""
    module = types.ModuleType("page")
    sys.modules["page"] = module
    names: dict[str, Any] = module.__dict__
    ran = 0
    with asyncio.Runner() as runner:
        for block in blocks(page):
            if block.language != "python":
                continue
            code = compiled(page, block)
            if "no-run" in block.options:
                continue
            ran += 1
            if file := _FILE.match(block.text):
                Path(file[1]).write_text(block.text, encoding="utf-8")
                names |= vars(importlib.import_module(file[1].removesuffix(".py")))
            elif code.co_flags & inspect.CO_COROUTINE:
                runner.run(eval(code, names))
            else:
                exec(code, names)
    return ran


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    print(f"{run(Path(sys.argv[1]))} blocks ran")
