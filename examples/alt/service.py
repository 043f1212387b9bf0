"""What the three services have in common: their settings, the database, the app, and how failures are tried again."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from examples.alt.db import Database
from examples.alt.environment import seconds, value
from examples.alt.events import TOPICS
from examples.alt.settings import ConsumerSettings
from streamtask import RetryPolicy, StreamTask

#: All services share it, so `streamtask topics` and `streamtask dead` see them together.
NAMESPACE = "alt"


@dataclass(frozen=True, slots=True)
class Service:
    """A service's parts."""

    settings: ConsumerSettings
    app: StreamTask
    database: Database
    delay: float

    @property
    def max_retries(self) -> int:
        """Attempts after the first one: the variable counts deliveries."""
        return self.settings.max_deliveries - 1

    @property
    def retry(self) -> RetryPolicy:
        """Soon, and then more and more slowly; never what would fail again in the same way."""
        return RetryPolicy(base=1.0, max_delay=60.0, never=(TypeError, ValueError))

    def work_a_while(self) -> None:
        """The demo's: take as long as a language model would."""
        if self.delay:
            time.sleep(self.delay)


def service(name: str) -> Service:
    """The service of this name by the environment; raises SettingError for what cannot work."""
    settings = ConsumerSettings.read(os.environ, name)
    app = StreamTask(name, settings.redis_url, namespace=NAMESPACE)
    for topic in TOPICS:
        app.topic(topic, max_length=10_000, hard_max_length=50_000, overflow="refuse")
    database = Database(settings.database)
    database.create()
    return Service(settings, app, database, value(os.environ, "ALT_SIMULATED_DELAY", seconds, "0"))
