"""What records of logging say of the attempt that made them."""

from __future__ import annotations

import logging

from streamtask.context import current

#: The attributes.
TASK_FIELDS = ("id", "task", "queue", "attempt")


class TaskFilter(logging.Filter):
    """Gives each record made inside a task the attributes `id`, `task`, `queue`, `attempt`; elsewhere they are None."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add them; lets every record pass."""
        context = current(None)
        for name in TASK_FIELDS:
            if not hasattr(record, name):
                setattr(record, name, None if context is None else getattr(context, name))
        return True
