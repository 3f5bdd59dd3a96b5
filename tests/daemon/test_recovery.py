"""kill -9 at any moment: every accepted run finishes, and no attempt counts twice."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest

from orchestrator import Client
from orchestrator.model.api import RunView, StartRun
from orchestrator.model.errors import LeaseHeldElsewhere, Unavailable
from orchestrator.model.states import RunState
from orchestrator.store.connect import Connection
from tests.daemon.process import Daemon, daemon, hold
from tests.support.database import Database
from tests.support.wait import until

TENANTS = [f"t{number}" for number in range(4)]
STEPS = ("first", "second")


class Book:
    """What a client was promised: for each tenant the id behind each key."""

    def __init__(self) -> None:
        self.runs: dict[tuple[str, str], UUID] = {}
        self.tries = 0

    def has(self, count: int) -> bool:
        """Tell whether so many runs were accepted."""
        return len(self.runs) >= count

    async def send(self, client: Client, tenant: str, key: str, **given: object) -> None:
        """Send until it is accepted, as an application does that must not lose it."""

        async def accepted() -> UUID | None:
            self.tries += 1
            try:
                return (await client.tenant(tenant).start("count", dict(given), key=key)).id
            except Unavailable:
                return None

        run = await until(accepted, within=50.0)
        assert run is not None
        assert self.runs.setdefault((tenant, key), run) == run


async def settle(client: Client, book: Book) -> None:
    """Wait until every run that was accepted has succeeded."""
    for (tenant, key), run in book.runs.items():
        view = await _view(client, tenant, run)
        assert view.state is RunState.SUCCEEDED, (tenant, key, view)


async def _view(client: Client, tenant: str, run: UUID) -> RunView:
    async with asyncio.timeout(30):
        while True:
            view = await client.tenant(tenant).run(run, wait=5)
            if view.state.finished:
                return view


async def check(database: Database, book: Book) -> None:
    """Compare what the tasks wrote with what was promised."""
    admin = await database.connect()
    for tenant in TENANTS:
        promised = {run for (owner, _), run in book.runs.items() if owner == tenant}
        if not promised:
            continue
        schema = f"tenant_{tenant}"
        stored = await admin.fetch(f"SELECT id, key, state FROM {schema}.wf_run")
        assert {row["id"] for row in stored} >= promised
        assert len({row["key"] for row in stored}) == len(stored)
        assert {row["state"] for row in stored} == {"succeeded"}
        done = await admin.fetch(f"SELECT run, task, count(*) FROM {schema}.tally GROUP BY 1, 2")
        assert {(row["run"], row["task"]) for row in done} == {
            (row["id"], step) for row in stored for step in STEPS
        }
        recorded = await admin.fetch(
            f"SELECT event.run_id, entry->>'task', (entry->>'attempt')::int"
            f" FROM {schema}.wf_event AS event, json_array_elements(event.entries) AS entry"
            " WHERE entry->>'event' = 'task.succeeded'"
        )
        attempts = {(run, task): attempt for run, task, attempt in recorded}
        assert len(recorded) == len(attempts) == len(stored) * len(STEPS)
        # What is recorded as done is never done again.
        late = await admin.fetch(f"SELECT run, task, attempt FROM {schema}.tally")
        assert [row for row in late if row["attempt"] > attempts[row["run"], row["task"]]] == []


@pytest.mark.slow
async def test_a_daemon_killed_again_and_again_loses_no_accepted_run(
    database: Database, state_dir: Path
) -> None:
    chance, book = Random(7), Book()  # noqa: S311 - to be repeated, not to be secret
    async with daemon(state_dir) as served:
        served.configure(TENANTS, database=database)
        await served.start()
        async with served.client() as client:
            for _ in range(3):
                # Twice: a task that is under way at three crashes is held for their cause.
                for _ in range(2):
                    await _kill_under_load(served, client, book, chance)
                await _recovered(database)
        async with served.client() as client:
            await settle(client, book)
        await check(database, book)
        assert await served.stop() == 0
    assert len(book.runs) == 4 * 60


async def _recovered(database: Database) -> None:
    """Return when whatever is unfinished now has finished."""
    admin = await database.connect()
    for tenant in TENANTS:
        runs = f"tenant_{tenant}.wf_run"
        if await admin.fetchval("SELECT to_regclass($1)", runs) is None:
            continue
        left = await admin.fetch(f"SELECT id FROM {runs} WHERE finished_at IS NULL")
        query = f"SELECT count(*) FROM {runs} WHERE id = ANY($1) AND finished_at IS NULL"
        await until(partial(_is_zero, admin, query, [row["id"] for row in left]), within=30.0)


async def _is_zero(connection: Connection, query: str, *args: object) -> bool:
    return bool(await connection.fetchval(query, *args) == 0)


async def _kill_under_load(served: Daemon, client: Client, book: Book, chance: Random) -> None:
    """Kill the daemon when so many of forty runs were accepted; the others wait for the next."""
    progress = len(book.runs) + chance.randint(1, 40)
    async with asyncio.TaskGroup() as senders:
        for _ in range(4):
            senders.create_task(_application(client, book, chance.random()))
        await until(partial(book.has, progress), within=30.0)
        await served.kill()
        await served.start()


async def _application(client: Client, book: Book, name: float) -> None:
    chance = Random(name)  # noqa: S311 - to be repeated, not to be secret
    for number in range(10):
        tenant = chance.choice(TENANTS)
        await book.send(client, tenant, f"{name}-{number}", seconds=chance.random() * 0.1)


@pytest.mark.slow
async def test_the_embedded_server_survives_the_kill_of_its_daemon(state_dir: Path) -> None:
    book = Book()
    async with daemon(state_dir) as served:
        served.configure(TENANTS)
        await served.start()
        async with served.client() as client:
            for number in range(20):
                await book.send(client, TENANTS[number % 4], f"{number}", seconds=0.2)
        await served.kill()
        await served.start()
        async with served.client() as client:
            await settle(client, book)
            for tenant in TENANTS:
                page = await client.tenant(tenant).runs()
                assert len(page.runs) == 5
        assert await served.stop() == 0


@pytest.mark.slow
async def test_everything_that_ran_runs_again_after_a_kill(
    database: Database, state_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tenants = [f"t{number}" for number in range(100)]
    leave = state_dir / "leave"
    async with daemon(state_dir) as served:
        served.configure(tenants, database=database, more="node.max_concurrent_tasks = 1000")
        await served.start()
        async with served.client() as client, asyncio.TaskGroup() as group:
            runs = [StartRun(workflow="stay", input={"leave": str(leave)})] * 10
            for tenant in tenants:
                group.create_task(client.tenant(tenant).start_many(runs))
            await until(lambda: _running(client, 1000), within=60.0)
        await served.kill()
        began = time.monotonic()
        await served.start()
        ready = time.monotonic() - began
        async with served.client() as client:
            await until(lambda: _running(client, 1000), within=60.0)
            again = time.monotonic() - began
            leave.touch()
            for tenant in tenants:
                await until(partial(_all_succeeded, client, tenant), within=20.0)
        assert await served.stop() == 0
    with capsys.disabled():
        print(f"\n1000 runs of 100 tenants: ready {ready:.1f} s, running again {again:.1f} s")  # noqa: T201


async def _running(client: Client, count: int) -> bool:
    return (await client.status()).running_tasks == count


async def _all_succeeded(client: Client, tenant: str) -> bool:
    page = await client.tenant(tenant).runs(state=RunState.SUCCEEDED)
    return len(page.runs) == 10


@asynccontextmanager
async def two_nodes(database: Database, home: Path) -> AsyncIterator[tuple[Daemon, Daemon]]:
    """Run the nodes one and two over one database; one that is silent for a second is dead."""
    times = 'supervision.node_expiry = "1s"\nsupervision.node_renewal = "200ms"\n'
    second_home = home / "second"
    second_home.mkdir()
    async with daemon(home) as first, daemon(second_home) as second:
        first.configure(["acme"], database=database, more=times + 'node.name = "one"')
        second.configure(["acme"], database=database, more=times + 'node.name = "two"')
        await first.start()
        _share_key(first, second)
        await second.start()
        yield first, second


@pytest.mark.slow
async def test_a_second_node_takes_over_what_a_killed_one_had(
    database: Database, state_dir: Path
) -> None:
    async with two_nodes(database, state_dir) as (first, second):
        async with first.client() as client:
            run, leave = await hold(client, state_dir)
        async with second.client() as client:
            other = await client.tenant("acme").start("whoami", {})
            assert (await other.result(timeout=20)).output == first.process.pid
            await first.kill()
            leave.touch()
            view = await _view(client, "acme", run.id)
            assert view.state is RunState.SUCCEEDED
            found = await client.tenant("acme").start("whoami", {})
            assert (await found.result(timeout=20)).output == second.process.pid


@pytest.mark.slow
async def test_a_node_that_was_frozen_finds_its_tenant_taken_and_stops_serving_it(
    database: Database, state_dir: Path
) -> None:
    async with two_nodes(database, state_dir) as (first, second):
        async with first.client() as client, second.client() as other:
            run, leave = await hold(client, state_dir)
            first.send(signal.SIGSTOP)
            try:
                leave.touch()
                view = await _view(other, "acme", run.id)
                assert (view.state, view.tasks[0].attempt) == (RunState.SUCCEEDED, 2)
            finally:
                first.send(signal.SIGCONT)
            await until(lambda: _rests(client))
            with pytest.raises(LeaseHeldElsewhere, match="node 'two'"):
                await client.tenant("acme").pause()
            new = await client.tenant("acme").start("whoami", {})
            assert (await new.result(timeout=20)).output == second.process.pid
        admin = await database.connect()
        assert first.events("node.fenced")
        late = "SELECT count(*) FROM tenant_acme.wf_event WHERE node = 'one' AND epoch > 1"
        assert await admin.fetchval(late) == 0
        assert await admin.fetchval("SELECT epoch FROM tenant_acme.wf_fence") == 2
        assert first.process.returncode is None, "only the tenant was lost, not the node"


@pytest.mark.slow
async def test_a_node_with_another_installation_key_is_refused_until_its_former_one_is_there(
    database: Database, state_dir: Path
) -> None:
    stranger_home = state_dir / "stranger"
    stranger_home.mkdir()
    async with daemon(state_dir) as first, daemon(stranger_home) as stranger:
        first.configure(["acme"], database=database, more='node.name = "one"')
        stranger.configure(["acme"], database=database, more='node.name = "two"')
        await first.start()
        admin = await database.connect()
        async with first.client() as client:
            await client.tenant("acme").secret.set("api_key", "k-7f3a55")
            passwords = await _passwords(admin, database)
            code, (told, *_) = await stranger.fails()
            assert code == 1
            assert told.startswith("error[installation_key_differs]: this node's installation key")
            assert await _passwords(admin, database) == passwords
            run = await client.tenant("acme").start("whoami", {})
            assert (await run.result(timeout=20)).output == first.process.pid
        await first.stop()

        key = (state_dir / "state" / "installation.key").read_text(encoding="utf-8")
        former = stranger_home / "state" / "installation.key.former"
        former.write_text(key, encoding="utf-8")
        await stranger.start()

        async with stranger.client() as client:
            assert (await client.tenant("acme").secret.rotate_key()).secrets == 1
            run = await client.tenant("acme").start("whoami", {})
            assert (await run.result(timeout=20)).output == stranger.process.pid
        assert await _passwords(admin, database) != passwords


async def _passwords(admin: Connection, database: Database) -> list[Any]:
    """Return what the server keeps of the passwords of acme's logins."""
    logins = database.logins("acme")
    query = "SELECT rolname, rolpassword FROM pg_authid WHERE rolname = ANY ($1::text[])"
    return await admin.fetch(query, [logins.app, logins.engine])


async def _rests(client: Client) -> bool:
    return (await client.status()).slots == {"dormant": 1}


def _share_key(first: Daemon, second: Daemon) -> None:
    """Give both nodes the installation's key, from which the tenants' passwords come."""
    home = second.directory / "state"
    home.mkdir()
    key = (first.directory / "state" / "installation.key").read_text(encoding="utf-8")
    (home / "installation.key").write_text(key, encoding="utf-8")
