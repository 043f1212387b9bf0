"""The events of a worker or beat as lines of text or JSON.

Healthy ends are written at most `DONE_A_SECOND` times a second and counted beyond that, so that a flood of short tasks
neither fills the disk nor costs speed; everything else is written always.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime
from typing import Any, BinaryIO

from pydantic_core import to_json

from streamtask.duration import show
from streamtask.logs.writer import LogWriter
from streamtask.message import short_id
from streamtask.tasklog import TASK_FIELDS
from streamtask.worker.report import Reporter

#: `done` lines of one second that are written; those beyond are counted.
DONE_A_SECOND = 100
#: The names that the runtimes' fields have in a JSON line.
_JSON_NAMES = {"error_type": "error.type", "error": "error.message", "traceback": "error.stack"}
_COLOURS = {"retry": 33, "dead": 31, "lost": 33, "unknown": 33, "warning": 33, "error": 31, "critical": 31}


class LogReporter(LogWriter, Reporter):
    """Writes the events of a worker or beat to `stream`. `worker` stands in each JSON line once it is known, `tag`
    in each line of text where several processes write into one.
    """

    def __init__(
        self, stream: BinaryIO, *, level: int = logging.INFO, as_json: bool = False, colour: bool = False
    ) -> None:
        self.level, self.as_json, self.colour = level, as_json, colour
        self.worker: str | None = None
        self.tag = ""
        self._amended: dict[str, tuple[str, dict[str, Any]]] = {}
        self._left, self._second = DONE_A_SECOND, time.monotonic()
        self._beyond = self._told = 0  # _beyond is written by counted() alone, so that no count is lost
        self._rolling = threading.Lock()
        super().__init__(stream)

    def counted(self) -> bool:
        """Are there too many `done` lines in this second? Called by the ten thousand a second."""
        if self.level > logging.INFO:
            return True
        now = time.monotonic()
        if now - self._second >= 1.0:
            self._roll(now)
        if self._left > 0:
            return False
        self._beyond += 1
        return True

    def done(self, task: str, id: str, attempt: int, duration: float, waited: float) -> None:
        """A task is done; times in seconds."""
        if self.counted():
            return
        self._left -= 1
        if self.as_json:
            fields = {"task": task, "id": id, "attempt": attempt, "verdict": "done"}
            times = {"duration_s": round(duration, 6), "wait_s": round(waited, 6)}
            self.write(self._json("task.done", logging.INFO, "done", {**fields, **times}))
        else:
            line = f"{short(task, id)}  attempt {attempt}  {duration:.3f} s  waited {waited:.3f} s"
            self.write(self._text("done", line))

    def event(self, name: str, level: int, msg: str, **fields: Any) -> None:
        """Anything else that happened."""
        if level < self.level:
            return
        amended = self._amended.pop(name, None)
        if amended is not None:
            msg, fields = amended[0], {**fields, **amended[1]}
        if name == "task.retry" and self.level > logging.DEBUG:
            fields["traceback"] = None  # one a retry would fill the disk; the last attempt's is told
        if self.as_json:
            if name.startswith("task."):
                fields["verdict"] = name[5:]
            self.write(self._json(name, level, msg, fields))
        else:
            self.write(self._event_text(name, level, msg, fields))

    def amend(self, name: str, msg: str, **fields: Any) -> None:
        """Let the next event of this name say `msg`, with these fields beside its own."""
        self._amended[name] = (msg, fields)

    def plain(self, lines: list[str]) -> None:
        """Write lines as they are (a banner)."""
        for line in lines:
            self.write(line)

    def late_line(self) -> str | None:
        """The count of what was not written, when no later `done` comes to write it."""
        now = time.monotonic()
        return self._summary() if now - self._second >= 1.0 and self._beyond > self._told else None

    def record(self, record: logging.LogRecord) -> None:
        """A record of the standard library's logging."""
        text = record.getMessage()
        stack = logging.Formatter().formatException(record.exc_info) if record.exc_info else record.exc_text or ""
        told = {name: getattr(record, name, None) for name in TASK_FIELDS}
        if self.as_json:
            error = record.exc_info[0].__qualname__ if record.exc_info and record.exc_info[0] else None
            fields = {**told, "error_type": error, "traceback": stack or None}
            self.write(self._json(None, record.levelno, text, fields, record.name))
            return
        where = "" if record.name.startswith("streamtask") else f"{record.name}: "
        of = f"  [{short(told['task'], told['id'] or '')} attempt {told['attempt']}]" if told["task"] else ""
        line = self._text(record.levelname.lower(), f"{where}{text}{of}")
        self.write(f"{line}\n{_indented(stack)}" if stack else line)

    def _roll(self, now: float) -> None:
        """A new second begins."""
        summary = self._summary() if self._beyond > self._told else None
        if summary is not None:
            self.write(summary)
        self._second, self._left = now, DONE_A_SECOND

    def _summary(self) -> str | None:
        with self._rolling:
            more, self._told = self._beyond - self._told, self._beyond
        if not more:
            return None
        text = f"{more:,} more done in this second"
        if self.as_json:
            return self._json("task.done", logging.INFO, text, {"count": more, "verdict": "done"})
        return self._text("done", f"… {text}")

    def _json(self, name: str | None, level: int, msg: str, fields: dict[str, Any], logger: str = "streamtask") -> str:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        line: dict[str, Any] = {"ts": now, "level": logging.getLevelName(level).lower(), "logger": logger}
        line |= {"event": name, "msg": msg, "worker": self.worker}
        line |= {_JSON_NAMES.get(key, key): value for key, value in fields.items()}
        kept = {key: value for key, value in line.items() if value is not None and value != ""}
        return to_json(kept, serialize_unknown=True, inf_nan_mode="strings").decode()

    def _text(self, word: str, line: str) -> str:
        now = time.time()
        stamp = f"{time.strftime('%H:%M:%S', time.localtime(now))}.{int(now * 1000) % 1000:03d}"
        stamp += f" {self.tag:<10}" if self.tag else ""
        shown = f"{word:<5}"
        if self.colour and word in _COLOURS:
            shown = f"\x1b[{_COLOURS[word]}m{shown}\x1b[0m"
        return f"{stamp} {shown} {line}" if word else f"{stamp} {line}"

    def _event_text(self, name: str, level: int, msg: str, fields: dict[str, Any]) -> str:
        kind, _, what = name.partition(".")
        if kind == "task":
            return self._task_text(what, level, msg, fields)
        if name == "beat.tick":
            late, sent = fields.get("late_s", 0.0), fields.get("sent")
            tick = str(fields.get("tick", "")).replace("+00:00", "Z")
            skipped = "" if sent else "  not sent: the one before is unfinished"
            return self._text("tick", f"{fields.get('schedule')}  {tick}  {late:.3f} s late{skipped}")
        line = self._text("warning" if level >= logging.WARNING else "", msg)
        stack = fields.get("traceback")
        return f"{line}\n{_indented(stack)}" if stack else line

    def _task_text(self, what: str, level: int, msg: str, fields: dict[str, Any]) -> str:
        word = {"lease_lost": "lost", "released": "back"}.get(what, what)
        parts = [short(fields.get("task"), str(fields.get("id", "")))]
        if fields.get("attempt"):
            of = f" of {fields['attempts']}" if fields.get("attempts") else ""
            parts.append(f"attempt {fields['attempt']}{of}")
        if fields.get("retry_in_s") is not None:
            parts.append(f"in {show(fields['retry_in_s'])}")
        if fields.get("reason"):
            parts.append(str(fields["reason"]))
        if fields.get("error_type"):
            first = (str(fields.get("error") or "").splitlines() or [""])[0]
            parts.append(f"{fields['error_type']}: {first}")
        if what in ("lease_lost", "released"):
            parts.append(msg)
        if fields.get("args"):
            parts.append(f"args {fields['args']}")
        line = self._text(word, "  ".join(parts))
        stack = fields.get("traceback")
        if stack:
            line += f"\n{_indented(stack)}"
        return line


def short(task: str | None, id: str) -> str:
    """`daily_summary 6f2c…9a`."""
    name = task.rpartition(".")[2] if task else "?"
    return f"{name} {short_id(id)}"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines())
