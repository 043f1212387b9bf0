"""What a worker knows of Redis and of its own standstills, as worker/contact.py and the fetcher's heartbeat."""

from __future__ import annotations

from .rules import Rules, Settings


class Contact:
    """When Redis was heard, when the lease thread took its last good turn, how long the loop stood still."""

    settings: Settings
    rules: Rules
    now: int

    def met(self, settings: Settings, rules: Rules, now: int) -> None:
        """A process begins."""
        self.settings, self.rules, self.now = settings, rules, now
        self.heard = self.last_turn = now
        self.holiday_until = 0
        self.gap, self.gap_at = 0, -(10**6)

    @property
    def silent(self) -> bool:
        """Has the lease thread renewed nothing for half a lease?"""
        return self.rules.silent and self.now - self.last_turn > self.settings.lease / 2

    def stood(self, since: int) -> None:
        """The loop goes on after a standstill."""
        gap = self.now - since
        if self.rules.longest_gap:
            gap = max(gap, self.recent_gap())
        self.gap, self.gap_at = gap, self.now

    def recent_gap(self) -> int:
        """How long the loop stood still lately."""
        return self.gap if self.now - self.gap_at < self.settings.lease else 0

    def hear(self, sent: int) -> None:
        """Redis has answered what was sent then, as Contact.heard."""
        if self.now - self.heard > self.settings.lease / 2:
            self.take_holiday()
        self.heard = max(self.heard, sent)

    def rest(self, moment: int = 1) -> None:
        """Claim nothing until others have renewed, which healthy ones do before the next tick."""
        if self.rules.holiday and self.rules.rest:
            self.holiday_until = max(self.holiday_until, self.now + moment)

    def take_holiday(self) -> None:
        """Claim nothing for a while."""
        if self.rules.holiday:
            self.holiday_until = max(self.holiday_until, self.now + self.settings.lease * 2 // 3)
