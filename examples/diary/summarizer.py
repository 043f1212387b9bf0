"""What a summarizer is, and the ways in which it fails."""

from __future__ import annotations

from typing import Protocol


class Summarizer(Protocol):
    """Makes a short text of a long one. Called from several threads at once."""

    @property
    def model_version(self) -> str:
        """Stored beside each summary."""

    def summarize(self, text: str, limit: int) -> str:
        """A summary of about `limit` characters at most, in the text's own language."""


class Refused(Exception):
    """The model will never summarise this text (content policy): trying again is useless."""


class RateLimited(Exception):
    """The model asks us to wait `delay` seconds. That is no failure of the item."""

    def __init__(self, delay: float) -> None:
        super().__init__(f"rate limit: wait {delay:g} s")
        self.delay = delay


class SummarizerError(Exception):
    """The summarizer failed in a way that may pass: its server is ill, or its answer makes no sense."""
