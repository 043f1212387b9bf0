"""`python -m benchmarks`: all cases in interleaved rounds, and a table. Exit code 1 when tasks were lost."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from benchmarks.cases import CASES, Case
from benchmarks.report import Line, as_json, machine, table
from benchmarks.stage import Stage, Wrong
from tests.servers import INSTALL, Server, available

REDIS = "redis-8.6"
ROUNDS, QUICK_PART = 5, 5
NOTE = """Medians of {} interleaved rounds (lowest to highest); ratio: the median of the rounds' ratios. CPU: µs a task,
of the worker or the producer, and of the server. twice: runs beyond each message's first. Every message ran, and every
result that was asked for was stored, else there would be no table."""


def main() -> int:
    """Read the command line, measure, report."""
    options = _parser().parse_args()
    if REDIS not in available():
        print(f"{REDIS} is not installed: {INSTALL}", file=sys.stderr)
        return 1
    cases = [case for case in CASES if not options.only or any(options.only in row.name for row in case.rows)]
    if not cases:
        print(f"no row has {options.only!r} in its name", file=sys.stderr)
        return 2
    rounds = options.rounds or (1 if options.quick else ROUNDS)
    with Server(REDIS, tcp=True) as server:
        os.environ["STREAMTASK_URL"] = server.url
        stage = Stage(server)
        where = machine(stage.version)
        print("\n".join(f"{name:<11}{value}" for name, value in where.items()), flush=True)
        try:
            lines = _measure(stage, cases, rounds, QUICK_PART if options.quick else 1)
        except Wrong as error:
            print(f"\nnot counted: {error}", file=sys.stderr)
            return 1
    print(f"\n{table(lines)}\n\n{NOTE.format(rounds)}")
    if options.json:
        options.json.write_text(json.dumps(as_json(where, lines), indent=1) + "\n")
        print(f"\n{options.json}")
    return 0


def _measure(stage: Stage, cases: list[Case], rounds: int, part: int) -> list[Line]:
    lines = {case: [Line(row) for row in case.rows] for case in cases}
    started = time.monotonic()
    for case in cases:
        if case.prepare is not None:
            _say(f"filling a queue for: {case.rows[0].name}", started)
            case.prepare(stage, case.size // part)
    for number in range(rounds):
        for case in cases:
            for side in ("app", "bare") if number % 2 == 0 else ("bare", "app"):
                _say(f"round {number + 1} of {rounds}: {case.rows[0].name} ({side})", started)
                samples = getattr(case, side)(stage, case.size // part)
                for line, sample in zip(lines[case], samples, strict=True):
                    getattr(line, side).append(sample)
    _say("done", started)
    return [line for case in cases for line in lines[case]]


def _say(text: str, started: float) -> None:
    """A progress line: one that overwrites itself on a terminal."""
    clear = "\r\033[K" if sys.stderr.isatty() else ""
    end = "" if clear and text != "done" else "\n"
    print(f"{clear}[{time.monotonic() - started:5.0f} s] {text}", end=end, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="streamtask beside a bare redis-py loop")
    parser.add_argument("--quick", action="store_true", help="one small round, under half a minute")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"interleaved rounds (default {ROUNDS})")
    parser.add_argument("--only", metavar="TEXT", help="only rows whose name contains TEXT")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write every sample to PATH")
    return parser


if __name__ == "__main__":
    sys.exit(main())
