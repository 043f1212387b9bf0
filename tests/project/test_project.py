"""What the repository promises around the code: Makefile, package, files that are committed."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# In pieces, so that this file does not name them either.
REGISTRIES = [
    *(("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"), ("yarnpkg", "com")),
    *(("deb", "debian", "org"), ("security", "debian", "org"), ("archive", "ubuntu", "com")),
    *(("docker", "io"), ("ghcr", "io"), ("quay", "io"), ("crates", "io"), ("proxy", "golang", "org")),
]


def make(*words: str) -> str:
    done = subprocess.run(["make", *words], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout


def committed() -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


def test_make_help_explains_every_target() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    phony = set(re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split())  # type: ignore[index]
    explained = dict(re.findall(r"^make (\S+) +(\S.*)$", make("help"), re.MULTILINE))
    assert targets == phony == set(explained)
    assert {"demo", "test", "test-long", "lint", "bench", "help", "clean"} <= targets
    assert make() == make("help"), "plain `make` says what there is"


@pytest.mark.parametrize("target", ["demo", "bench"])
def test_what_make_runs_is_there(target: str) -> None:
    module = re.search(r"python -m (\S+)$", make("-n", target), re.MULTILINE)[1]  # type: ignore[index]
    spec = find_spec(module)
    assert spec, module
    assert spec.submodule_search_locations is None or find_spec(f"{module}.__main__"), module


def test_a_python_that_cannot_make_an_environment_is_told_by_name(tmp_path: Path) -> None:
    """Debian without python3-venv: `import ensurepip` fails. The answer names the package."""
    python = tmp_path / "python3"
    python.write_text(
        f'#!/bin/sh\ncase "$*" in *ensurepip*) exit 1;; *version_info*) exec {sys.executable} "$@";; esac\nexit 1\n'
    )
    python.chmod(0o755)
    done = subprocess.run(
        ["make", "-C", str(ROOT), "lint", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "apt-get install python3-venv" in done.stderr


def test_an_old_python_is_told_by_version(tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text('#!/bin/sh\ncase "$*" in --version) echo Python 3.9.2;; esac\nexit 1\n')
    python.chmod(0o755)
    done = subprocess.run(
        ["make", "-C", str(ROOT), "lint", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "needs Python 3.11 or newer" in done.stderr
    assert "is Python 3.9.2" in done.stderr
    assert "apt-get install python3" in done.stderr


def test_no_committed_file_names_a_package_registry() -> None:
    hosts = re.compile("|".join(re.escape(".".join(host)) for host in REGISTRIES))
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in committed()
        if (match := hosts.search(path.read_text(errors="ignore")))
    ]
    assert found == []


def test_the_public_names_are_sorted_and_there() -> None:
    package = import_module("streamtask")
    assert package.__all__ == sorted(package.__all__)
    assert [name for name in package.__all__ if not hasattr(package, name)] == []


def test_the_wheel_holds_what_the_package_needs(tmp_path: Path) -> None:
    """Types for users' checkers, the scripts that Redis runs, the licence; and no tests."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {str(path.relative_to(ROOT)) for path in committed() if path.is_relative_to(ROOT / "streamtask")}
    assert {"streamtask/py.typed", "streamtask/__init__.py", "streamtask/broker/lua/read.lua"} <= package <= names
    assert {name.split("/")[0] for name in names - package if ".dist-info/" not in name} <= {"streamtask"}
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


@pytest.mark.parametrize(
    "command",
    [
        ["mypy", "--strict", "--warn-unused-ignores", "tests/typing/api.py", "tests/typing/events.py"],
        ["pyright", "--warnings", "--project", "."],  # its settings, and the same file, stand in pyproject.toml
    ],
    ids=lambda command: command[0],
)
def test_the_public_api_is_typed(command: list[str]) -> None:
    """`tests/typing/api.py` uses the API as users do: what it gets is asserted, what must be refused is marked."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
