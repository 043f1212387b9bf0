"""Every example of README.md and docs/ runs, every command line in them exists."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner

from streamtask.cli import cli
from tests.project.page import blocks
from tests.servers import Server

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# What ends a command in a line of a shell.
ENDS = {"|", "||", "&", "&&", ";", ">", ">>", "<", "2>&1"}


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def commands(page: Path, program: str) -> list[tuple[str, ...]]:
    """What the page's console blocks run of a program: lines that start with `$ `, continued by a backslash."""
    lines = [
        line[2:]
        for block in blocks(page)
        if block.language in ("console", "sh", "bash", "shell")
        for line in block.text.replace("\\\n", " ").splitlines()
        if line.startswith("$ ")
    ]
    return [tuple(command[1:]) for line in lines if (command := words(line))[:1] == [program]]


def words(line: str) -> list[str]:
    """The words of a line's first command, without the variables set before it."""
    command: list[str] = []
    for word in shlex.split(line, comments=True):
        if word in ENDS:
            break
        if command or not re.match(r"[A-Z_][A-Z0-9_]*=", word):
            command.append(word)
    return command


@cache
def refusal(*command: str) -> str:
    """What a command prints when it fails, or nothing; each is tried once, however many pages show it. Ours is asked in
    this process: a hundred starts would take half a minute.
    """
    if command[0] == "streamtask":
        asked = CliRunner().invoke(cli, command[1:], prog_name="streamtask")
        return f"{shlex.join(command)}: {asked.output}" if asked.exit_code else ""
    done = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False
    )
    return f"{shlex.join(command)}: {done.stderr or done.stdout}" if done.returncode else ""


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_examples_of_a_page_run(page: Path, redis86: Server, tmp_path: Path) -> None:
    environment = {**os.environ, "STREAMTASK_URL": redis86.url, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.project.page", str(page)],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_commands_of_a_page_exist(page: Path) -> None:
    """With `--help` at its end click still refuses an option or command that is not there; `make -n` only prints."""
    refused = [refusal("streamtask", *words, "--help") for words in commands(page, "streamtask")]
    refused += [refusal("make", "-n", *words) for words in commands(page, "make")]
    assert [text for text in refused if text] == []


def test_the_first_page_shows_code_and_commands() -> None:
    assert any(block.language == "python" for block in blocks(PAGES[0]))
    assert commands(PAGES[0], "streamtask")
    assert ("demo",) in commands(PAGES[0], "make")


def test_a_broken_page_is_noticed(tmp_path: Path) -> None:
    """The runner itself: names go from block to block, await stands at the top, an error names the page's line."""
    page = tmp_path / "page.md"
    page.write_text(
        "# A page\n\n```python\n# mine.py\nvalue = 1\n```\n\n1. text\n   ```python\n   import asyncio\n"
        "   value = await asyncio.sleep(0, value + 1)\n   ```\n\n```python no-run\nnothing_of_this_name()\n```\n\n"
        "```python\nassert value == 3, value\n```\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "tests.project.page", str(page)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f'File "{page}", line 19' in done.stderr
    assert "AssertionError: 2" in done.stderr
    assert (tmp_path / "mine.py").read_text() == "# mine.py\nvalue = 1\n"
