"""Draws the states of a message into docs/explanation/life-of-a-message.md, from the table that the code obeys.

Run it after a change of `streamtask.states.TRANSITIONS`: python docs/_build/states.py. A test compares page and table.
"""

from __future__ import annotations

from pathlib import Path

from streamtask.states import FINAL, TRANSITIONS

PAGE = Path(__file__).parents[1] / "explanation" / "life-of-a-message.md"
BEGIN = "<!-- begin: written by docs/_build/states.py -->\n"
END = "<!-- end -->\n"
#: Beginning and end of a message's life; not a state in Redis.
NONE = "NONE"


def diagram() -> str:
    """The states as a Mermaid diagram: one arrow for each pair of states, with all events that go that way."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for row in TRANSITIONS:
        if row.source != row.target:  # what leaves the state as it is stands in the table only
            arrows.setdefault((_node(row.source), _node(row.target)), []).append(row.event)
    lines = [f"    {source} --> {target}: {', or '.join(events)}" for (source, target), events in arrows.items()]
    lines += [f"    {state} --> [*]" for state in sorted(FINAL) if (state, "[*]") not in arrows]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


def table() -> str:
    """The same as a Markdown table, with who makes the move and by which script or command."""
    rows = [f"| {row.source} | {row.event} | {row.target} | {row.by} | {row.script} |" for row in TRANSITIONS]
    return "\n".join(["| from | event | to | by | script or command |", "|---|---|---|---|---|", *rows])


def generated() -> str:
    """What stands between the two marks of the page."""
    return f"\n{diagram()}\n\n{table()}\n\n"


def written(page: str) -> str:
    """The page's text with the generated part renewed."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return head + BEGIN + generated() + END + tail


def _node(state: str) -> str:
    return "[*]" if state == NONE else state


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
