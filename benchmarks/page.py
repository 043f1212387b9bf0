"""`python -m benchmarks.page RESULTS_DIR PAGE`: fills a page with what the results say, between its markers.

`<!-- results: NAME -->` and `<!-- end of results -->` enclose what is written; a part whose results are not there stays
as it is. Numbers are told nowhere else on the page, so a new run needs no hand.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import floor, guarantees, hub, scaling, series
from benchmarks.report import Line, beside_bare, bullets, load, medians
from benchmarks.rows import BARE, OURS

_PART = re.compile(r"(<!-- results: (\S+) -->\n).*?(<!-- end of results -->)", re.DOTALL)
#: Where the plots are, seen from the page.
PLOTS = "performance"


class Results:
    """A folder of results; a file that is not there has no rows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.where, self.speed = self._load("results")
        self.growth_where, self.growth = self._load("scaling")
        self.costs_where, self.costs = self._load("guarantees")
        self.hub_where, self.hub = self._load("hub")
        path = folder / "floor.json"
        self.floor: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def _load(self, name: str) -> tuple[dict[str, Any], list[Line]]:
        path = self._folder / f"{name}.json"
        return load(path) if path.exists() else ({}, [])

    @property
    def peers(self) -> list[str]:
        """The sides beside ours and the bare loop, in the order in which they were measured."""
        return list(dict.fromkeys(name for line in self.speed for name in line.samples if name not in {OURS, BARE}))


def filled(page: str, results: Results) -> str:
    """The page with all its parts; raises KeyError for a marker that is unknown."""

    def part(match: re.Match[str]) -> str:
        text = PARTS[match[2]](results)
        return match[0] if text is None else f"{match[1]}\n{text.strip()}\n\n{match[3]}"

    return _PART.sub(part, page)


def _machine(results: Results) -> str | None:
    return bullets(results.where) if results.where else None


def _speed(results: Results) -> str | None:
    return beside_bare(results.speed) if results.speed else None


def _peers(results: Results) -> str | None:
    return medians(results.speed, (OURS, BARE, *results.peers)) if results.peers else None


def _losses(results: Results) -> str | None:
    """Every row in which another side is ahead."""
    if not results.speed:
        return None
    told = [f"* {text}" for line in results.speed for text in _lost(line, results.peers)]
    return "\n".join(told) or "In this run no other side was ahead in any row."


def _lost(line: Line, peers: Sequence[str]) -> list[str]:
    ours, found = line.median(OURS), []
    for side in (BARE, *peers):
        theirs = line.median(side)
        if ours and theirs and (theirs > ours if line.row.unit == "tasks/s" else theirs < ours):
            name = "the bare loop" if side == BARE else side
            found.append(f"{name} {series.number(theirs)}")
    return [f"{line.row.name}, {line.row.unit}: streamtask {series.number(ours)}; {', '.join(found)}"] if found else []


def _growth(results: Results) -> str | None:
    if not results.growth:
        return None
    note = scaling.NOTE.format(_rounds(results.growth))
    return f"{_run(results.growth_where)}\n\n{beside_bare(results.growth)}\n\n{note}"


def _costs(results: Results) -> str | None:
    if not results.costs:
        return None
    note = guarantees.NOTE.format(_rounds(results.costs))
    return f"{_run(results.costs_where)}\n\n{guarantees.deltas(results.costs)}\n\n{note}"


def _hub(results: Results) -> str | None:
    if not results.hub:
        return None
    return f"{_run(results.hub_where)}\n\n{hub.page(results.hub, _rounds(results.hub))}"


def _floor(results: Results) -> str | None:
    if not results.floor:
        return None
    return f"{_run(results.floor['machine'])}\n\n{floor.markdown(results.floor['blocks'])}"


def _run(where: dict[str, Any]) -> str:
    return f"Run: {where['run']}; {where['cores']} cores of {where['cpu']}; {where['server']}; load {where['load']}."


def _rounds(lines: Sequence[Line]) -> int:
    return max(len(samples) for line in lines for samples in line.samples.values())


def _plot(
    name: str, panels_of: Callable[[Results], Sequence[series.Bars | series.Curves]]
) -> Callable[[Results], str | None]:
    def part(results: Results) -> str | None:
        panels = panels_of(results)
        return f"![{series.in_words(panels)}]({PLOTS}/{name}.png)" if panels else None

    return part


PARTS: dict[str, Callable[[Results], str | None]] = {
    "machine": _machine,
    "speed": _speed,
    "peers": _peers,
    "losses": _losses,
    "drains": _plot("drains", lambda results: series.drains(results.speed)),
    "latency": _plot("latency", lambda results: series.latency(results.speed)),
    "costs": _plot("costs", lambda results: series.costs(results.speed)),
    "guarantees": _costs,
    "growth": _plot("scaling", lambda results: series.scaling(results.growth)),
    "scaling": _growth,
    "hub": _hub,
    "floor": _floor,
}


def main() -> int:
    """Read the command line, fill."""
    if len(sys.argv) != 3:
        print("usage: python -m benchmarks.page RESULTS_DIR PAGE", file=sys.stderr)
        return 2
    page = Path(sys.argv[2])
    page.write_text(filled(page.read_text(), Results(Path(sys.argv[1]))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
