"""What was measured, on what: the Markdown tables and the JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.rows import BARE, OURS, Row
from benchmarks.stage import Sample, Side

NOTE = """Medians of {} interleaved rounds (lowest to highest). Ratio: streamtask's number divided by the bare loop's in
the same round, the median over rounds. CPU: µs a task of the worker (of the producer in the enqueue rows), and of the
server. Commands: of the server, a task, those that scripts call, too. Twice: runs beyond each message's first. Every
message ran, and every result that was asked for was stored, else there would be no number. The bare side of the row
about RSS is a process that imports the same modules.
"""
PEERS_NOTE = """The same run. Best: the highest number of a peer, or the lowest where less is better; beside it
streamtask's divided by it. No number: the framework has no such thing. Twice in each side's drains: {}.
"""


#: What a task costs: the field of a sample, its name, its unit.
COSTS = (("cpu", "CPU", "µs"), ("redis_cpu", "Redis CPU", "µs"), ("commands", "commands", ""))


@dataclass
class Line:
    """A row's samples of each side, one a round."""

    row: Row
    samples: dict[str, list[Sample]] = field(default_factory=dict)

    def median(self, side: str, what: str = "value") -> float | None:
        """Of what was looked at in the rounds; None if nothing was."""
        values = [value for sample in self.samples.get(side, ()) if (value := getattr(sample, what)) is not None]
        return statistics.median(values) if values else None

    @property
    def ratio(self) -> float | None:
        """Ours divided by the bare loop's, the median over rounds: the two sides of a round share its weather."""
        pairs = zip(self.samples.get(OURS, ()), self.samples.get(BARE, ()), strict=False)
        ratios = [ours.value / bare.value for ours, bare in pairs]
        return statistics.median(ratios) if ratios else None

    @property
    def best(self) -> str | None:
        """The peer with the best median."""
        peers = {name: self.median(name) or 0.0 for name in self.samples if name not in {OURS, BARE}}
        if not peers:
            return None
        return (max if self.row.unit == "tasks/s" else min)(peers, key=lambda name: peers[name])


def machine(redis_version: str, sides: Iterable[Side] = (), run: str = "") -> dict[str, Any]:
    """Where, when and with what this was measured; `run` says how."""
    found: dict[str, Any] = {
        "run": f"{run}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load": ", ".join(f"{load:.2f}" for load in os.getloadavg()),
        "system": f"{platform.system()} {platform.release()}",
        "server": f"Redis {redis_version}, TCP on loopback, nothing written to disk",
    }
    versions = {side.name: ", ".join(f"{n} {v}" for n, v in side.about["versions"].items()) for side in sides}
    return found | versions


def as_json(where: dict[str, Any], lines: Sequence[Line]) -> dict[str, Any]:
    """Everything, each sample of each round."""
    rows = [
        asdict(line.row)
        | {"ratio": line.ratio}
        | {"sides": {name: [asdict(sample) for sample in samples] for name, samples in line.samples.items()}}
        for line in lines
    ]
    return {"machine": where, "rows": rows}


def load(path: Path) -> tuple[dict[str, Any], list[Line]]:
    """What `as_json` wrote: the machine, and the rows."""
    found = json.loads(path.read_text())
    names = [f.name for f in fields(Row)]
    lines = [
        Line(
            Row(**{name: row[name] for name in names if name in row}),
            {side: [Sample(**sample) for sample in samples] for side, samples in row["sides"].items()},
        )
        for row in found["rows"]
    ]
    return found["machine"], lines


def markdown(where: dict[str, Any], lines: Sequence[Line], rounds: int) -> str:
    """The machine, the table beside the bare loop, and the one beside the peers if there were any."""
    parts = [bullets(where), beside_bare(lines), NOTE.format(rounds)]
    if peers := list(dict.fromkeys(name for line in lines for name in line.samples if name not in {OURS, BARE})):
        sides = (OURS, *peers)
        twice = {side: sum(s.twice for line in lines for s in line.samples.get(side, ())) for side in sides}
        told = ", ".join(f"{side} {count}" for side, count in twice.items())
        parts += [beside_peers(lines, peers), PEERS_NOTE.format(told)]
    return "\n\n".join(parts)


def bullets(where: dict[str, Any]) -> str:
    """The machine as a list."""
    return "\n".join(f"* {name}: {value}" for name, value in where.items())


def beside_bare(lines: Sequence[Line]) -> str:
    """Ours and the bare loop's, with what a task costs each."""
    head = ["", "unit", OURS, "bare redis-py", "ratio"]
    head += [f"{word}{name}" for _, name, _ in COSTS for word in ("", "bare ")]
    body = []
    for line in lines:
        ratio = "" if line.ratio is None else f"{line.ratio:.2f}"
        cells = [line.row.name, line.row.unit, _spread(line, OURS), _spread(line, BARE), ratio]
        cells += [_cost(line.median(side, which)) for which, *_ in COSTS for side in (OURS, BARE)]
        body.append([*cells, str(sum(sample.twice for sample in line.samples.get(OURS, ())))])
    return table([*head, "twice"], body)


def beside_peers(lines: Sequence[Line], peers: Sequence[str]) -> str:
    """Ours and each peer's, with the best one of each row."""
    return _by_side(lines, (OURS, *peers), _spread)


def medians(lines: Sequence[Line], sides: Sequence[str]) -> str:
    """The same, shorter: only the medians of these sides."""
    return _by_side(lines, sides, _median)


def _by_side(lines: Sequence[Line], sides: Sequence[str], cell: Callable[[Line, str], str]) -> str:
    body = []
    for line in lines:
        ours, best = line.median(OURS), line.best
        ratio = f"{ours / value:.1f}" if ours and best and (value := line.median(best)) else ""
        body.append([line.row.name, line.row.unit, best or "", ratio, *(cell(line, side) for side in sides)])
    for which, name, unit in COSTS:
        for line in lines:
            if line.row.slug == "drain_async":
                costs = [_cost(line.median(side, which)) for side in sides]
                shown = name if which != "cpu" else f"worker {name}"
                body.append([f"{shown}, drain", f"{unit}/task" if unit else "a task", "", "", *costs])
    return table(["", "unit", "best", "ratio", *sides], body)


def table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A table of Markdown; its first two columns are text."""
    rule = ["---" if i < 2 else "---:" for i in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *body))


def _spread(line: Line, side: str) -> str:
    values = sorted(sample.value for sample in line.samples.get(side, ()))
    if len(values) < 2:
        return _median(line, side)
    return f"{_median(line, side)} ({_value(line.row, values[0])} to {_value(line.row, values[-1])})"


def _median(line: Line, side: str) -> str:
    value = line.median(side)
    return "" if value is None else _value(line.row, value)


def _value(row: Row, value: float) -> str:
    digits = {"tasks/s": 0, "events/s": 0, "B": 0, "MiB": 1}.get(row.unit, 2)
    return f"{value:,.{digits}f}"


def _cost(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
