"""Mutants: one rule of the code broken on purpose, the tests that must notice, and a copy of the tree to run in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: The environment variable by which `witness` knows the tree that must be imported.
TREE = "STREAMTASK_TEST_TREE"
#: pytest's exit code when tests failed; any other one proves nothing.
FAILED = 1
#: Seconds for one test, and for one run: a mutant may hang.
A_TEST, A_RUN = 40, 600


@dataclass(frozen=True)
class Mutant:
    """`old` stands exactly once in `file` (under streamtask/); with `new` in its place `rule` is broken, and at least
    one of `tests` must fail.
    """

    file: str
    rule: str
    old: str
    new: str
    tests: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.file.removesuffix('/__init__.py').rpartition('/')[2]}: {self.rule}"

    @property
    def path(self) -> Path:
        """The file that is broken."""
        return ROOT / "streamtask" / self.file

    def text(self) -> str:
        """The file's text with the rule broken."""
        return self.path.read_text().replace(self.old, self.new)


def mutants(file: str, tests: str, *rows: tuple[str, ...]) -> list[Mutant]:
    """Rows of rule, old text, new text, names of tests; a name without a path stands in the file `tests`."""

    def path(name: str) -> str:
        return f"tests/{name}" if ".py::" in name else f"tests/{tests}::{name}"

    return [Mutant(file, rule, old, new, tuple(map(path, names))) for rule, old, new, *names in rows]


def plant(folder: Path, mutant: Mutant | None = None) -> Path:
    """Lay out the tree in a folder: the package as a copy, with the mutant in it, all the rest as links."""
    for entry in ROOT.iterdir():
        if entry.name != "streamtask":
            (folder / entry.name).symlink_to(entry)
    shutil.copytree(ROOT / "streamtask", folder / "streamtask", ignore=shutil.ignore_patterns("__pycache__"))
    if mutant is not None:
        (folder / "streamtask" / mutant.file).write_text(mutant.text())
    return folder


def environment(tree: Path) -> dict[str, str]:
    """What every process of a run gets: PYTHONPATH comes before the place where the package is installed from."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return {**kept, "PYTHONPATH": str(tree), TREE: str(tree), "STREAMTASK_TEST_REQUIRE_SERVERS": "1"}


def run(tree: Path, *arguments: str) -> tuple[int, str]:
    """Run pytest in a tree; gives its exit code and what it printed."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=short", "-p", "no:cacheprovider"]
    ended = subprocess.run(
        [*command, "-p", "tests.mutants.witness", f"--timeout={A_TEST}", *arguments],
        cwd=tree,
        env=environment(tree),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=A_RUN,
        check=False,
    )
    return ended.returncode, ended.stdout
