"""What a demo run is: its folder, its environment, and the delay that gives it its length."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).parents[3]
THREADS = 4  # summaries at once in each worker
LEASE = 3  # seconds after which a dead worker's tasks move
#: Share of the summaries after which a worker is killed.
KILL_AT = 0.3
#: Seconds of simulated work: about how long all summaries should take, and at most for each.
LENGTH, LONGEST_DELAY = 12.0, 0.8
#: What a user's own settings must not change in a demo.
_OURS = ("STREAMTASK_", "REDIS_", "DIARY_", "SCHEDULER_", "SUMMARIZER_")


def new_folder(now: datetime) -> Path:
    """A fresh folder for this run's Redis, database and logs."""
    folder = ROOT / ".streamtask" / "demo" / f"{now:%Y%m%d-%H%M%S}-{os.getpid()}"
    folder.mkdir(parents=True)
    return folder


@dataclass(frozen=True, slots=True)
class Plan:
    """Where it runs, and which item is made to fail for ever."""

    folder: Path
    fail_item: str
    targets: int

    @property
    def database(self) -> Path:
        return self.folder / "diary.sqlite3"

    @property
    def url(self) -> str:
        """The private Redis of this run; whoever uses it starts it."""
        return f"embedded://{quote(str(self.folder / 'redis'))}"

    @property
    def delay(self) -> float:
        """Seconds that each summary takes longer, so that there is something to kill."""
        return max(0.001, min(LONGEST_DELAY, LENGTH * THREADS / max(1, self.targets)))

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """The environment of beats and workers: the given one, with the service's settings replaced by the demo's."""
        kept = {name: value for name, value in given.items() if not name.startswith(_OURS)}
        return kept | {
            "STREAMTASK_URL": self.url,
            "DIARY_DATABASE": str(self.database),
            "SCHEDULER_DAILY_INTERVAL": "1s",
            "SCHEDULER_MONTHLY_INTERVAL": "2s",
            "DIARY_MAX_RETRIES": "3",
            "DIARY_RETRY_BASE": "200ms",
            "DIARY_SIMULATED_DELAY": f"{self.delay:.3f}s",
            "DIARY_FAIL_ITEM": self.fail_item,
        }
