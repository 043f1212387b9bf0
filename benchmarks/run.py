"""Measures the cases of a plan in interleaved rounds, and reports. The exit code is 1 when tasks were lost."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import Line, as_json, machine
from benchmarks.rows import BARE, OURS, Case
from benchmarks.stage import DATABASES, REDIS, Side, Stage, Wrong
from benchmarks.venvs import PEERS, NotInstalled, Peer, python_of
from tests.servers import INSTALL, Server, available


@dataclass(frozen=True)
class Plan:
    """What a program measures: `cases` by the factor of --n; `name` is that of its files, `page` their Markdown."""

    program: str
    description: str
    name: str
    cases: Callable[[float], Sequence[Case]]
    rounds: int
    page: Callable[[dict[str, Any], Sequence[Line], int], str]


def run(plan: Plan, arguments: Sequence[str] | None = None) -> int:
    """Read the command line, measure, report."""
    options = _parser(plan).parse_args(arguments)
    if REDIS not in available():
        print(f"{REDIS} is not installed: {INSTALL}", file=sys.stderr)
        return 1
    known = plan.cases(options.n)
    cases = [case for case in known if any(row.slug.startswith(options.rows) for row in case.rows)]
    peers = _chosen(options.peers)
    if not cases or peers is None:
        rows = ", ".join(row.slug for case in known for row in case.rows)
        print(f"rows: {rows}\npeers: {', '.join(peer.name for peer in PEERS)}", file=sys.stderr)
        return 2
    with Server(REDIS, tcp=True, databases=DATABASES) as server:
        stage = Stage(server)
        try:
            sides = [stage.about(name, sys.executable) for name in (OURS, BARE)]
            sides += [side for peer in peers if (side := _peer(stage, peer))]
            where = machine(stage.version, sides, f"rounds {options.rounds}, N={options.n:g}")
            print("\n".join(f"{name:<11}{value}" for name, value in where.items()), flush=True)
            lines = _measure(stage, sides, cases, options.rounds, options.n)
        except Wrong as error:
            print(f"\nnot counted: {error}", file=sys.stderr)
            return 1
    page = plan.page(where, lines, options.rounds)
    print(f"\n{page}")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / f"{plan.name}.json").write_text(json.dumps(as_json(where, lines), indent=1) + "\n")
        (options.out / f"{plan.name}.md").write_text(page)
    return 0


def _chosen(text: str) -> list[Peer] | None:
    """The peers of a list of names; "1" means all, "" or "0" none. None for a name that is unknown."""
    names = {peer.name for peer in PEERS} if text == "1" else set(filter(None, text.removeprefix("0").split(",")))
    return [peer for peer in PEERS if peer.name in names] if names <= {peer.name for peer in PEERS} else None


def _peer(stage: Stage, peer: Peer) -> Side | None:
    """A peer that is installed and can be imported; one that is not is left out, and named."""
    try:
        return stage.about(peer.name, python_of(peer))
    except (NotInstalled, Wrong) as error:
        print(f"left out: {peer.name}: {error}", file=sys.stderr)
        return None


def _measure(stage: Stage, sides: list[Side], cases: list[Case], rounds: int, factor: float) -> list[Line]:
    """All cases of a round, each by all sides one after the other, in the other order the next round."""
    lines = {case: [Line(row) for row in case.rows] for case in cases}
    started = time.monotonic()
    for number in range(rounds):
        for case in cases:
            for side in sides if number % 2 == 0 else sides[::-1]:
                if not case.suits(side):
                    continue
                _say(f"round {number + 1} of {rounds}: {case.rows[0].slug} ({side.name})", started)
                try:
                    samples = case.measure(stage, side, case.size_for(side, factor))
                except Wrong as error:
                    if side.name in {OURS, BARE}:
                        raise
                    _say(f"not counted: {side.name}, {case.rows[0].slug}: {error}\n", started)
                    continue
                for line, sample in zip(lines[case], samples, strict=True):
                    line.samples.setdefault(side.name, []).append(sample)
    _say("done", started)
    return [line for case in cases for line in lines[case]]


def _say(text: str, started: float) -> None:
    """A progress line: one that overwrites itself on a terminal."""
    clear = "\r\033[K" if sys.stderr.isatty() else ""
    end = "" if clear and text != "done" else "\n"
    print(f"{clear}[{time.monotonic() - started:5.0f} s] {text}", end=end, file=sys.stderr, flush=True)


def _parser(plan: Plan) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {plan.program}", description=plan.description)
    parser.add_argument("--rows", default="", metavar="TEXT", help="only rows whose slug begins with TEXT")
    parser.add_argument("--peers", default="", metavar="NAMES", help="peers with commas, or 1 for all")
    parser.add_argument("--rounds", type=int, default=plan.rounds, metavar="N", help=f"default {plan.rounds}")
    parser.add_argument("--n", type=float, default=1.0, metavar="X", help="X times as many messages (default 1)")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"write {plan.name}.json and {plan.name}.md to DIR")
    return parser
