"""What follows when a supervisor has ended."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import ssl

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model import errors
from supervisors.decide import (
    Ended,
    Failure,
    Policy,
    Quarantine,
    Record,
    Rest,
    Restart,
    classify,
    decide,
)

POLICY = Policy()
CRASH = Ended(failure=Failure.CRASH, error="boom")
OUTAGE = Ended(failure=Failure.INFRASTRUCTURE, error="gone")
REFUSED = Ended(failure=Failure.PERMANENT, error="no login")


def crashes_at(*moments: float) -> list[type]:
    """Return what is decided at each of these crashes."""
    record, decided = Record(), []
    for now in moments:
        decision, record = decide(CRASH, record, POLICY, now=now, chance=0.5)
        decided.append(type(decision))
    return decided


def test_an_idle_end_rests_and_remembers_what_was_before() -> None:
    record = Record(crashes=(1.0,), failures=2, probes=1, last_delay=3.0)
    decision, after = decide(Ended(healthy_seconds=1), record, POLICY, now=10.0, chance=0.0)
    assert (decision, after) == (Rest(), record)


def test_a_lost_lease_is_no_crash() -> None:
    lost = Ended(failure=Failure.LEASE, error="another owner")
    assert decide(lost, Record(), POLICY, now=0.0, chance=0.0) == (Rest(), Record())


def test_five_crashes_in_a_minute_are_borne_and_the_sixth_is_one_too_many() -> None:
    assert crashes_at(0, 1, 2, 3, 4, 5) == [Restart] * 5 + [Quarantine]
    assert crashes_at(0, 1, 2, 3, 59.9, 59.95) == [Restart] * 5 + [Quarantine]


def test_a_crash_every_thirteen_seconds_never_quarantines() -> None:
    assert set(crashes_at(*(13.0 * n for n in range(1000)))) == {Restart}


def test_crashes_are_counted_within_the_period_alone() -> None:
    assert crashes_at(0, 1, 2, 3, 4, 60.5, 61.5) == [Restart] * 7


def test_the_delay_after_a_crash_doubles_up_to_its_cap() -> None:
    policy = Policy(intensity=1000, crash_initial=0.2, crash_cap=30.0)
    record, delays = Record(), []
    for now in range(12):
        decision, record = decide(CRASH, record, policy, now=float(now), chance=1 - 1e-9)
        assert isinstance(decision, Restart)
        delays.append(round(decision.delay, 3))
    assert delays == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0, 30.0, 30.0]


def test_an_outage_is_retried_for_ever_with_growing_delays() -> None:
    record, delays = Record(), []
    for now in range(10_000):
        decision, record = decide(OUTAGE, record, POLICY, now=float(now), chance=1 - 1e-9)
        assert isinstance(decision, Restart)
        delays.append(decision.delay)
    assert [round(delay, 2) for delay in delays[:8]] == [0.5, 1, 2, 4, 8, 16, 32, 60]
    assert max(delays) <= 60.0
    assert record.crashes == ()


def test_what_trying_again_can_not_mend_quarantines_at_once() -> None:
    decision, _ = decide(REFUSED, Record(), POLICY, now=0.0, chance=0.0)
    assert decision == Quarantine(300.0)


def test_the_time_between_probes_doubles_up_to_an_hour() -> None:
    record, delays = Record(), []
    for now in range(7):
        decision, record = decide(REFUSED, record, POLICY, now=float(now), chance=0.0)
        assert isinstance(decision, Quarantine)
        delays.append(decision.delay)
    assert delays == [300, 600, 1200, 2400, 3600, 3600, 3600]


def test_one_crash_of_a_probe_is_enough_to_quarantine_again() -> None:
    record = Record()
    for now in range(6):
        _, record = decide(CRASH, record, POLICY, now=float(now), chance=0.0)
    decision, _ = decide(CRASH, record, POLICY, now=400.0, chance=0.0)
    assert decision == Quarantine(600.0)


def test_an_outage_during_a_probe_is_not_held_against_the_tenant() -> None:
    _, record = decide(REFUSED, Record(), POLICY, now=0.0, chance=0.0)
    decision, record = decide(OUTAGE, record, POLICY, now=400.0, chance=0.0)
    assert isinstance(decision, Restart)
    assert record.probes == 1


@pytest.mark.parametrize(
    ("healthy", "last_delay", "forgiven"),
    [
        (0.0, 0.0, False),
        (59.9, 0.0, False),
        (60.0, 0.0, True),
        (60.0, 30.0, True),
        (119.9, 60.0, False),
        (120.0, 60.0, True),
        (599.0, 300.0, False),
        (600.0, 300.0, True),
    ],
)
def test_the_record_is_clean_again_only_after_a_healthy_time(
    healthy: float, last_delay: float, forgiven: bool
) -> None:
    record = Record(crashes=(90.0,), failures=7, probes=3, last_delay=last_delay)
    _, after = decide(Ended(healthy_seconds=healthy), record, POLICY, now=100.0, chance=0.0)
    assert after == (Record() if forgiven else record)


@given(
    st.lists(
        st.tuples(st.sampled_from(list(Failure)), st.floats(0, 500), st.floats(0, 0.999)),
        max_size=60,
    )
)
def test_delays_stay_within_their_bounds_whatever_happens(
    history: list[tuple[Failure, float, float]],
) -> None:
    record, now = Record(), 0.0
    for failure, passed, chance in history:
        now += passed
        decision, record = decide(Ended(failure), record, POLICY, now=now, chance=chance)
        match decision:
            case Restart(delay=delay):
                cap = 30.0 if failure is Failure.CRASH else 60.0
                assert 0 < delay <= cap
            case Quarantine(delay=delay):
                assert failure in (Failure.CRASH, Failure.PERMANENT)
                assert 300.0 <= delay <= 3600.0
            case Rest():
                assert failure is Failure.LEASE
        assert len(record.crashes) <= POLICY.intensity


def test_equal_chances_spread_the_delays() -> None:
    delays = set()
    for chance in (0.0, 0.25, 0.5, 0.75):
        decision, _ = decide(OUTAGE, Record(), POLICY, now=0.0, chance=chance)
        assert isinstance(decision, Restart)
        delays.add(decision.delay)
    assert len(delays) == 4
    assert min(delays) >= 0.05


def _driver(name: str) -> Exception:
    made: Exception = getattr(asyncpg, name)("said the server")
    return made


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("bug"), Failure.CRASH),
        (KeyError("bug"), Failure.CRASH),
        (asyncio.CancelledError(), Failure.CRASH),
        (ConnectionRefusedError(), Failure.INFRASTRUCTURE),
        (ConnectionResetError(), Failure.INFRASTRUCTURE),
        (TimeoutError(), Failure.INFRASTRUCTURE),
        (socket.gaierror("no such host"), Failure.INFRASTRUCTURE),
        (ssl.SSLError("the peer went away"), Failure.INFRASTRUCTURE),
        (ssl.SSLCertVerificationError("unknown issuer"), Failure.PERMANENT),
        (errors.DatabaseUnavailable("gone"), Failure.INFRASTRUCTURE),
        (_driver("ConnectionDoesNotExistError"), Failure.INFRASTRUCTURE),  # 08003
        (_driver("ConnectionFailureError"), Failure.INFRASTRUCTURE),  # 08006
        (_driver("DiskFullError"), Failure.INFRASTRUCTURE),  # 53100
        (_driver("OutOfMemoryError"), Failure.INFRASTRUCTURE),  # 53200
        (_driver("TooManyConnectionsError"), Failure.INFRASTRUCTURE),  # 53300
        (_driver("AdminShutdownError"), Failure.INFRASTRUCTURE),  # 57P01
        (_driver("CrashShutdownError"), Failure.INFRASTRUCTURE),  # 57P02
        (_driver("CannotConnectNowError"), Failure.INFRASTRUCTURE),  # 57P03
        (_driver("SerializationError"), Failure.INFRASTRUCTURE),  # 40001
        (_driver("DeadlockDetectedError"), Failure.INFRASTRUCTURE),  # 40P01
        (_driver("LockNotAvailableError"), Failure.INFRASTRUCTURE),  # 55P03
        (_driver("QueryCanceledError"), Failure.INFRASTRUCTURE),  # 57014
        (asyncpg.InterfaceError("connection is closed"), Failure.INFRASTRUCTURE),
        (asyncpg.InterfaceError("cannot perform operation"), Failure.CRASH),
        (_driver("InvalidPasswordError"), Failure.PERMANENT),  # 28P01
        (_driver("InvalidAuthorizationSpecificationError"), Failure.PERMANENT),  # 28000
        (_driver("InvalidCatalogNameError"), Failure.PERMANENT),  # 3D000
        (_driver("InvalidSchemaNameError"), Failure.PERMANENT),  # 3F000
        (_driver("InsufficientPrivilegeError"), Failure.PERMANENT),  # 42501
        (_driver("UndefinedTableError"), Failure.CRASH),  # 42P01
        (_driver("UniqueViolationError"), Failure.CRASH),  # 23505
        (errors.DatabaseRefused("no"), Failure.PERMANENT),
        (errors.RoleConflict("acme", "no"), Failure.PERMANENT),
        (errors.SchemaConflict("acme", "no"), Failure.PERMANENT),
        (errors.MigrationFailed("acme", "no"), Failure.PERMANENT),
        (errors.MigrationChecksumMismatch("acme", "no"), Failure.PERMANENT),
        (errors.SchemaVersionAhead("acme", "no"), Failure.PERMANENT),
        (errors.TenantNotFound("acme"), Failure.PERMANENT),
        (errors.LeaseLost("acme", "lost"), Failure.LEASE),
        (errors.LeaseHeldElsewhere("acme", "held"), Failure.LEASE),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_what_kind_of_failure_an_error_is(error: BaseException, expected: Failure) -> None:
    assert classify(error) is expected
    assert classify(BaseExceptionGroup("", [BaseExceptionGroup("", [error])])) is expected


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([TimeoutError(), RuntimeError()], Failure.CRASH),
        ([RuntimeError(), errors.DatabaseRefused("no"), TimeoutError()], Failure.PERMANENT),
        ([RuntimeError(), errors.LeaseLost("acme", "lost")], Failure.LEASE),
        ([asyncio.CancelledError(), TimeoutError()], Failure.CRASH),
    ],
)
def test_the_worst_of_a_group_counts(members: list[BaseException], expected: Failure) -> None:
    assert classify(BaseExceptionGroup("", members)) is expected


def test_values_are_not_changed_in_place() -> None:
    record = Record(crashes=(1.0,))
    kept = dataclasses.replace(record)
    decide(CRASH, record, POLICY, now=2.0, chance=0.1)
    assert record == kept
