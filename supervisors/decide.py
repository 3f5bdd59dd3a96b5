"""What follows when a supervisor has ended.

A pure function of how it ended and what happened before.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from orchestrator.model.errors import (
    DatabaseRefused,
    DatabaseUnavailable,
    LeaseHeldElsewhere,
    LeaseLost,
    MigrationChecksumMismatch,
    MigrationFailed,
    RoleConflict,
    SchemaConflict,
    SchemaVersionAhead,
    TenantHeld,
    TenantNotFound,
)
from orchestrator.store import sqlstate
from orchestrator.store.connect import classify as classify_driver


class Failure(StrEnum):
    """Why a supervisor ended without being asked to."""

    INFRASTRUCTURE = "infrastructure"
    PERMANENT = "permanent"
    CRASH = "crash"
    LEASE = "lease"


@dataclass(frozen=True, slots=True)
class Ended:
    """How an incarnation ended: no failure when it was idle or asked to stop.

    `healthy_seconds` counts from when it served, not from when it began to start.
    """

    failure: Failure | None = None
    error: str | None = None
    healthy_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Policy:
    """The configured intensity, in crashes per seconds, and the delays in seconds."""

    intensity: int = 5
    period: float = 60.0
    crash_initial: float = 0.2
    crash_cap: float = 30.0
    outage_initial: float = 0.5
    outage_cap: float = 60.0
    probe_initial: float = 300.0
    probe_cap: float = 3600.0


@dataclass(frozen=True, slots=True)
class Record:
    """What happened before. It lives in the slot: a supervisor that restarts must not forget it."""

    crashes: tuple[float, ...] = field(default=())
    failures: int = 0
    probes: int = 0
    last_delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Rest:
    """Back to dormant (or straight on, when there is mail)."""


@dataclass(frozen=True, slots=True)
class Restart:
    """Try again after `delay` seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Leave the tenant alone; probe it after `delay` seconds."""

    delay: float


Decision = Rest | Restart | Quarantine


def decide(
    ended: Ended, record: Record, policy: Policy, *, now: float, chance: float
) -> tuple[Decision, Record]:
    """Return what to do and what to remember.

    `now` is monotonic seconds, `chance` in [0, 1) spreads the delays (full jitter). An outage is
    retried for ever and never counts as a crash; crashes beyond the intensity, any crash of a
    probe, and what trying again can not mend, end in quarantine; the record is clean again only
    after a healthy time.
    """
    if ended.healthy_seconds >= max(policy.period, 2 * record.last_delay):
        record = Record()
    match ended.failure:
        case None | Failure.LEASE:
            return Rest(), record
        case Failure.INFRASTRUCTURE:
            delay = _backoff(policy.outage_initial, policy.outage_cap, record.failures, chance)
            return Restart(delay), replace(record, failures=record.failures + 1, last_delay=delay)
        case Failure.PERMANENT:
            return _quarantine(record, policy)
        case Failure.CRASH:
            recent = (*(t for t in record.crashes if t > now - policy.period), now)
            record = replace(record, crashes=recent)
            if record.probes or len(recent) > policy.intensity:
                return _quarantine(replace(record, crashes=()), policy)
            delay = _backoff(policy.crash_initial, policy.crash_cap, len(recent) - 1, chance)
            return Restart(delay), replace(record, last_delay=delay)


def classify(error: BaseException) -> Failure:
    """Return what kind of failure an exception or a group is; the worst of a group counts."""
    if isinstance(error, BaseExceptionGroup):
        kinds = {classify(inner) for inner in error.exceptions}
        return next(kind for kind in _WORST_FIRST if kind in kinds)
    if isinstance(error, LeaseLost | LeaseHeldElsewhere | TenantHeld):
        return Failure.LEASE
    if isinstance(error, _PERMANENT):
        return Failure.PERMANENT
    if isinstance(error, DatabaseUnavailable):
        return Failure.INFRASTRUCTURE
    return _classify_driver_error(error)


def _classify_driver_error(error: BaseException) -> Failure:
    state = getattr(error, "sqlstate", None) or ""
    if state.startswith(_PASSING):
        return Failure.INFRASTRUCTURE
    if state.startswith(_SCHEMA_GONE):
        return Failure.PERMANENT
    return _OF_DRIVER.get(classify_driver(error), Failure.CRASH)


def _quarantine(record: Record, policy: Policy) -> tuple[Decision, Record]:
    delay = min(policy.probe_cap, policy.probe_initial * 2**record.probes)
    return Quarantine(delay), replace(record, probes=record.probes + 1, last_delay=delay)


def _backoff(initial: float, cap: float, failures: int, chance: float) -> float:
    """Return a delay with full jitter, but never less than a tenth of the bound.

    Brooker, "Exponential Backoff And Jitter".
    """
    bound = min(cap, initial * 2.0 ** min(failures, 62))
    return bound * (0.1 + 0.9 * chance)


_PERMANENT = (
    DatabaseRefused,
    MigrationFailed,
    MigrationChecksumMismatch,
    SchemaVersionAhead,
    RoleConflict,
    SchemaConflict,
    TenantNotFound,
)
_PASSING = ("40", sqlstate.LOCK_NOT_AVAILABLE, sqlstate.QUERY_CANCELED)
"""Deadlocks, locks not had in time, cancelled statements: the same may go well the next time."""

_SCHEMA_GONE = (sqlstate.INVALID_SCHEMA_NAME,)
_WORST_FIRST = (Failure.LEASE, Failure.PERMANENT, Failure.CRASH, Failure.INFRASTRUCTURE)
_OF_DRIVER: dict[type | None, Failure] = {
    DatabaseUnavailable: Failure.INFRASTRUCTURE,
    DatabaseRefused: Failure.PERMANENT,
}
