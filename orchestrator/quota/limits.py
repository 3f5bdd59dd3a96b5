"""Checks what is about to be submitted against the tenant's limits. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from orchestrator.model.errors import QuotaExceeded
from orchestrator.settings.model import Limits


class Wanted(msgspec.Struct, frozen=True):
    """One run to be submitted: its queue and the bytes of its input."""

    queue: str
    payload_bytes: int


def check_submit(tenant: str, limits: Limits, *, queued: int, wanted: Sequence[Wanted]) -> None:
    """Raise QuotaExceeded, naming the limit, when `wanted` may not join the `queued` runs already waiting."""
    for run in wanted:
        _check_payload(tenant, limits, run)
        _check_queue(tenant, limits, run)
    allowed = limits.max_queue_length
    if allowed is not None and queued + len(wanted) > allowed:
        raise QuotaExceeded(
            tenant,
            limit="max_queue_length",
            allowed=allowed,
            sentence=f"tenant {tenant!r} has {queued} runs waiting and may have {allowed}; "
            f"{len(wanted)} more are too many",
            retry_after=5.0,
        )


def _check_payload(tenant: str, limits: Limits, run: Wanted) -> None:
    allowed = limits.max_payload_bytes
    if allowed is not None and run.payload_bytes > allowed:
        raise QuotaExceeded(
            tenant,
            limit="max_payload_bytes",
            allowed=int(allowed),
            sentence=f"the input has {run.payload_bytes} bytes; tenant {tenant!r} may send {allowed}",
        )


def _check_queue(tenant: str, limits: Limits, run: Wanted) -> None:
    allowed = limits.allowed_queues
    if allowed is not None and run.queue not in allowed:
        raise QuotaExceeded(
            tenant,
            limit="allowed_queues",
            allowed=list(allowed),
            sentence=f"tenant {tenant!r} may not use queue {run.queue!r}; allowed: {', '.join(allowed)}",
        )
