"""Checks what is about to be submitted against the tenant's limits. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from orchestrator.model.errors import QuotaExceeded
from orchestrator.quota.bucket import MINUTE, Bucket, rate_of
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
    bucket: Bucket = field(default_factory=Bucket)
    _refusal: tuple[QuotaExceeded, datetime] | None = None

    def accepted(self, limits: Limits, count: int, now: datetime) -> None:
        """Count runs that were accepted at `now`."""
        self.hour.add(now, count)
        self.day.add(now, count)
        if rate := rate_of(limits):
            self.bucket.take(rate, now, count)

    def recall(
        self, limits: Limits, accepted: Iterable[tuple[datetime, int]], now: datetime
    ) -> None:
        """Count what was accepted before, told by minute: as at the end of it, never too lax."""
        for minute, count in accepted:
            self.accepted(limits, count, min(minute + MINUTE, now))

    def take_back(self, limits: Limits) -> None:
        """Count one run less that was accepted just now and is not stored."""
        self.hour.take_back()
        self.day.take_back()
        if rate := rate_of(limits):
            self.bucket.give_back(rate)

    def refused(self, error: QuotaExceeded, now: datetime) -> None:
        """Note that the database has refused what we would have accepted: others add runs, too.

        What waits changes at any time and is known here; the other limits hold until then.
        """
        if error.limit != "max_queue_length":
            self.hold(error, now)

    def hold(self, error: QuotaExceeded, now: datetime) -> None:
        """Accept nothing until it is time to try again."""
        if error.data["retry_after"]:
            self._refusal = error, now + timedelta(seconds=error.data["retry_after"])

    def forget_refusal(self) -> None:
        """Accept again what fits by our own count: the limits have changed."""
        self._refusal = None

    def check_refusal(self, tenant: str, now: datetime) -> None:
        """Raise QuotaExceeded while what the database has said holds."""
        if self._refusal is None:
            return
        error, until = self._refusal
        if now >= until:
            self._refusal = None
            return
        raise QuotaExceeded(
            tenant,
            limit=error.limit,
            allowed=error.data["allowed"],
            sentence=str(error),
            retry_after=math.ceil((until - now).total_seconds()),
        )

    def delay(self, limits: Limits, now: datetime, place: int) -> timedelta:
        """Return how long the run in that `place`, from 1 on, of those accepted has to wait."""
        rate = rate_of(limits)
        return timedelta(0) if rate is None else self.bucket.wait(rate, now, place)


COUNTED = ("max_queue_length", "max_runs_per_hour", "max_runs_per_day", "rate")
"""Limits that count runs, so that two who add some at the same time could pass one together."""

_OF_SUBMISSIONS = (*COUNTED, "rate_burst", "rate_over", "max_payload_bytes", "allowed_queues")


def of_submissions(limits: Limits) -> str | None:
    """Return the limits that the database checks when a run is added, as JSON; None for none.

    >>> of_submissions(Limits(max_queue_length=5, max_retries=1))
    '{"max_queue_length":5}'
    """
    found = {name: getattr(limits, name) for name in _OF_SUBMISSIONS}
    found = {name: value for name, value in found.items() if value is not None}
    return msgspec.json.encode(found).decode() if found else None


def of_counts(limits: Limits) -> str | None:
    """Return the same, but None as well when none of them is COUNTED."""
    counts = any(getattr(limits, name) is not None for name in COUNTED)
    return of_submissions(limits) if counts else None


def counted_span(limits: Limits) -> timedelta:
    """Return how far back accepted runs count for these limits; zero when none of them asks."""
    rate = rate_of(limits)
    spans = [
        DAY if limits.max_runs_per_day is not None else timedelta(0),
        HOUR if limits.max_runs_per_hour is not None else timedelta(0),
        rate.span if rate is not None else timedelta(0),
    ]
    return min(max(spans), DAY)


def check_submit(
    tenant: str, limits: Limits, usage: Usage, wanted: Sequence[Wanted], *, now: datetime
) -> None:
    """Raise QuotaExceeded, naming the limit, when `wanted` may not be accepted now."""
    for run in wanted:
        _check_payload(tenant, limits, run)
        _check_queue(tenant, limits, run)
    usage.check_refusal(tenant, now)
    _check_length(tenant, limits, usage.queued, len(wanted))
    _check_bucket(tenant, limits, usage, len(wanted), now)
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


def _check_bucket(tenant: str, limits: Limits, usage: Usage, wanted: int, now: datetime) -> None:
    rate = rate_of(limits)
    if rate is None or limits.rate_over == "delay":
        return
    never = wanted > rate.burst
    _check_rate(
        tenant, "rate", limits.rate or 0, None if never else usage.bucket.wait(rate, now, wanted)
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
