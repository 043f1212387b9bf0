"""The rules of a worker, each of which can be switched off to show that it is needed; and what all workers share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rules:
    """Each rule of the worker, and whether it is kept."""

    adopt: bool = True  # an entry that is here already changes its token, and starts nothing
    zombie: bool = True  # an attempt that was lost and runs on is not joined by a second one
    fresh: bool = True  # a start needs a recent confirmation
    begin: bool = True  # and right before the function begins, one that is still recent
    gap: bool = True  # after a standstill of the loop only the sending time of a read is sure
    silent: bool = True  # nothing starts while nothing is renewed
    refused_is_silence: bool = True  # a server that refuses to renew has not been heard
    holiday: bool = True  # no claims after an outage
    rest: bool = True  # and for a moment after one that is shorter than half a lease
    deadline: bool = True  # a claim that is carried out late takes nothing
    lane: bool = True  # a suspect runs alone
    unreserve: bool = True  # a slot that was kept for a mark is given back whatever happens
    lane_ends: bool = True  # a suspect that turns out too late or unreadable leaves the lane, whenever that is seen
    refill: bool = True  # a slot that is free again without an end is filled again
    asked: bool = True  # what waits for a renewal is started once, also when its token changes meanwhile
    longest_gap: bool = True  # a short standstill does not hide a long one
    mark: bool = True  # and its start is marked
    slots: bool = True  # a suspect needs a free slot, and keeps none while it waits
    convict_by_count: bool = False  # the plain cap: what was delivered often is buried
    free_release: bool = True  # what never started goes back with its count lowered
    release_guard: bool = True  # a second try to give back leaves alone what was delivered after the first
    release_rests: bool = True  # what is on its way back is not renewed, or its second try would leave it alone
    renew: bool = True  # held deliveries are renewed
    sweep_own: bool = True  # at a stop, what stands under its name and is in no table goes back
    retry_settle: bool = True  # a write whose answer was lost is sent again
    lock_unread: bool = True  # a message that is buried unread gives its unique key back, too


@dataclass(frozen=True)
class Settings:
    """What all workers of one run share; times in ms."""

    lease: int = 1200
    slots: int = 1
    prefetch: int = 1
    cap: int = 3
    retries: int = 1
    idempotent: bool = True
    threads: bool = False  # an attempt cannot be cancelled
    result: bool = False
