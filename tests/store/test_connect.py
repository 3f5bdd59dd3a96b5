"""Connections and what their failures become."""

from __future__ import annotations

import datetime as dt
import getpass
import socket
from pathlib import Path

import anyio
import asyncpg
import pytest

from orchestrator.model.errors import (
    ConfigError,
    DatabaseRefused,
    DatabaseUnavailable,
    LockNotHad,
)
from orchestrator.store import connect
from orchestrator.store.connect import PROBES, ControlPool, Target
from tests.support.database import Database
from tests.support.proxy import CuttingProxy
from tests.support.wait import until

URL = "postgresql://ap%20p:s%40cret@db.example:5433/main?sslmode=require&sslpassword=hush"


def test_a_url_is_taken_apart() -> None:
    target = Target.parse(URL)

    assert (target.user, target.password, target.database) == ("ap p", "s@cret", "main")
    assert target.hosts == "db.example:5433"
    assert Target.parse(target.url) == target


@pytest.mark.parametrize("shown", [str, repr, lambda target: target.redacted])
def test_no_way_to_print_a_target_shows_a_secret(shown: object) -> None:
    text = shown(Target.parse(URL))  # type: ignore[operator]

    assert "s@cret" not in text
    assert "s%40cret" not in text
    assert "hush" not in text
    assert "db.example" in text


def test_what_a_url_leaves_out_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGUSER", "ada")
    monkeypatch.delenv("PGDATABASE", raising=False)

    assert Target.parse("postgresql:///").database == "ada"
    assert Target.parse("postgresql:///").user == "ada"
    monkeypatch.delenv("PGUSER")
    assert Target.parse("postgresql:///main").user == getpass.getuser()


def test_a_socket_directory_may_have_spaces() -> None:
    target = Target.parse("postgresql:///app?host=/run/my%20dir&port=5432")

    assert dict(target.options) == {"host": "/run/my dir", "port": "5432"}
    assert Target.parse(target.url) == target


@pytest.mark.parametrize("url", ["mysql://a/b", "host=a dbname=b", "", "postgresql://a/b?%"])
def test_what_is_not_a_postgresql_url_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigError, match="the database URL"):
        Target.parse(url)


async def test_json_travels_as_text(database: Database) -> None:
    connection = await database.connect()

    text = '{"a":  1}'

    assert await connection.fetchval("SELECT $1::json", text) == text
    assert await connection.fetchval("SELECT $1::jsonb", text) == '{"a": 1}'


async def test_settings_and_name_are_those_given(database: Database) -> None:
    connection = await connect.connect(
        database.target, application_name="insula acme", settings={"lock_timeout": "3s"}
    )

    assert await connection.fetchval("SHOW application_name") == "insula acme"
    assert await connection.fetchval("SHOW lock_timeout") == "3s"
    await connection.close()


async def test_a_wrong_password_is_refused_without_telling_it(database: Database) -> None:
    await database.provision("acme")
    target = database.as_engine("acme")
    wrong = target.as_role(target.user, "not-the-password")

    with pytest.raises(DatabaseRefused, match="refuses the login") as caught:
        await connect.connect(wrong, application_name="insula test")

    assert "not-the-password" not in str(caught.value)
    assert caught.value.hint


async def test_a_database_that_is_not_there_is_refused(database: Database) -> None:
    with pytest.raises(DatabaseRefused, match="nowhere"):
        await connect.connect(database.target.with_database("nowhere"), application_name="x")


async def test_a_setting_the_server_does_not_know_is_refused(database: Database) -> None:
    with pytest.raises(DatabaseRefused, match="statement_timeout"):
        await connect.connect(
            database.target, application_name="x", settings={"statement_timeout": "soon"}
        )


async def test_a_port_where_nobody_listens_is_unavailable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

    with pytest.raises(DatabaseUnavailable, match=r"can not be reached.*Connect") as caught:
        await connect.connect(
            Target.parse(f"postgresql://a:b@127.0.0.1:{port}/c"), application_name="x"
        )

    assert caught.value.retry_after > 0


async def test_a_socket_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable):
        await connect.connect(
            Target.parse(f"postgresql://a@/b?host={tmp_path}"), application_name="x"
        )


@pytest.mark.parametrize(
    ("variable", "value"),
    [("PGPORT", "many"), ("PGPORT", "99999"), ("PGSSLMODE", "on"), ("PGTARGETSESSIONATTRS", "x")],
)
async def test_a_wrong_variable_of_the_environment_is_no_surprise(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    target = Target.parse("postgresql://a:hush@127.0.0.1/c")

    with pytest.raises(DatabaseRefused, match="can not be reached this way") as caught:
        await connect.connect(target, application_name="x")
    assert "PG… variables" in caught.value.hint
    with pytest.raises(DatabaseRefused):
        async with ControlPool.open(target, application_name="x"):
            pass


async def test_a_server_that_says_nothing_is_unavailable_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        target = Target.parse(f"postgresql://a:b@127.0.0.1:{port}/c?sslmode=disable")

        with pytest.raises(DatabaseUnavailable, match="no answer in time"):
            await connect.connect(target, application_name="x", timeout=0.2)


async def test_a_full_server_is_unavailable(database: Database) -> None:
    await database.provision("acme")
    for _ in range(4):
        await database.connect(database.as_engine("acme"))

    with pytest.raises(DatabaseUnavailable, match="too many connections"):
        await database.connect(database.as_engine("acme"))


async def test_a_connection_that_was_ended_is_unavailable_in_use(database: Database) -> None:
    connection = await database.connect()
    admin = await database.connect()
    await admin.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())

    with pytest.raises(connect.DRIVER_ERRORS) as first:
        await connection.fetchval("SELECT 1")
    await until(connection.is_closed)
    with pytest.raises(connect.DRIVER_ERRORS) as second:
        await connection.fetchval("SELECT 1")

    assert connect.classify(first.value) is DatabaseUnavailable
    assert connect.classify(second.value) is DatabaseUnavailable


async def test_a_statement_that_is_wrong_is_neither(database: Database) -> None:
    connection = await database.connect()

    with pytest.raises(asyncpg.PostgresSyntaxError) as caught:
        await connection.fetchval("SELEC 1")

    assert connect.classify(caught.value) is None
    with pytest.raises(asyncpg.PostgresSyntaxError), connect.translated("it failed"):
        await connection.fetchval("SELEC 1")


async def test_a_lock_that_somebody_else_has_is_not_had(database: Database) -> None:
    holder, connection = await database.connect(), await database.connect()
    await connection.execute("SET lock_timeout = '1ms'")
    async with holder.transaction():
        await holder.execute("LOCK TABLE insula.tenant")
        with (
            pytest.raises(LockNotHad, match="it waits: somebody else") as caught,
            connect.translated("it waits"),
        ):
            await connection.fetch("SELECT FROM insula.tenant")

    assert caught.value.hint == "try again"


async def test_a_right_that_is_missing_is_refused(database: Database) -> None:
    await database.provision("acme")
    engine = await database.connect(database.as_engine("acme"))

    with (
        pytest.raises(DatabaseRefused, match="it failed: permission denied") as caught,
        connect.translated("it failed", hint="grant it"),
    ):
        await engine.fetchval("SELECT count(*) FROM insula.tenant")

    assert caught.value.hint == "grant it"


async def test_the_pool_lends_and_takes_back(database: Database) -> None:
    async with (
        ControlPool.open(database.target, application_name="insula root") as pool,
        pool.acquire() as first,
        pool.acquire() as second,
    ):
        assert first.get_server_pid() != second.get_server_pid()
        assert await first.fetchval("SHOW application_name") == "insula root"


async def test_what_a_borrower_left_open_is_rolled_back(database: Database) -> None:
    async with ControlPool.open(database.target, application_name="insula root") as pool:
        async with pool.acquire() as connection:
            await connection.execute("BEGIN; CREATE TABLE public.left_open ()")

        async with pool.acquire() as connection:
            assert await connection.fetchval("SELECT to_regclass('public.left_open')") is None


async def test_a_pool_that_can_not_connect_says_so_at_once(database: Database) -> None:
    with pytest.raises(DatabaseRefused):
        async with ControlPool.open(
            database.target.with_database("nowhere"), application_name="insula root"
        ):
            pytest.fail("opened")


async def test_a_borrower_gets_a_new_connection_after_the_server_ended_one(
    database: Database,
) -> None:
    admin = await database.connect()
    async with ControlPool.open(database.target, application_name="insula root") as pool:
        async with pool.acquire() as connection:
            ended, closed = connection.get_server_pid(), anyio.Event()
            connection.add_termination_listener(lambda _: closed.set())
            await admin.execute("SELECT pg_terminate_backend($1)", ended)
            await closed.wait()
            with pytest.raises(connect.DRIVER_ERRORS) as caught:
                await connection.fetchval("SELECT 1")
            assert connect.classify(caught.value) is DatabaseUnavailable

        async with pool.acquire() as connection:
            assert connection.get_server_pid() != ended


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2#x@127.0.0.1/app",
        "postgresql://u:hunter2/@:pw@127.0.0.1/app",
        "postgresql://u:hunter2@127.0.0.1:abc/app",
    ],
)
def test_a_url_that_can_not_be_read_is_refused_without_a_word_of_its_secret(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Target.parse(url)

    assert "hunter2" not in str(caught.value)


async def test_a_connection_over_tcp_is_probed(database: Database) -> None:
    async with CuttingProxy(database.target).running() as proxy:
        connection = await database.connect(proxy.target)
        opened = getattr(connection, "_transport").get_extra_info("socket")  # noqa: B009 - not typed
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        for name, value in PROBES.items():
            assert opened.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) == value


async def test_a_pool_closes_though_the_server_does_not_answer(database: Database) -> None:
    async def ask(pool: ControlPool) -> None:
        async with pool.acquire() as connection:
            await connection.execute("SELECT 1")

    async with CuttingProxy(database.target).running() as proxy:
        with anyio.fail_after(connect.CLOSE_SECONDS + 3):
            async with ControlPool.open(proxy.target, application_name="test") as pool:
                proxy.freeze()
                with anyio.move_on_after(0.1):
                    await ask(pool)


async def test_what_a_type_is_made_of_is_asked_once_in_a_process(database: Database) -> None:
    asked = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'WITH%typeinfo%'"
    days = [dt.date(2026, 1, 1), None]
    first = await database.connect()
    assert await first.fetchval("SELECT $1::date[]", days) == days
    second = await database.connect()
    assert await second.fetchval("SELECT $1::date[]", days) == days
    assert await second.fetchval(asked) == 0


async def test_what_a_database_has_types_of_its_own_for_is_asked_there(database: Database) -> None:
    first, second = await database.connect(), await database.connect()
    for connection, label in ((first, "low"), (second, "high")):
        await first.execute("DROP TYPE IF EXISTS public.grade")
        await first.execute(f"CREATE TYPE public.grade AS ENUM ('{label}')")
        assert await connection.fetchval("SELECT $1::public.grade[]", [label]) == [label]
