"""Moves a tenant to another database: fenced, copied, compared, switched, the old copy kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

import anyio
import anyio.to_thread
import structlog

from orchestrator.archive.container import ArchiveReader
from orchestrator.daemon.archives import TenantArchives
from orchestrator.daemon.arrivals import Arrivals
from orchestrator.daemon.copies import at, drop_kept_copy
from orchestrator.daemon.errands import Errands
from orchestrator.daemon.holds import Holds
from orchestrator.daemon.lifecycle import TenantLifecycle
from orchestrator.daemon.tenants import Tenants
from orchestrator.lifecycle import arrival
from orchestrator.lifecycle import move as steps
from orchestrator.lifecycle.move import Compared, kept_schema
from orchestrator.lifecycle.transfer.dump import Dumped, dump
from orchestrator.lifecycle.usage import settle_usage
from orchestrator.model.errors import (
    CopyKept,
    InsulaError,
    InvalidRequest,
    NoCopyKept,
    TenantHeld,
)
from orchestrator.model.ids import CONTROL_SHARD, TenantId, schema_of
from orchestrator.model.moves import MovedTenant, MoveTenant
from orchestrator.model.progress import Progress, Report, unheard
from orchestrator.settings.tenants import unknown_shard
from orchestrator.store.connect import DRIVER_ERRORS, Connection
from orchestrator.store.control import holds, tenants
from orchestrator.store.control.holds import Hold
from orchestrator.store.control.tenants import TenantRow
from orchestrator.store.shards import Place

LOCK_TIMEOUT = "10s"
SETTLE_SECONDS = 5.0
"""How often it is looked whether a hold was released, after a start."""

GO_ON = "let them go on where it moves to"
"""What becomes of unfinished runs when a move is forced."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class TenantMoves:
    """`Moves` of `http.services`."""

    lifecycle: TenantLifecycle
    archives: TenantArchives
    holds: Holds
    errands: Errands
    _alone: anyio.Lock = field(default_factory=anyio.Lock)
    """One move at a time: each asks two servers for all that they have."""

    @property
    def _tenants(self) -> Tenants:
        return self.lifecycle.tenants

    async def run(
        self, tenant: TenantId, wanted: MoveTenant, *, report: Report = unheard
    ) -> MovedTenant:
        """Move a tenant, confirm its move, or go back; done again it is done.

        Raises TenantInUse, TenantHeld, CopyKept, NoCopyKept, MoveFailed, SchemaConflict and
        InvalidRequest with the tenant where it was and as it was.
        """
        row = await self._tenants.shards.row(tenant)
        if row.moved_from is not None:
            async with self._unheld(row) as row:
                await self._settle(row)
        if wanted.confirm:
            return await self._confirm(row, report)
        if wanted.back:
            return await self._back(row, wanted, report)
        return await self._move(row, wanted, wanted.to or "", report)

    async def resume(self) -> None:
        """Set aside what moves have left under its old name, when their node died.

        What that node held is waited for: the holds are released when it counts as dead.
        """
        try:
            while True:
                if not await self._settle_all():
                    return
                await anyio.sleep(SETTLE_SECONDS)
        except (InsulaError, *DRIVER_ERRORS) as error:
            # The next verb of that tenant does so as well.
            log.warning("moves.not_settled", error=str(error))

    async def _settle_all(self) -> bool:
        """Settle all that nobody is at; return whether there are others."""
        async with self._tenants.control.acquire() as connection:
            moved = [row for row in await tenants.fetch_all(connection) if row.moved_from]
        held = False
        for row in moved:
            try:
                async with self._unheld(row) as now:
                    await self._settle(now)
            except TenantHeld:
                held = True
        return held

    # -- the verbs ---------------------------------------------------------------------

    async def _move(
        self, row: TenantRow, wanted: MoveTenant, to: str, report: Report
    ) -> MovedTenant:
        shards = self._tenants.shards
        if to not in {CONTROL_SHARD, *shards.others}:
            raise InvalidRequest(f"$.to: {unknown_shard(to, shards.others)}")
        if row.shard == to:
            return _told(row)
        _refuse_kept(row)
        shards.check(to)
        await self._idle(row, wanted, report)
        arrivals = Arrivals(self._tenants, self.errands)
        try:
            moved = await self._move_held(row, to, report)
        except BaseException:
            # What has arrived is nobody's, unless it was the very end that failed.
            await arrivals.clear_now(Place(row.id, to))
            raise
        if moved.kept_on is None:
            # Its first use may have got as far as to a database of its own.
            await arrivals.clear_now(Place(row.id, row.shard))
        log.info("tenant.moved", tenant=row.id, shard=to, rows=moved.rows)
        return moved

    async def _move_held(self, row: TenantRow, to: str, report: Report) -> MovedTenant:
        async with self._alone, self._held(row, "move", report) as hold:
            row = await self._tenants.shards.row(row.id)  # it may have been used, or moved
            if row.shard == to:
                return _told(row)
            _refuse_kept(row)
            if row.provisioned_at is None:
                return _told(await self._switch(hold, row, to, kept=None))
            compared = await self._copy_and_switch(hold, row, to, report)
            moved = await self._tenants.shards.row(row.id)
            await self._settle(moved)
        return _told(moved, compared)

    async def _confirm(self, row: TenantRow, report: Report) -> MovedTenant:
        if row.moved_from is None:
            return _told(row)
        async with self._unheld(row) as now:
            if now.moved_from != row.moved_from:  # it is the end of another move that this meant
                return _told(now)
            report(Progress("dropping what was kept"))
            await drop_kept_copy(self._tenants, self.errands, now)
        async with self._tenants.control.acquire() as connection:
            await tenants.forget_kept(connection, row.id)
        await self._tenants.refresh()
        log.info("tenant.move_confirmed", tenant=row.id, dropped_on=row.moved_from)
        return _told(await self._tenants.shards.row(row.id))

    async def _back(self, row: TenantRow, wanted: MoveTenant, report: Report) -> MovedTenant:
        if row.moved_from is None:
            raise NoCopyKept(row.id)
        await self._idle(row, wanted, report)
        async with self._alone, self._held(row, "move back", report) as hold:
            row = await self._tenants.shards.row(row.id)  # it may have been confirmed until now
            compared = await self._switch_back(hold, row, wanted, report)
        moved = await self._tenants.shards.row(row.id)
        log.info("tenant.moved_back", tenant=row.id, shard=moved.shard)
        return _told(moved, compared)

    # -- their steps -------------------------------------------------------------------

    @asynccontextmanager
    async def _unheld(self, row: TenantRow) -> AsyncIterator[TenantRow]:
        """Keep verbs from beginning while the block runs; TenantHeld when one is under way.

        A move of another tenant is waited for before, so that nothing waits for it within.
        """
        if row.held_for is not None:
            raise tenants.unfit(row)
        control = self._tenants.control
        async with self._alone, control.acquire() as connection, connection.transaction():
            yield await holds.keep_off(connection, row.id)

    async def _switch_back(
        self, hold: Hold, row: TenantRow, wanted: MoveTenant, report: Report
    ) -> Compared | None:
        """Have the tenant live where it is kept, if it is, and keep it where it is now."""
        if row.moved_from is None:
            raise NoCopyKept(row.id)
        there, compared = at(row, row.moved_from), None
        async with self._still(row, schema_of(row.id)) as now:
            async with self._still(there, kept_schema(row.id)) as before:
                if not wanted.force:
                    schemas = (kept_schema(row.id), schema_of(row.id))
                    compared = await steps.compare(before, now, row.id, schemas, report)
                await steps.bring_back(before, row.id)
            await self._settle_usage(now, row, schema_of(row.id))
            report(Progress("switching"))
            await self._switch(hold, row, there.shard, kept=row.shard)
            await steps.set_aside(now, row.id)
        return compared

    async def _idle(self, row: TenantRow, wanted: MoveTenant, report: Report) -> None:
        if not wanted.force:
            await self.lifecycle.idle(row.id, wanted.wait, report, forced=GO_ON)

    @asynccontextmanager
    async def _held(self, row: TenantRow, verb: str, report: Report) -> AsyncIterator[Hold]:
        """Hold the tenant, and have its shard refuse what SQL would submit there."""
        report(Progress("waiting for its nodes to let go"))
        async with self.holds.of(row.id, verb) as hold:
            await self._tenants.shards.tell(row)
            yield hold

    @asynccontextmanager
    async def _still(self, row: TenantRow, schema: str) -> AsyncIterator[Connection]:
        async with self._connection(row) as connection, steps.still(connection, row.id, schema):
            yield connection

    async def _copy_and_switch(
        self, hold: Hold, row: TenantRow, to: str, report: Report
    ) -> Compared:
        """Copy the tenant, compare the copy, and have it live there.

        Nobody can write into what is copied, and when that ends it has another name.
        """
        shards, spec = self._tenants.shards, self._tenants.spec
        place, name = at(row, to), row.schema_name
        async with self._still(row, name) as source:
            await shards.make_ready(place, spec.installation)
            with await self.archives.spool() as spool:
                archive = await self._archive(row, spool, report)
                async with self._connection(place) as target:
                    await steps.fill(target, archive, row, spec, report=report)
            async with self._still(place, name) as copied:
                compared = await steps.compare(source, copied, row.id, (name, name), report)
            report(Progress("switching"))
            await self._settle_usage(source, row, name)
            await self._switch(hold, row, to, kept=row.shard)
            await steps.set_aside(source, row.id)
        return compared

    async def _archive(self, row: TenantRow, spool: BinaryIO, report: Report) -> ArchiveReader:
        dumped = Dumped(
            row=row, target=self._tenants.shards.target_of(row), spec=self._tenants.spec
        )
        async with self._connection(row) as reader:
            await dump(reader, dumped, spool, runs="all", report=report)
        return await anyio.to_thread.run_sync(ArchiveReader, spool)

    def _connection(self, row: TenantRow) -> AbstractAsyncContextManager[Connection]:
        return self.errands.connection("move", row, lock_timeout=LOCK_TIMEOUT)

    async def _switch(self, hold: Hold, row: TenantRow, to: str, *, kept: str | None) -> TenantRow:
        """Have the tenant live on `to` from now on: the one statement that moves it."""
        async with self._tenants.control.acquire() as connection, connection.transaction():
            await holds.keep(connection, hold)
            await tenants.move(connection, row.id, to, kept=kept)
            moved = await tenants.fetch(connection, row.id)
        await self._tenants.refresh()
        for each in (row, moved):
            await self._tenants.shards.tell(each)
        return moved

    async def _settle_usage(self, connection: Connection, row: TenantRow, schema: str) -> None:
        """Tell what was used there: where the tenant goes, it begins to count anew."""
        async with self._tenants.control.acquire() as control:
            await settle_usage(connection, control, row, schema)

    async def _settle(self, row: TenantRow) -> None:
        """Give what is kept of a moved tenant its name, and take the mark off what it lives in."""
        if row.moved_from is None:
            return
        async with self._connection(row) as connection:
            await arrival.settle(connection, row.id)
        kept = at(row, row.moved_from)
        if await self._tenants.shards.is_there(kept):
            async with self._connection(kept) as old:
                await steps.set_aside(old, row.id)


def _refuse_kept(row: TenantRow) -> None:
    if row.moved_from is not None:
        raise CopyKept(row.id, row.moved_from)


def _told(row: TenantRow, compared: Compared | None = None) -> MovedTenant:
    return MovedTenant(
        tenant=row.id,
        shard=row.shard,
        kept_on=row.moved_from,
        tables=compared.tables if compared else 0,
        rows=compared.rows if compared else 0,
    )
