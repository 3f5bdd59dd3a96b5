"""insula.submit obeys the limits of its tenant, whoever else adds runs at the same time."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import anyio
import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.store.connect import Connection, Target
from tests.store.submitting import RUNS, allow, limit, submit
from tests.support.database import Database


async def refused(connection: Connection, *arguments: Any, **named: Any) -> asyncpg.PostgresError:
    """Return what a submission is refused with for a limit."""
    with pytest.raises(asyncpg.PostgresError) as caught:
        await submit(connection, *arguments, **named)
    assert caught.value.sqlstate == "IN429", caught.value
    return caught.value


def details(error: asyncpg.PostgresError) -> dict[str, Any]:
    """Return what programs read of a refusal."""
    found: dict[str, Any] = msgspec.json.decode(str(error.detail))
    return found


async def stored(database: Database) -> int:
    """Return how many runs acme has."""
    return len(await (await database.connect()).fetch(RUNS))


async def passing(database: Database, application: Target, many: int, wave: int) -> int:
    """Submit `many` runs, each in a transaction of its own, `wave` at a time; return who passed."""
    passed = 0

    async def one(connection: Connection) -> None:
        nonlocal passed
        with suppress(asyncpg.PostgresError):
            await submit(connection, "acme", "report")
            passed += 1

    connections = [await database.connect(application) for _ in range(wave)]
    for _ in range(many // wave):
        async with anyio.create_task_group() as group:
            for connection in connections:
                group.start_soon(one, connection)
    return passed


async def test_a_refusal_tells_people_and_programs_the_limit(
    acme: Database, application: Target
) -> None:
    await limit(acme, max_payload_bytes=10, allowed_queues=["default", "slow"])
    connection = await acme.connect(application)

    queue = await refused(connection, "acme", "report", queue="fast")
    payload = await refused(connection, "acme", "report", '{"month": 12}')

    assert queue.args[0] == "tenant 'acme' may not use queue 'fast'; allowed: default, slow"
    assert details(queue) == {
        "code": "quota_exceeded",
        "tenant": "acme",
        "limit": "allowed_queues",
        "allowed": ["default", "slow"],
        "retry_after": 0,
    }
    assert payload.args[0] == "the input has 13 bytes; tenant 'acme' may send 10"
    assert payload.hint == "raise limits.max_payload_bytes"
    assert await stored(acme) == 0
    await submit(connection, "acme", "report", '{"m": 12}', queue="slow")


@pytest.mark.parametrize(
    "name", ["max_queue_length", "max_runs_per_hour", "max_runs_per_day", "rate"]
)
@pytest.mark.requirement("quota.max_runs_per_hour", "quota.max_runs_per_day", "quota.rate")
async def test_of_many_at_once_exactly_as_many_pass_as_the_limit_allows(
    acme: Database, application: Target, name: str
) -> None:
    await limit(acme, **{name: 10})

    assert await passing(acme, application, 50, wave=10) == 10

    assert await stored(acme) == 10
    error = await refused(await acme.connect(application), "acme", "report")
    assert (details(error)["limit"], details(error)["allowed"]) == (name, 10)
    assert 0 < details(error)["retry_after"] <= 86_400


async def test_of_two_open_transactions_the_one_that_commits_second_is_refused(
    acme: Database, application: Target
) -> None:
    await limit(acme, max_runs_per_hour=1)
    first, second = [await acme.connect(application) for _ in range(2)]
    late = second.transaction()
    await late.start()
    await submit(second, "acme", "report")  # fits into what is committed

    await submit(first, "acme", "report")  # nobody waits for the open one

    with pytest.raises(asyncpg.PostgresError) as caught:
        await late.commit()
    assert caught.value.sqlstate == "IN429"
    assert details(caught.value)["limit"] == "max_runs_per_hour"
    assert await stored(acme) == 1


class Session:
    """An application's connection, and how many runs its open transaction has submitted."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.own = 0

    async def submit(self, *, fits: bool) -> None:
        """Submit one run in the open transaction; a refusal takes that back."""
        if not self.own:
            await self.connection.execute("BEGIN")
        if fits:
            await submit(self.connection, "acme", "report")
            self.own += 1
        else:
            await refused(self.connection, "acme", "report")
            await self.rollback()

    async def commit(self, *, fits: bool) -> int:
        """End the transaction, if there is one; return how many runs that has added."""
        own, self.own = self.own, 0
        if not fits:
            with pytest.raises(asyncpg.PostgresError):
                await self.connection.execute("COMMIT")
            return 0
        await self.connection.execute("COMMIT" if own else "SELECT")
        return own

    async def rollback(self) -> None:
        """Take the transaction back."""
        await self.connection.execute("ROLLBACK")
        self.own = 0


@pytest.fixture
async def connections(acme: Database, application: Target) -> list[Connection]:
    """Return three connections of an application, and one of the admin."""
    return [*[await acme.connect(application) for _ in range(3)], await acme.connect()]


STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["submit", "submit", "commit", "rollback"])),
    min_size=4,
    max_size=16,
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_open_transactions_pass_in_any_order_as_long_as_what_is_committed_leaves_room(
    acme: Database, connections: list[Connection], steps: list[tuple[int, str]]
) -> None:
    *applications, admin = connections
    sessions = [Session(each) for each in applications]
    await limit(acme, max_queue_length=3, max_runs_per_hour=3, rate=3)
    await admin.execute("TRUNCATE tenant_acme.wf_run")
    await admin.execute("UPDATE tenant_acme.wf_quota SET full_at = '-infinity', hour_spare = 0")
    committed = 0

    for which, act in [*steps, *((each, "commit") for each in range(3))]:
        session = sessions[which]
        match act:
            case "submit":
                await session.submit(fits=committed + session.own < 3)
            case "commit":
                fits = not session.own or committed + session.own <= 3
                committed += await session.commit(fits=fits)
            case _ if session.own:
                await session.rollback()
        assert await admin.fetchval("SELECT count(*) FROM tenant_acme.wf_run") == committed


async def test_what_is_rolled_back_gives_its_count_back(
    acme: Database, application: Target
) -> None:
    await limit(acme, max_runs_per_hour=2, rate=2, max_queue_length=2)
    connection = await acme.connect(application)

    async with connection.transaction():
        inner = connection.transaction()
        await inner.start()
        for _ in range(2):
            await submit(connection, "acme", "report")
        await inner.rollback()
        for _ in range(2):
            await submit(connection, "acme", "report")
    await refused(connection, "acme", "report")

    assert await stored(acme) == 2


async def test_a_known_key_is_its_run_over_any_limit(acme: Database, application: Target) -> None:
    connection = await acme.connect(application)
    id = await submit(connection, "acme", "report", '{"month": 12}', key="k")
    await limit(acme, max_payload_bytes=2, max_runs_per_hour=1, allowed_queues=["slow"])

    assert await submit(connection, "acme", "report", '{"month": 12}', key="k") == id


async def test_a_transaction_that_counts_early_is_counted_once(
    acme: Database, application: Target
) -> None:
    await limit(acme, rate=4)
    connection = await acme.connect(application)

    async with connection.transaction():
        await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for _ in range(3):
            await submit(connection, "acme", "report")
        await connection.execute("SET CONSTRAINTS ALL DEFERRED")
        await submit(connection, "acme", "report")
        await refused_within(connection)

    await refused(connection, "acme", "report")
    assert await stored(acme) == 4


async def refused_within(connection: Connection) -> None:
    """Submit one run too many, and take that back alone."""
    with pytest.raises(asyncpg.PostgresError, match="limited to rate"):
        async with connection.transaction():
            await submit(connection, "acme", "report")


@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
async def test_an_old_snapshot_does_not_count_by_what_it_sees(
    acme: Database, application: Target, isolation: Any
) -> None:
    await limit(acme, max_runs_per_hour=1)
    first, second = [await acme.connect(application) for _ in range(2)]
    late = second.transaction(isolation=isolation)
    await late.start()
    await submit(second, "acme", "report")
    await submit(first, "acme", "report")

    with pytest.raises(asyncpg.SerializationError):
        await late.commit()

    assert await stored(acme) == 1


async def test_a_delayed_run_begins_when_the_rate_allows(
    acme: Database, application: Target
) -> None:
    await limit(acme, rate=60, rate_burst=2, rate_over="delay")
    connection = await acme.connect(application)

    async with connection.transaction():
        for _ in range(4):
            await submit(connection, "acme", "report")
    await submit(connection, "acme", "report")

    runs = await (await acme.connect()).fetch(RUNS)
    assert len(runs) == 5
    third, fourth, fifth = sorted(run["due_at"] for run in runs if run["due_at"] is not None)
    assert fourth - third > timedelta(seconds=0.9)
    assert fifth - fourth > timedelta(seconds=0.9)


async def test_a_limit_of_one_tenant_is_nothing_to_another(
    acme: Database, application: Target
) -> None:
    await limit(acme, max_runs_per_hour=1)
    connection = await acme.connect(application)
    async with connection.transaction():
        await submit(connection, "acme", "report")
        for _ in range(3):
            await submit(connection, "globex", "report")

    admin = await acme.connect()
    assert await admin.fetchval("SELECT count(*) FROM tenant_globex.wf_run") == 3


ATTEMPTS = [
    "SELECT limits FROM insula.tenant",
    "UPDATE insula.tenant SET limits = NULL",
    "TABLE insula.submission",
    "UPDATE insula.submission SET runs = 0",
    "SELECT insula.check_count('acme', 'tenant_acme', '{}', 0, true)",
    "SELECT insula.uncounted('acme')",
    "ALTER TABLE insula.submission DISABLE TRIGGER count_at_commit",
    "TABLE tenant_acme.wf_quota",
    "UPDATE tenant_acme.wf_quota SET hour_spare = 99, day_spare = 99, full_at = '-infinity'",
    "DELETE FROM tenant_acme.wf_quota",
    "SELECT FROM tenant_acme.wf_quota FOR UPDATE",
    "SELECT tenant_acme.wf_spare('1 hour', 1, now())",
    "SELECT tenant_acme.wf_admit('acme', '{}', ARRAY[now()], -99, false, true)",
    "CREATE FUNCTION tenant_acme.wf_spare() RETURNS bigint LANGUAGE sql AS 'SELECT 99'",
    "SET session_replication_role = replica",
]


async def test_a_tenants_own_login_neither_reads_nor_raises_its_limits(
    acme: Database, subtests: pytest.Subtests
) -> None:
    await limit(acme, max_runs_per_hour=1)
    await allow(acme, acme.logins("acme").app)
    connection = await acme.connect(acme.as_app("acme"))

    for attempt in ATTEMPTS:
        with subtests.test(attempt), pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(attempt)
    await connection.execute("SET enable_indexscan = off; SET search_path = tenant_acme")
    async with connection.transaction():
        await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        await submit(connection, "acme", "report")
        await connection.execute("SET CONSTRAINTS ALL DEFERRED")
    await refused(connection, "acme", "report")
    assert await stored(acme) == 1


async def test_what_a_tenant_locks_by_itself_is_in_nobodys_way(
    acme: Database, application: Target
) -> None:
    await limit(acme, max_runs_per_hour=5)
    tenant = await acme.connect(acme.as_app("acme"))
    connection = await acme.connect(application)

    async with tenant.transaction():
        for key in range(20):
            await tenant.execute("SELECT pg_advisory_xact_lock($1)", key)
        with anyio.fail_after(20):
            await submit(connection, "acme", "report")


async def test_a_schema_that_is_not_up_to_date_does_not_count_yet(
    acme: Database, application: Target
) -> None:
    await limit(acme, max_runs_per_hour=1, rate=1, rate_over="delay", max_payload_bytes=2)
    await (await acme.connect()).execute("DROP TABLE tenant_acme.wf_quota CASCADE")
    connection = await acme.connect(application)

    for _ in range(2):
        await submit(connection, "acme", "report")
    await refused(connection, "acme", "report", '{"m": 1}')
