"""An engine over a real tenant, made as a supervisor makes it, and ways to let it die."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import anyio
import msgspec

from orchestrator.cache.tenant_cache import Bounds, TenantCache
from orchestrator.engine import entries
from orchestrator.engine.attempts import Attempts
from orchestrator.engine.engine import Engine
from orchestrator.engine.processes.pool import ProcessPool
from orchestrator.engine.reply import Reply
from orchestrator.engine.slots import NodeSlots
from orchestrator.model.api import Started, StartRun
from orchestrator.model.clock import AnchoredClock, HandClock
from orchestrator.model.errors import DatabaseRefused
from orchestrator.model.ids import TenantId
from orchestrator.model.usage import COUNTERS
from orchestrator.settings.model import Limits
from orchestrator.settings.tenants import TenantConfig
from orchestrator.store import connect
from orchestrator.store.connect import Connection, Target
from orchestrator.store.control import keys
from orchestrator.store.control.keys import TenantKeys
from orchestrator.store.tenant import runs
from orchestrator.store.tenant.cache import SETTINGS as CACHE_SESSION
from orchestrator.store.tenant.cache import CacheConnection, PostgresStore
from orchestrator.store.tenant.database import TenantDatabase
from orchestrator.store.tenant.journal import Journal
from orchestrator.store.tenant.login import Login, Way
from orchestrator.store.tenant.owned import SESSION, OwnedConnection
from orchestrator.store.tenant.places import Places
from orchestrator.store.tenant.runs import Claims, Stored
from orchestrator.store.tenant.secrets import OpenSecrets
from orchestrator.workflow.define import Workflow
from orchestrator.workflow.registry import Registry
from tests.support.database import Database

SCHEMA = "tenant_acme"
THREADS = 8
USED = (
    "SELECT "
    + ", ".join(
        f"sum({name}) AS {name}" for name in COUNTERS if name not in ("input_bytes", "task_ms")
    )
    + " FROM tenant.wf_usage"
)
MOVED_TIME = {**SESSION, "search_path": "moved, pg_catalog"}
MOVED_CLOCK = """
DO $$ BEGIN
IF to_regnamespace('moved') IS NULL THEN
    CREATE SCHEMA moved;
    GRANT USAGE ON SCHEMA moved TO PUBLIC;
    CREATE TABLE moved.ahead AS SELECT interval '0' AS span;
    GRANT SELECT ON moved.ahead TO PUBLIC;
    CREATE FUNCTION moved.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql
        AS 'SELECT pg_catalog.clock_timestamp() + span FROM moved.ahead';
END IF;
END $$
"""
"""For tests that let time pass: the engine finds this function before the server's own."""

NO_PROCESSES = ProcessPool(size=1, memory_bytes=None)
"""Never opened: no task here runs in a process."""


@dataclass
class House:
    """One provisioned tenant; engines come and go over it."""

    database: Database
    admin: Connection
    epoch: int = 0

    async def known_keys(self, named: Sequence[str]) -> TenantKeys:
        """Return the tenant's keys as they are now."""
        acme = await keys.holder(self.admin, TenantId("acme"))
        return await keys.known(self.admin, acme, self.database.key, named)

    async def value(self, query: str, *args: object) -> Any:
        """Return one value, asked by the admin on a connection of its own."""
        return await self.admin.fetchval(query.replace("tenant.", f"{SCHEMA}."), *args)

    async def row(self, run: UUID) -> Stored:
        """Return the run's row."""
        stored = await runs.read(self.admin, SCHEMA, run)
        assert stored is not None
        return stored

    async def output(self, run: UUID) -> Any:
        """Return the output of a run that has succeeded."""
        stored = await self.row(run)
        assert stored.state == "succeeded", stored.error
        return msgspec.json.decode(stored.output or "null")

    async def error(self, run: UUID) -> dict[str, Any]:
        """Return the error of a run that has failed."""
        stored = await self.row(run)
        assert stored.state == "failed", stored.state
        error: dict[str, Any] = msgspec.json.decode(stored.error or "{}")
        return error

    async def journal(self, run: UUID) -> list[entries.AnyEntry]:
        """Return the run's entries; their numbers have no gap."""
        found: list[entries.AnyEntry] = []
        for moment in await runs.history(self.admin, SCHEMA, run):
            assert moment.seq == len(found), "the journal has a gap"
            found += entries.decode(moment.entries)
        return found

    async def told(self, run: UUID) -> list[str]:
        """Return the run's entries in short: `task.started load`."""
        return [
            f"{type(entry).__struct_config__.tag} {getattr(entry, 'task', '')}".strip()
            for entry in await self.journal(run)
        ]

    async def used(self) -> dict[str, int]:
        """Return what the tenant has used, of all that is not nothing, but for bytes and time."""
        found = await self.value(f"SELECT to_json(u) FROM ({USED}) AS u")
        return {name: count for name, count in msgspec.json.decode(found).items() if count}

    async def skip(self, seconds: float) -> None:
        """Let time pass for the database, as while no engine runs."""
        await self.admin.execute(MOVED_CLOCK)
        span = timedelta(seconds=seconds)
        await self.admin.execute("UPDATE moved.ahead SET span = span + $1", span)

    def config(self, **limits: Any) -> TenantConfig:
        """Return the tenant's configuration."""
        return TenantConfig(id=TenantId("acme"), name="Acme", limits=Limits(**limits))


@dataclass
class Live:
    """A running engine."""

    house: House
    engine: Engine
    clock: HandClock
    recovered: int
    slots: NodeSlots

    async def submit(self, workflow: str, *, key: str | None = None, **given: Any) -> Started:
        """Start one run; return once it is durable."""
        (started,) = await self.submit_all([StartRun(workflow=workflow, input=given, key=key)])
        return started

    async def submit_all(self, wanted: list[StartRun]) -> list[Started]:
        """Start runs in one call."""
        reply: Reply[list[Started]] = Reply()
        self.engine.submit(wanted, reply)
        with anyio.fail_after(30):
            return await reply.wait()

    async def run(self, workflow: str, **given: Any) -> UUID:
        """Start one run and return its id once nothing is left to do before a timer."""
        started = await self.submit(workflow, **given)
        await self.quiet()
        return started.id

    @property
    def flushes(self) -> int:
        """How many group commits there were."""
        return self.engine._commit.flushes  # noqa: SLF001 - nobody else asks

    async def quiet(self) -> None:
        """Return once nothing is left to do before the next timer."""
        with anyio.fail_after(30):
            while self.engine.busy:
                await self.engine.changed.wait()

    async def later(self, seconds: float) -> None:
        """Let the time pass, here and for the database, and what is due happen."""
        await self.house.skip(seconds)
        self.clock.advance(seconds)
        self.engine.tick()
        await self.quiet()


@dataclass(frozen=True)
class Options:
    """How an engine is made, where it is not as usual."""

    config: TenantConfig | None = None
    clock: HandClock | None = None
    slots: NodeSlots | None = None
    target: Target | None = None
    once: bool = False
    app_target: Target | None = None
    patience: float = 30.0
    crashed: bool = False
    lock_timeout: str = SESSION["lock_timeout"]


@asynccontextmanager
async def serving(
    house: House, *workflows: Workflow, options: Options | None = None, **limits: Any
) -> AsyncIterator[Live]:
    """Take the tenant over under the next epoch and run an engine as long as the block lasts."""
    options = options or Options()
    house.epoch += 1
    registry = Registry.of(workflows)
    journal = Journal(SCHEMA, epoch=house.epoch, node="test")
    owned = OwnedConnection(
        "acme",
        journal,
        Claims(SCHEMA, epoch=house.epoch, served=lambda: list(registry.workflows)),
        opener(
            options.target or house.database.as_engine("acme"),
            once=options.once,
            lock_timeout=options.lock_timeout,
        ),
    )
    app = TenantDatabase(
        Way(options.app_target or house.database.as_app("acme")),
        application_name="test",
        places=Places(50),
        fence=journal.fence,
        patience=options.patience,
    )
    kept = CacheConnection(
        Login(Way(house.database.as_app("acme")), application_name="test", settings=CACHE_SESSION)
    )
    clock, slots = options.clock or HandClock(), options.slots or NodeSlots(64)
    config = options.config or house.config(**limits)
    try:
        anchored = AnchoredClock(await owned.open(), clock)
        cache = TenantCache(PostgresStore(kept.run, SCHEMA), Bounds)
        secrets = OpenSecrets("acme", owned.secrets, house.known_keys)
        attempts = Attempts(
            lambda: config, app, NO_PROCESSES, threads=THREADS, secrets=secrets, cache=cache
        )
        engine = Engine(lambda: config, registry, owned, attempts, slots, epoch=house.epoch)
        recovered = await engine.recover(anchored, crashed=options.crashed)
        async with engine.running():
            yield Live(house, engine, clock, recovered, slots)
    finally:
        await owned.close()
        await app.close()
        await kept.close()


def opener(target: Target, *, once: bool, lock_timeout: str) -> Callable[[], Awaitable[Connection]]:
    """Return what opens the engine's connection; `once` only the first time, as if it had died."""
    opened = iter([True]) if once else iter(lambda: True, False)
    settings = {**MOVED_TIME, "lock_timeout": lock_timeout}
    login = partial(connect.connect, target, application_name="test", settings=settings)

    async def open_it() -> Connection:
        if not next(opened, False):
            raise DatabaseRefused("this process is dead")
        return await login()

    return open_it
