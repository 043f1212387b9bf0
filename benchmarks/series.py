"""What the plots show, as plain data taken from the results, and the same in words for those who do not see them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.report import Line
from benchmarks.rows import BARE, OURS


@dataclass(frozen=True)
class Bars:
    """One panel of bars: a value for each side, the longest first; a side has several where `parts` names them."""

    title: str
    unit: str
    bars: tuple[tuple[str, tuple[float, ...]], ...]
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Curves:
    """One panel of curves: for each side its points (x, y)."""

    title: str
    x: str
    unit: str
    curves: tuple[tuple[str, tuple[tuple[float, float], ...]], ...]


def drains(lines: Sequence[Line]) -> list[Bars]:
    """How fast each side works off a full queue."""
    titles = {
        "drain_async": "async no-op, no result, 1 process",
        "drain_async_results": "async no-op, result stored, 1 process",
        "drain_async_2_processes": "async no-op, no result, 2 processes",
        "drain_sync": "sync no-op in threads, no result, 1 process",
    }
    found = [_bars(lines, title, "tasks/s", [slug]) for slug, title in titles.items()]
    return [panel for panel in found if panel.bars]


def latency(lines: Sequence[Line]) -> list[Bars]:
    """How soon a task begins at an idle worker."""
    slugs = ["latency_p50", "latency_p99"]
    panel = _bars(lines, "from the send to the start, worker idle", "ms", slugs, parts=("p50", "p99"))
    return [panel] if panel.bars else []


def costs(lines: Sequence[Line]) -> list[Bars]:
    """What a no-op task costs in the drain."""
    found = []
    for what, title in (("cpu", "worker CPU"), ("redis_cpu", "Redis CPU")):
        found.append(_bars(lines, f"{title}, a task", "µs", ["drain_async"], what))
    return [panel for panel in found if panel.bars]


def scaling(lines: Sequence[Line]) -> list[Curves]:
    """How the speed changes with the length of the queue and with the payload."""
    about = (("length", "drain by queue length", "messages queued"), ("payload", "by payload", "bytes of payload"))
    found = []
    for name, title, x in about:
        kinds = ("drain",) if name == "length" else ("drain", "send")
        curves = [
            curve for kind in kinds for curve in _curves(lines, f"{kind} by {name}", kind, several=len(kinds) > 1)
        ]
        found.append(Curves(title, x, "tasks/s", tuple(curves)))
    return [panel for panel in found if panel.curves]


def in_words(panels: Iterable[Bars | Curves]) -> str:
    """The alternative text of a plot: each panel's title and numbers."""
    return " ".join(f"{panel.title} ({panel.unit}): {'; '.join(_told(panel))}." for panel in panels)


def number(value: float) -> str:
    """As it stands beside a bar."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _told(panel: Bars | Curves) -> list[str]:
    if isinstance(panel, Bars):
        return [f"{name} {' / '.join(number(value) for value in values)}" for name, values in panel.bars]
    return [f"{name} {', '.join(f'{number(y)} at {x:,.0f}' for x, y in points)}" for name, points in panel.curves]


def _bars(
    lines: Sequence[Line], title: str, unit: str, slugs: Sequence[str], what: str = "value", parts: tuple[str, ...] = ()
) -> Bars:
    rows = [line for slug in slugs for line in lines if line.row.slug == slug]
    found: list[tuple[str, tuple[float, ...]]] = []
    for side in rows[0].samples if rows else ():
        values = [value for line in rows if (value := line.median(side, what)) is not None]
        if values and len(values) == len(slugs):
            found.append((side, tuple(values)))
    # The best one comes first: more tasks a second, or fewer microseconds.
    return Bars(title, unit, tuple(sorted(found, key=lambda bar: bar[1][0], reverse=unit == "tasks/s")), parts)


def _curves(
    lines: Sequence[Line], series: str, kind: str, several: bool
) -> list[tuple[str, tuple[tuple[float, float], ...]]]:
    found = []
    for side in (OURS, BARE):
        rows = [line for line in lines if line.row.series == series and line.samples.get(side)]
        if rows:
            points = tuple((line.row.at, line.median(side) or 0.0) for line in rows)
            found.append((f"{side}, {kind}" if several else side, points))
    return found
