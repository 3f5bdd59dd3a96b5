"""Looks after the shards: each is prepared, told of its tenants, and asked who is to be woken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from uuid import UUID

import anyio
import anyio.abc
import structlog

from orchestrator.engine.pulse import Pulse
from orchestrator.model.api import DatabaseOutage, ShardStatus
from orchestrator.model.errors import ConfigError, Unavailable
from orchestrator.model.ids import CONTROL_SHARD, TenantId
from orchestrator.store.connect import DRIVER_ERRORS, Connection
from orchestrator.store.control import databases
from orchestrator.store.control import shards as rows
from orchestrator.store.control.shards import Owner, Submission
from orchestrator.store.control.tenants import TenantRow
from orchestrator.store.outage import Reach
from orchestrator.store.shards import Shard, Shards
from supervisors.slot import Slot

LOOK_SECONDS = 0.25
"""How often a shard is asked what SQL has submitted there."""

RETRY_SECONDS = 1.0
DATABASES_AT_ONCE = 8
"""Of the databases that tenants have of their own, so many are looked into at a look."""

PATIENCE = 10.0
"""How long one look may take before the shard counts as silent."""

log = structlog.get_logger(__name__)


class ControlAway(Exception):
    """The control database does not answer, of which its own keeper tells."""


class ShardKeeper:
    """Looks after one shard, whatever becomes of the others.

    Level-triggered: what one look misses the next one finds. A wake row leaves the shard only once
    it is in the wake index, so that an end at any moment loses none.
    """

    def __init__(self, shard: Shard, shards: Shards, installation: UUID) -> None:
        self._shard = shard
        self._control = shards.control
        self._owner = Owner(installation, shard.name, shard.isolation)
        self._prepared = False
        self._looks = 0
        self._looked: dict[str, int] = {}
        self._seen: dict[str, str] = {}
        self._poked = Pulse()
        shard.reach.answer(self._poked.beat)
        shard.poke = self._poked.beat

    async def run(
        self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Look for ever. The first look ends, well or not, before this is ready."""
        pause = await self.look()
        task_status.started()
        while True:
            with anyio.move_on_after(pause):
                await self._poked.wait()
            pause = await self.look()

    async def look(self) -> float:
        """Look once; return the seconds to rest."""
        reach = self._shard.reach
        try:
            with anyio.fail_after(PATIENCE):
                async with self._shard.pool.acquire() as connection:
                    await self._look(connection)
        except ControlAway:
            return RETRY_SECONDS
        except (Unavailable, *DRIVER_ERRORS) as error:
            if reach.outage is None:
                log.warning("shard.lost", shard=self._shard.name, error=str(error))
            self._prepared = False
            reach.lost(str(error) or "no answer in time")
            return RETRY_SECONDS
        if reach.outage is not None or reach.in_doubt:
            reach.found()
        return LOOK_SECONDS

    async def _look(self, connection: Connection) -> None:
        if not self._prepared:
            await rows.prepare(connection, self._owner)
            await self._copy_all(connection)
            self._prepared = True
            log.info("shard.ready", shard=self._shard.name, database=self._shard.target.redacted)
        if self._shard.apart:
            await self._look_apart(connection)
        else:
            await self._copy_changed(connection)
            await self._fetch(connection)

    async def _look_apart(self, connection: Connection) -> None:
        """Look into some of the tenants' own databases: where something was written, or has to be.

        Those that waited longest go first.
        """
        prefix = self._shard.database_prefix
        lively = await databases.lively(connection, prefix)
        stirred = [name for name, text in lively.items() if self._seen.get(name) != text]
        names = {prefix + each for each in self._shard.uncopied}.intersection(lively)
        for name in names.symmetric_difference(prefix + each for each in self._shard.uncopied):
            self._shard.uncopied.pop(TenantId(name.removeprefix(prefix)))
        names.update(sorted(stirred, key=self._order)[:DATABASES_AT_ONCE])
        for name in sorted(names, key=self._order)[:DATABASES_AT_ONCE]:
            tenant = TenantId(name.removeprefix(prefix))
            self._looks += 1
            self._looked[name] = self._looks
            try:
                await self._look_into(tenant)
            except (Unavailable, *DRIVER_ERRORS) as error:
                # It may be being dropped, which ends its sessions: the shard is away only if its
                # own database does not answer either.
                await connection.fetchval("SELECT 1")
                log.info("shard.database_passed_over", tenant=tenant, error=str(error))
            else:
                self._seen[name] = lively[name]

    def _order(self, name: str) -> tuple[int, str]:
        return self._looked.get(name, 0), name

    async def _look_into(self, tenant: TenantId) -> None:
        async with self._shard.connected(tenant) as connection:
            if await databases.is_ready(connection):
                await self._copy_changed(connection, only=tenant)
                await self._fetch(connection)

    async def _fetch(self, connection: Connection) -> None:
        found = await rows.submissions(connection)
        if found:
            await self._wake(found)
            await rows.fetched(connection, found)

    async def _copy_all(self, connection: Connection) -> None:
        if self._shard.apart:
            return  # the daemon has noted every row when it started, and notes every change
        there = await rows.copied(connection)
        self._shard.uncopied.clear()
        await rows.copy(connection, await self._rows(there, whole=True), whatever=True)

    async def _copy_changed(self, connection: Connection, *, only: TenantId | None = None) -> None:
        uncopied = self._shard.uncopied
        wanted = [tenant for tenant in uncopied if only in {None, tenant}]
        changed = {tenant: uncopied.pop(tenant) for tenant in wanted}
        if not changed:
            return
        try:
            await rows.copy(connection, await self._rows(sorted(changed)))
        except BaseException:
            self._shard.uncopied = {**changed, **uncopied}
            raise

    async def _rows(self, tenants: list[TenantId], *, whole: bool = False) -> str:
        try:
            async with self._control.acquire() as control:
                if whole:
                    return await rows.of_shard(control, self._shard.name, tenants)
                return await rows.of_tenants(control, tenants)
        except (Unavailable, *DRIVER_ERRORS) as error:
            raise ControlAway from error

    async def _wake(self, found: list[Submission]) -> None:
        try:
            async with self._control.acquire() as control:
                await rows.wake(control, found)
        except (Unavailable, *DRIVER_ERRORS) as error:
            raise ControlAway from error


def check_homes(tenants: Iterable[TenantRow], known: Collection[str]) -> None:
    """Raise ConfigError for shards that tenants live on and the configuration has not."""
    lost: dict[str, list[TenantId]] = {}
    for row in tenants:
        if row.state not in ("removed", "archived") and row.shard not in {CONTROL_SHARD, *known}:
            lost.setdefault(row.shard, []).append(row.id)
    if lost:
        raise ConfigError(
            [
                f"shards.{shard} is not there, and these tenants live on it: {_named(homeless)}"
                for shard, homeless in sorted(lost.items())
            ],
            hint="bring it back; `insula tenant move` takes tenants from a shard",
        )


def _named(tenants: list[TenantId]) -> str:
    more = len(tenants) - 10
    return ", ".join(tenants[:10]) + (f" and {more} more" if more > 0 else "")


def statuses(shards: Shards, slots: Iterable[Slot]) -> list[ShardStatus]:
    """Return the shards by name, each with the number of its tenants."""
    tenants = Counter(slot.config.shard for slot in slots)
    return [
        ShardStatus(
            name=name,
            database=shard.target.redacted,
            isolation=shard.isolation,
            tenants=tenants[name],
            outage=outage_of(shard.reach),
        )
        for name, shard in sorted(shards.others.items())
    ]


def outage_of(reach: Reach) -> DatabaseOutage | None:
    """Return since when a server has not answered, as people are told; None when it does."""
    away = reach.outage
    return DatabaseOutage(since=away.since, error=away.error) if away else None
