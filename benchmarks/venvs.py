"""The peers, and an environment for each under benchmarks/.venvs: made when first asked for, newest versions."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / ".venvs"


@dataclass(frozen=True)
class Peer:
    """What its documentation says to install, with what makes it faster; and the Python that it needs."""

    name: str
    packages: tuple[str, ...]
    python: tuple[int, int] = (3, 11)


PEERS = (
    Peer("celery", ("celery[redis]", "hiredis")),
    Peer("dramatiq", ("dramatiq[redis]", "hiredis")),
    Peer("taskiq", ("taskiq[reload]", "taskiq-redis", "uvloop", "hiredis")),
    Peer("streaq", ("streaq",)),
    Peer("docket", ("pydocket", "uvloop", "hiredis")),
    Peer("arq", ("arq", "uvloop", "hiredis")),
    Peer("saq", ("saq[redis,hiredis]", "uvloop", "typing-extensions")),
    Peer("huey", ("huey", "redis", "hiredis")),
    Peer("faststream", ("faststream[redis,cli]", "uvloop", "hiredis")),
    Peer("repid", ("repid[redis]", "uvloop", "hiredis", "typing-extensions")),
    Peer("chasquimq", ("chasquimq",), (3, 13)),
    Peer("ardiq", ("ardiq",), (3, 13)),
)


class NotInstalled(Exception):
    """A peer cannot be had on this machine; the text says why."""


def python_of(peer: Peer) -> str:
    """The Python of the peer's environment, which is made if it is not there; raises NotInstalled."""
    folder = FOLDER / peer.name
    stamp, program = folder / ".installed", folder / "bin" / "python"
    if stamp.exists() and stamp.read_text() == " ".join(peer.packages):
        return str(program)
    print(f"installing {peer.name} into {folder} ...", file=sys.stderr, flush=True)
    _run(_base(peer.python), "-m", "venv", "--clear", str(folder))
    _run(str(program), "-m", "pip", "--disable-pip-version-check", "--quiet", "install", *peer.packages)
    stamp.write_text(" ".join(peer.packages))
    return str(program)


def _base(version: tuple[int, int]) -> str:
    """A Python of at least that version: ours, or one of that very version."""
    if sys.version_info >= version:
        return sys.executable
    name = "python{}.{}".format(*version)
    homes = sorted((Path.home() / ".pyenv" / "versions").glob("{}.{}.*/bin/python".format(*version)))
    for program in (name, *map(str, homes)):
        try:
            _run(program, "-c", "import ensurepip, venv")
        except NotInstalled:
            continue
        return program
    raise NotInstalled(f"{name} is not installed")


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise NotInstalled(f"{command[0]} is not installed") from None
    except subprocess.CalledProcessError as error:
        raise NotInstalled(f"{' '.join(command)}: {error.stderr[-500:]}") from None
