"""What the server at the other end is and can do: probed, never guessed from a version (managed clones differ)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from streamtask.broker.link import Command, Link, ResponseError


@dataclass(frozen=True, slots=True)
class Server:
    """One server, as seen at connect. Sizes in bytes, times in seconds; None where the server does not tell."""

    engine: str
    version: str
    mode: str
    claim: bool
    ackdel: bool
    policy: str | None = None
    aof: bool | None = None
    appendfsync: str | None = None
    uptime: int | None = None
    memory: int | None = None
    maxmemory: int | None = None

    def summary(self) -> str:
        """One line for banners: `8.6.3 standalone  native claim, ackdel  noeviction, aof everysec`."""
        able = [name for name, has in (("native claim", self.claim), ("ackdel", self.ackdel)) if has] or [
            "claim by script"
        ]
        keeps = [self.policy] if self.policy else []
        if self.aof is not None:
            keeps.append(f"aof {self.appendfsync or 'on'}" if self.aof else "no aof")
        return f"{self.version} {self.mode}  {', '.join(able)}  {', '.join(keeps)}".rstrip()


async def probe(link: Link, namespace: str) -> Server:
    """Ask a server what it is; raises redis-py's connection errors, and tolerates commands that are forbidden to us."""
    return answers(await link.batch(questions(namespace)))


def questions(namespace: str) -> list[Command]:
    """The commands whose replies tell what a server is and can do."""
    key = f"{{{namespace}}}:probe"
    return [
        ("INFO",),
        ("COMMAND", "LIST", "FILTERBY", "PATTERN", "xackdel"),
        ("XREADGROUP", "GROUP", "g", "c", "COUNT", 1, "CLAIM", 1, "STREAMS", key, ">"),
        ("CONFIG", "GET", "appendfsync"),
    ]


def answers(replies: Sequence[Any]) -> Server:
    """The server, from the replies to `questions`."""
    info, commands, claim, fsync = replies
    facts = {} if isinstance(info, Exception) else parse_info(info)
    engine = facts.get("server_name", "redis")
    return Server(
        engine=engine,
        version=facts.get(f"{engine}_version") or facts.get("redis_version", "unknown"),
        mode=facts.get("redis_mode") or facts.get("server_mode", "standalone"),
        claim=isinstance(claim, ResponseError) and "NOGROUP" in str(claim),
        ackdel=not isinstance(commands, Exception) and bool(commands),
        policy=facts.get("maxmemory_policy"),
        aof=facts["aof_enabled"] == "1" if "aof_enabled" in facts else None,
        appendfsync=None if isinstance(fsync, Exception) or len(fsync) < 2 else fsync[1].decode(),
        uptime=int(facts["uptime_in_seconds"]) if "uptime_in_seconds" in facts else None,
        memory=int(facts["used_memory"]) if "used_memory" in facts else None,
        maxmemory=int(facts["maxmemory"]) if "maxmemory" in facts else None,
    )


def idmp_is_flawed(hello: Sequence[Any]) -> bool:
    """Has the server, by its reply to HELLO, an idempotent XADD that may forget? Redis mended it in 8.6.2."""
    facts = dict(zip(hello[::2], hello[1::2], strict=False))
    return facts.get(b"server") == b"redis" and facts.get(b"version") in {b"8.6.0", b"8.6.1"}


def parse_info(raw: bytes) -> dict[str, str]:
    """INFO's text as a dict."""
    lines = raw.decode(errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))
