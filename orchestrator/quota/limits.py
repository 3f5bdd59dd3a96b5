"""Checks what is about to be submitted against the tenant's limits. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from orchestrator.model.errors import QuotaExceeded
from orchestrator.quota.window import DAY, HOUR, Window
from orchestrator.settings.model import Limits


class Wanted(msgspec.Struct, frozen=True):
    """One run to be submitted: its queue and the bytes of its input."""

    queue: str
    payload_bytes: int


@dataclass(slots=True)
class Usage:
    """What a tenant has used: runs that wait now, and runs accepted lately."""

    queued: int = 0
    hour: Window = field(default_factory=lambda: Window(HOUR))
    day: Window = field(default_factory=lambda: Window(DAY))

    def accepted(self, count: int, now: datetime) -> None:
        """Count runs that were accepted at `now`."""
        self.hour.add(now, count)
        self.day.add(now, count)

    def take_back(self) -> None:
        """Count one run less that was accepted just now and is not stored."""
        self.hour.take_back()
        self.day.take_back()


def counted_span(limits: Limits) -> timedelta:
    """Return how far back accepted runs count for these limits; zero when none of them asks."""
    if limits.max_runs_per_day is not None:
        return DAY
    return HOUR if limits.max_runs_per_hour is not None else timedelta(0)


def check_submit(
    tenant: str, limits: Limits, usage: Usage, wanted: Sequence[Wanted], *, now: datetime
) -> None:
    """Raise QuotaExceeded, naming the limit, when `wanted` may not be accepted now."""
    for run in wanted:
        _check_payload(tenant, limits, run)
        _check_queue(tenant, limits, run)
    _check_length(tenant, limits, usage.queued, len(wanted))
    rates = (
        ("max_runs_per_hour", limits.max_runs_per_hour, usage.hour),
        ("max_runs_per_day", limits.max_runs_per_day, usage.day),
    )
    for name, allowed, window in rates:
        if allowed is not None:
            _check_rate(
                tenant, name, allowed, window.wait(now, wanted=len(wanted), allowed=allowed)
            )


def _check_length(tenant: str, limits: Limits, queued: int, wanted: int) -> None:
    allowed = limits.max_queue_length
    if allowed is not None and queued + wanted > allowed:
        raise QuotaExceeded(
            tenant,
            limit="max_queue_length",
            allowed=allowed,
            sentence=f"tenant {tenant!r} has {queued} runs waiting and may have {allowed}; "
            f"{wanted} more are too many",
            retry_after=5.0,
        )


def _check_rate(tenant: str, name: str, allowed: int, wait: timedelta | None) -> None:
    if wait is None:
        raise QuotaExceeded(
            tenant,
            limit=name,
            allowed=allowed,
            sentence=(
                f"tenant {tenant!r} is limited to {name} = {allowed}, fewer than were sent at once"
            ),
        )
    if wait:
        raise QuotaExceeded(
            tenant, limit=name, allowed=allowed, retry_after=math.ceil(wait.total_seconds())
        )


def _check_payload(tenant: str, limits: Limits, run: Wanted) -> None:
    allowed = limits.max_payload_bytes
    if allowed is not None and run.payload_bytes > allowed:
        raise QuotaExceeded(
            tenant,
            limit="max_payload_bytes",
            allowed=int(allowed),
            sentence=(
                f"the input has {run.payload_bytes} bytes; tenant {tenant!r} may send {allowed}"
            ),
        )


def _check_queue(tenant: str, limits: Limits, run: Wanted) -> None:
    allowed = limits.allowed_queues
    if allowed is not None and run.queue not in allowed:
        raise QuotaExceeded(
            tenant,
            limit="allowed_queues",
            allowed=list(allowed),
            sentence=(
                f"tenant {tenant!r} may not use queue {run.queue!r}; allowed: {', '.join(allowed)}"
            ),
        )
