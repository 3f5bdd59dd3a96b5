"""An engine on a real database, whose clock is moved by hand and whose connection may die."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from orchestrator.engine.attempts import Attempts
from orchestrator.engine.engine import Engine
from orchestrator.engine.processes.pool import ProcessPool
from orchestrator.engine.reply import Reply
from orchestrator.engine.schedules import AskSchedule, ScheduleVerb
from orchestrator.engine.slots import NodeSlots
from orchestrator.model.api import Started
from orchestrator.model.clock import AnchoredClock, HandClock
from orchestrator.model.ids import TenantId
from orchestrator.settings.model import Limits, ScheduleSection
from orchestrator.settings.schedules import merged
from orchestrator.settings.tenants import TenantConfig
from orchestrator.store import connect
from orchestrator.store.connect import Connection
from orchestrator.store.tenant.database import TenantDatabase
from orchestrator.store.tenant.journal import Journal
from orchestrator.store.tenant.login import Way
from orchestrator.store.tenant.owned import SESSION, OwnedConnection
from orchestrator.store.tenant.places import Places
from orchestrator.store.tenant.runs import Claims
from orchestrator.workflow.registry import Registry
from tests.supervisors import workflows
from tests.support.database import Database
from tests.support.wait import until

SCHEMA = "tenant_acme"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
REGISTRY = Registry.of(workflows.ALL)

NO_PROCESSES = ProcessPool(size=1, memory_bytes=None)


class MovedByHand(AnchoredClock):
    """A time that the server's does not touch."""

    def anchor(self, moment: datetime, *, asked: float) -> None:
        """Stay as it is."""


class Killed(Exception):
    """The process is gone."""


@dataclass
class Fate:
    """When the engine's connection ends: before or after its statement number `at`.

    A `lost` one breaks after its statement has committed and can be had again; else all is over.
    """

    at: int = -1
    after: bool = False
    lost: bool = False
    count: int = 0
    struck: bool = False


class Mortal:
    """A connection that ends when its fate says so."""

    def __init__(self, connection: Connection, fate: Fate) -> None:
        self._connection = connection
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._connection, name)
        if name == "transaction":
            return self._transaction
        if name not in {"fetch", "fetchrow", "fetchval", "execute"}:
            return found

        async def counted(*args: Any) -> Any:
            with self._counted():
                return await found(*args)

        return counted

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[None]:
        transaction = self._connection.transaction()
        await transaction.start()
        try:
            yield
        except BaseException:
            with suppress(Exception):
                await transaction.rollback()
            raise
        with self._counted():
            await transaction.commit()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        fate = self._fate
        number, fate.count = fate.count, fate.count + 1
        if number == fate.at and not fate.after:
            self._end()
        yield
        if number == fate.at and fate.after:
            self._end()

    def _end(self) -> None:
        self._fate.struck = True
        if self._fate.lost:
            raise ConnectionResetError("the connection was reset")
        self._connection.terminate()
        raise Killed


@dataclass
class Bench:
    """Tenant acme, provisioned, and its schedules."""

    database: Database
    admin: Connection
    clock: HandClock = field(default_factory=lambda: HandClock(NOON))
    config: TenantConfig = field(default_factory=lambda: TenantConfig(id=TenantId("acme"), name=""))
    epoch: int = 0

    def declare(self, *schedules: ScheduleSection, **limits: Any) -> None:
        """Declare these schedules, as from now."""
        now = self.clock.now()
        known = {each.name: each for each in self.config.schedules}
        dated = []
        for each in merged("acme", (), schedules):
            before = known.get(each.name)
            same = before is not None and before.times == each.times
            since = before.since if before is not None and same else now
            dated.append(msgspec.structs.replace(each, since=since))
        self.config = msgspec.structs.replace(
            self.config, schedules=tuple(dated), limits=Limits(**limits)
        )

    @asynccontextmanager
    async def engine(self, fate: Fate | None = None) -> AsyncIterator[Engine]:
        """Run an engine under the next epoch; at the end it is dropped where it stands."""
        self.epoch += 1
        journal = Journal(SCHEMA, epoch=self.epoch, node="a")
        owned = OwnedConnection(
            "acme",
            journal,
            Claims(SCHEMA, epoch=self.epoch, served=lambda: list(REGISTRY.workflows)),
            lambda: self._connect(fate or Fate()),
        )
        app = TenantDatabase(
            Way(self.database.as_app("acme")),
            application_name="test",
            places=Places(4),
            fence=journal.fence,
        )
        attempts = Attempts(lambda: self.config, app, NO_PROCESSES, threads=4)
        engine = Engine(
            lambda: self.config, REGISTRY, owned, attempts, NodeSlots(64), epoch=self.epoch
        )
        try:
            await owned.open()
            await engine.recover(MovedByHand(self.clock.now(), self.clock))
            async with engine.running():
                yield engine
        finally:
            await owned.close()

    async def _connect(self, fate: Fate) -> Connection:
        if fate.struck and not fate.lost:
            raise Killed
        target = self.database.as_engine("acme")
        connection = await connect.connect(target, application_name="test", settings=SESSION)
        mortal: Any = Mortal(connection, fate)
        return mortal  # type: ignore[no-any-return]

    async def advance(self, engine: Engine, seconds: float, *, step: float | None = None) -> None:
        """Move time on, in steps, and let the engine do what is due."""
        left = seconds
        while left > 0:
            self.clock.advance(min(left, step or left))
            left -= step or left
            await self.settle(engine)

    async def settle(self, engine: Engine) -> None:
        """Return when nothing is left to do now."""
        engine.tick()
        await until(lambda: _rests(engine), what="the engine is quiet")

    async def ask(self, engine: Engine, name: str, verb: ScheduleVerb) -> list[Started]:
        """Do something to a schedule."""
        reply: Reply[list[Started]] = Reply()
        engine.schedules.ask(AskSchedule(name, verb, reply))
        return await reply.wait()

    async def fires(self, name: str = "s") -> list[tuple[str, str]]:
        """Return when each fire was, with the day unless it is NOON's, and what came of it."""
        rows = await self.admin.fetch(
            f"SELECT fire_at, outcome FROM {SCHEMA}.wf_fire WHERE schedule = $1 ORDER BY 1", name
        )
        return [(shown(fire_at), outcome) for fire_at, outcome in rows]

    async def reasons(self, name: str = "s") -> list[str]:
        """Return the reason of each fire."""
        query = f"SELECT reason FROM {SCHEMA}.wf_fire WHERE schedule = $1 ORDER BY fire_at"
        return [row[0] for row in await self.admin.fetch(query, name)]

    async def runs(self) -> list[tuple[str, str]]:
        """Return the key and state of each run."""
        rows = await self.admin.fetch(f"SELECT key, state FROM {SCHEMA}.wf_run ORDER BY key")
        return [(row[0], row[1]) for row in rows]

    async def seen(self, fires: int) -> None:
        """Return when there are so many fires of `s`."""

        async def found() -> bool:
            return len(await self.fires()) == fires

        await until(found)

    async def value(self, query: str, *args: object) -> Any:
        """Return one value, asked by the admin."""
        return await self.admin.fetchval(query.replace("tenant.", f"{SCHEMA}."), *args)

    async def forget(self) -> None:
        """Empty the tenant's tables."""
        tables = ("wf_run", "wf_event", "wf_schedule", "wf_fire")
        await self.admin.execute(f"TRUNCATE {', '.join(f'{SCHEMA}.{each}' for each in tables)}")


def shown(moment: datetime) -> str:
    """Return a moment as short as it can be told."""
    utc = moment.astimezone(UTC)
    form = "%H:%M" if utc.date() == NOON.date() else "%m-%d %H:%M"
    return utc.strftime(form)


def schedule(**given: Any) -> ScheduleSection:
    """Return a schedule `s` of the job `note`; hourly when nothing else is asked for."""
    if not {"cron", "every", "at"} & given.keys():
        given["cron"] = "0 * * * *"
    return ScheduleSection(**{"name": "s", "workflow": "note", **given})


def _rests(engine: Engine) -> bool:
    """Tell whether nothing is left to do, nor due and only not yet begun."""
    return not engine.busy and (engine.next_due is None or engine.next_due > engine.now)
