"""`python -m benchmarks.floor`: what the building blocks of a worker and a sender cost by themselves, in microseconds.

No framework can be faster than the blocks that it needs: the sum of those on the way of a message bounds what is left
to gain. Repeats are interleaved, so that a noisy moment hits one repeat of many blocks and not all repeats of one. A
block counts the processor time of its own process where it runs by itself, wall time where it waits for somebody, and
that of the server where its name says Redis.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.blocks import Block, all_blocks
from benchmarks.report import machine, table
from benchmarks.stage import REDIS
from tests.servers import INSTALL, Server, available

REPEATS = 5


def measured(blocks: Sequence[Block], repeats: int, factor: float) -> list[dict[str, Any]]:
    """Each block with its microseconds in each repeat."""
    found: list[dict[str, Any]] = [{"group": block.group, "name": block.name, "us": []} for block in blocks]
    for number in range(repeats):
        pairs = list(zip(blocks, found, strict=True))
        for block, line in pairs if number % 2 == 0 else pairs[::-1]:
            size = max(int(block.size * factor) // 100, 1) * 100
            line["us"].append(1e6 * block.measure(size) / size)
    return found


def markdown(blocks: Sequence[dict[str, Any]]) -> str:
    """The table of what `measured` gave."""
    body, group = [], ""
    for block in blocks:
        values = sorted(block["us"])
        cells = [_us(value) for value in (statistics.median(values), values[0], values[-1])]
        body.append([block["group"] if block["group"] != group else "", block["name"], *cells])
        group = block["group"]
    return table(["", "block", "µs", "lowest", "highest"], body)


def _us(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, measure, report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.floor", description="the building blocks, µs each")
    parser.add_argument("--rounds", type=int, default=REPEATS, metavar="N", help=f"repeats (default {REPEATS})")
    parser.add_argument("--n", type=float, default=1.0, metavar="X", help="X times as many turns (default 1)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write floor.json and floor.md to DIR")
    options = parser.parse_args(arguments)
    if REDIS not in available():
        print(f"{REDIS} is not installed: {INSTALL}", file=sys.stderr)
        return 1
    with Server(REDIS, tcp=True) as server:
        where = machine(server.version, run=f"{options.rounds} repeats, N={options.n:g}")
        result = {"machine": where, "blocks": measured(all_blocks(server), options.rounds, options.n)}
    page = markdown(result["blocks"])
    print(page)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "floor.json").write_text(json.dumps(result, indent=1) + "\n")
        (options.out / "floor.md").write_text(f"{page}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
