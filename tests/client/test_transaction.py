"""enqueue: runs started inside the application's own transaction, over either driver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

import anyio
import asyncpg
import psycopg
import pytest
from psycopg.rows import class_row, dict_row, scalar_row

from orchestrator import Context, enqueue, insula_error, job
from orchestrator.model.errors import (
    InsulaError,
    InvalidInput,
    NotAllowed,
    QuotaExceeded,
    TenantNotFound,
    TenantRemoved,
    TenantStarting,
    TenantSuspended,
)
from orchestrator.model.ids import TenantId
from orchestrator.store.connect import Target
from orchestrator.store.control import tenants
from tests.store.submitting import limit, login
from tests.support.database import Database

Open: TypeAlias = Callable[[], AbstractAsyncContextManager[Any]]
RUNS = (
    "SELECT id, workflow, input, key, queue, priority, version, due_at, tags"
    " FROM tenant_acme.wf_run"
)

UNSENDABLE: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"a": float("nan")}, {}, "$.input"),
    ({"a": [1, float("inf")]}, {}, "$.input"),
    ({"a": "\0"}, {}, "$.input: it has a NUL"),
    ({"a\0": 1}, {}, "$.input: it has a NUL"),
    ({"a": "\\\0"}, {}, "$.input: it has a NUL"),
    ({"a": "\ud800"}, {}, "$.input"),
    ({"a": object()}, {}, "$.input"),
    ({}, {"key": "\0"}, "$.key"),
    ({}, {"key": 7}, "$.key"),
    ({}, {"queue": "\ud800"}, "$.queue"),
    ({}, {"tags": ["a", "\0"]}, "$.tags"),
    ({}, {"tags": [7]}, "$.tags"),
    ({}, {"priority": 10}, "$.priority"),
    ({}, {"priority": "high"}, "$.priority"),
    ({}, {"at": datetime(2026, 1, 1)}, "$.at"),  # noqa: DTZ001 - that is what is wrong
    ({}, {"at": "tomorrow"}, "$.at"),
]


@pytest.fixture
async def application(database: Database) -> Target:
    """Return the way in of an application that may start runs of acme and others."""
    await database.provision("acme")
    return await login(database, f"{database.role_prefix}_web", grant=True)


@pytest.fixture(params=["asyncpg", "psycopg"])
def session(request: pytest.FixtureRequest, application: Target) -> Open:
    """Return what opens a connection of the application with a transaction begun on it.

    It commits at the end of the block, or rolls back with an error, as its driver does.
    """

    @asynccontextmanager
    async def of_asyncpg() -> AsyncIterator[Any]:
        connection = await asyncpg.connect(application.url)
        try:
            async with connection.transaction():
                yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def of_psycopg() -> AsyncIterator[Any]:
        connection = await psycopg.AsyncConnection.connect(application.url)
        try:
            async with connection:
                yield connection
        finally:
            await connection.close()  # a COMMIT that fails leaves it open

    return of_asyncpg if request.param == "asyncpg" else of_psycopg


async def runs(database: Database) -> list[asyncpg.Record]:
    """Return what is stored."""
    return await (await database.connect()).fetch(RUNS)


async def wakes(database: Database) -> list[str]:
    """Return who has to wake."""
    rows = await (await database.connect()).fetch("SELECT tenant FROM insula.wake")
    return [row[0] for row in rows]


async def test_a_run_is_there_when_the_transaction_commits(
    database: Database, session: Open
) -> None:
    async with session() as connection:
        id = await enqueue(connection, "acme", "report", {"month": 1})
        assert await runs(database) == []
        assert await wakes(database) == []

    (run,) = await runs(database)
    assert isinstance(id, UUID)
    assert (run["id"], run["workflow"], run["input"]) == (id, "report", '{"month": 1}')
    assert (run["queue"], run["priority"], run["version"], run["key"]) == ("default", 0, "", None)
    assert await wakes(database) == ["acme"]


async def test_a_run_never_was_when_the_transaction_rolls_back(
    database: Database, session: Open
) -> None:
    async def start() -> None:
        async with session() as connection:
            await enqueue(connection, "acme", "report", {"month": 1})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await start()

    assert await runs(database) == []
    assert await wakes(database) == []


async def test_every_option_reaches_the_run(database: Database, session: Open) -> None:
    at = datetime.now(UTC) + timedelta(days=1)

    async with session() as connection:
        await enqueue(
            connection, "acme", "report",
            key="k", queue="slow", priority=9, version="2", at=at, tags=("a", "b,c"),
        )  # fmt: skip

    (run,) = await runs(database)
    assert tuple(run)[2:] == ("{}", "k", "slow", 9, "2", at, ["a", "b,c"])


async def test_the_same_key_gives_the_same_run(database: Database, session: Open) -> None:
    ids: list[UUID] = []

    async def start() -> None:
        async with session() as connection:
            ids.append(await enqueue(connection, "acme", "report", {}, key="order-7"))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(start)

    (run,) = await runs(database)
    assert ids == [run["id"]] * 5


async def test_any_text_is_only_text(database: Database, session: Open) -> None:
    texts = ["'; DROP SCHEMA tenant_acme CASCADE; --", "%s %(key)s %% $1 {}", "\\u0000 \\", '"é🦉']

    for text in texts:
        async with session() as connection:
            await enqueue(
                connection, "acme", text, {text: text},
                key=text, queue=text, version=text, tags=[text],
            )  # fmt: skip
        with pytest.raises(TenantNotFound):
            async with session() as connection:
                await enqueue(connection, text, "report")

    stored = await runs(database)
    assert {run["workflow"] for run in stored} == {run["key"] for run in stored} == {*texts}
    assert {run["queue"] for run in stored} == {run["tags"][0] for run in stored} == {*texts}


async def test_what_the_database_refuses_is_an_error_of_ours(
    database: Database, session: Open
) -> None:
    admin = await database.connect()
    for tenant in ("new", "gone", "off"):
        await tenants.register(admin, TenantId(tenant), '{"enabled":false}')
    await admin.execute("UPDATE insula.tenant SET state = 'removed' WHERE id = 'gone'")
    await admin.execute("UPDATE insula.tenant SET declaration = '{}' WHERE id = 'new'")
    expected: dict[str, type[InsulaError]] = {
        "nobody": TenantNotFound,
        "gone": TenantRemoved,
        "off": TenantSuspended,
        "new": TenantStarting,
    }

    for tenant, kind in expected.items():
        with pytest.raises(kind, match=f"tenant '{tenant}'") as caught:
            async with session() as connection:
                await enqueue(connection, tenant, "report")
        assert caught.value.hint
        assert caught.value.data == {"tenant": tenant}
        assert "\n" not in str(caught.value)
    with pytest.raises(InvalidInput, match=r"^\$.workflow: has 1 to 100 characters$"):
        async with session() as connection:
            await enqueue(connection, "acme", "")


async def test_over_a_limit_the_error_is_that_of_the_client(
    database: Database, session: Open
) -> None:
    await limit(database, max_payload_bytes=5)

    with pytest.raises(QuotaExceeded, match="the input has 12 bytes") as caught:
        async with session() as connection:
            await enqueue(connection, "acme", "report", {"month": 1})

    assert caught.value.limit == "max_payload_bytes"
    assert caught.value.data == {
        "tenant": "acme",
        "limit": "max_payload_bytes",
        "allowed": 5,
        "retry_after": 0,
    }
    assert caught.value.hint == "raise limits.max_payload_bytes"


async def test_of_what_others_were_faster_with_the_commit_tells(
    database: Database, session: Open
) -> None:
    await limit(database, max_runs_per_hour=1)

    async def start(*, before_commit: Callable[[], Awaitable[None]] | None = None) -> None:
        async with session() as connection:
            await enqueue(connection, "acme", "report")
            if before_commit is not None:
                await before_commit()

    with pytest.raises((asyncpg.PostgresError, psycopg.Error)) as caught:
        await start(before_commit=start)

    error = insula_error(caught.value)
    assert isinstance(error, QuotaExceeded)
    assert (error.limit, error.data["allowed"]) == ("max_runs_per_hour", 1)
    assert 0 < error.data["retry_after"] <= 3600
    assert len(await runs(database)) == 1
    assert insula_error(ValueError("another")) is None


@pytest.mark.requirement("T5.named")
async def test_a_workflow_that_is_bound_to_a_tenant_needs_not_be_told_which(
    database: Database, session: Open
) -> None:
    @job("ship", tenant="acme")
    def ship(ctx: Context) -> None: ...

    @job("free")
    def free(ctx: Context) -> None: ...

    async with session() as connection:
        await enqueue(connection, None, ship, key="a")
        await enqueue(connection, "acme", ship, key="b")
        await enqueue(connection, "acme", free)
        with pytest.raises(InvalidInput, match=r"\$.tenant: workflow 'ship' is of tenant 'acme'"):
            await enqueue(connection, "globex", ship)
        for nobodys in (free, "ship"):
            with pytest.raises(InvalidInput, match=r"\$.tenant: is required"):
                await enqueue(connection, None, nobodys)

    stored = await runs(database)
    assert sorted((run["workflow"], run["key"]) for run in stored) == [
        ("free", None),
        ("ship", "a"),
        ("ship", "b"),
    ]


async def test_a_tenants_login_starts_no_run_of_another(database: Database) -> None:
    await database.provision("acme")
    await database.provision("globex")
    target = database.as_app("acme")
    admin = await database.connect()
    await admin.execute(
        f"GRANT USAGE ON SCHEMA insula TO {target.user};"
        f"GRANT EXECUTE ON FUNCTION insula.submit TO {target.user}"
    )
    connection = await database.connect(target)

    await enqueue(connection, "acme", "report")
    with pytest.raises(NotAllowed, match="may not start runs of tenant 'globex'"):
        await enqueue(connection, "globex", "report")


async def test_what_can_not_be_sent_leaves_the_transaction_usable(
    database: Database, session: Open, subtests: pytest.Subtests
) -> None:
    async with session() as connection:
        for input, options, path in UNSENDABLE:
            with subtests.test(path, input=repr(input), options=repr(options)):
                with pytest.raises(InvalidInput) as caught:
                    await enqueue(connection, "acme", "report", input, **options)
                assert str(caught.value).startswith(path)
        await enqueue(connection, "acme", "after")

    assert [run["workflow"] for run in await runs(database)] == ["after"]


async def test_an_input_that_holds_itself_is_refused(session: Open) -> None:
    circle: dict[str, Any] = {}
    circle["again"] = circle

    async with session() as connection:
        with pytest.raises(InvalidInput, match=r"\$.input"):
            await enqueue(connection, "acme", "report", circle)


async def test_times_and_ids_in_the_input_become_text(database: Database, session: Open) -> None:
    id = UUID(int=7)

    async with session() as connection:
        await enqueue(
            connection, "acme", "report", {"at": datetime(2026, 1, 1, tzinfo=UTC), "id": id}
        )

    (run,) = await runs(database)
    assert run["input"] == f'{{"at": "2026-01-01T00:00:00Z", "id": "{id}"}}'


async def test_an_option_that_nobody_knows_is_an_error(session: Open) -> None:
    options: dict[str, Any] = {"prioritty": 1}

    async with session() as connection:
        with pytest.raises(TypeError, match="knows no option prioritty"):
            await enqueue(connection, "acme", "report", {}, **options)


async def test_other_errors_of_the_database_pass_as_they_are(session: Open) -> None:
    async def start() -> None:
        async with session() as connection:
            await connection.execute("SET TRANSACTION READ ONLY")
            await enqueue(connection, "acme", "report")

    with pytest.raises((asyncpg.PostgresError, psycopg.Error), match="read-only"):
        await start()


async def test_the_applications_own_codecs_do_not_matter(
    database: Database, application: Target
) -> None:
    connection = await asyncpg.connect(application.url)
    for name in ("jsonb", "uuid"):
        await connection.set_type_codec(
            name, schema="pg_catalog", encoder=repr, decoder=lambda _: None
        )

    await enqueue(connection, "acme", "report", {"month": 1})
    await connection.close()

    assert [run["input"] for run in await runs(database)] == ['{"month": 1}']


@pytest.mark.parametrize("factory", [dict_row, scalar_row, class_row(dict)])
async def test_the_applications_own_rows_do_not_matter(
    database: Database, application: Target, factory: Any
) -> None:
    async with await psycopg.AsyncConnection.connect(
        application.url, row_factory=factory
    ) as connection:
        id = await enqueue(connection, "acme", "report")

    assert [run["id"] for run in await runs(database)] == [id]


async def test_what_is_no_connection_with_a_transaction_is_refused(application: Target) -> None:
    async def refused(candidate: Any) -> None:
        with pytest.raises(TypeError, match="enqueue takes a connection of asyncpg or"):
            await enqueue(candidate, "acme", "report")

    async with asyncpg.create_pool(application.url, min_size=1, max_size=1) as pool:
        await refused(pool)
        async with pool.acquire() as connection, connection.transaction():
            await enqueue(connection, "acme", "report")
    with psycopg.connect(application.url) as synchronous:
        await refused(synchronous)
    await refused(object())
