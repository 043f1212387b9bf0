"""Moments: inside, an int of milliseconds since 1970 UTC, as Redis `TIME` counts; outside, an aware datetime."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


def to_ms(moment: datetime) -> int:
    """The instant of an aware datetime, in ms, rounded down."""
    return (moment - EPOCH) // MILLISECOND


def from_ms(instant: int, zone: tzinfo = UTC) -> datetime:
    """The aware datetime of an instant (ms), in `zone`."""
    return (EPOCH + timedelta(milliseconds=instant)).astimezone(zone)


def require_aware(moment: datetime, what: str) -> datetime:
    """Give `moment` back, or raise a ValueError that says how to give it a zone."""
    if not isinstance(moment, datetime):
        raise TypeError(f"{what} must be a datetime, not {moment!r}")
    if moment.utcoffset() is None:
        raise ValueError(
            f"{what} {moment.isoformat()} has no time zone, so it names no instant. "
            f'Add one, for example .replace(tzinfo=ZoneInfo("Asia/Tokyo")) or tzinfo=timezone.utc'
        )
    return moment
