"""Migrates all tenants: the canary first, then a few at a time, each on its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import anyio
import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from orchestrator.daemon.errands import Errands
from orchestrator.daemon.retrial import probe_now
from orchestrator.daemon.tenants import Tenants, read_spec
from orchestrator.http.services import Notes
from orchestrator.lifecycle.holders import holders
from orchestrator.lifecycle.ledgers import Lacking, Ledgers, lacking, read_ledgers
from orchestrator.lifecycle.provision import ProvisionSpec, rehearsal
from orchestrator.model.errors import (
    DatabaseRefused,
    DatabaseUnavailable,
    InsulaError,
    LockNotHad,
    MigrationChecksumMismatch,
    MigrationFailed,
    SchemaConflict,
    TenantError,
    TenantHeld,
    TenantRemoved,
)
from orchestrator.model.ids import CONTROL_SHARD, TenantId
from orchestrator.model.migration import (
    FailedMigration,
    MigratedTenant,
    MigrateTenants,
    MigrationReport,
)
from orchestrator.model.progress import Progress, Report
from orchestrator.store.connect import DRIVER_ERRORS, Target
from orchestrator.store.control import tenants as rows
from orchestrator.store.control.tenants import TenantRow
from supervisors.messages import Stop
from supervisors.root import RootSupervisor
from supervisors.slot import AT_REST

LOCK_TIMEOUT = "2s"
"""How long a migration waits for a table: what wants the table then waits behind it."""

TRIES = 6
PAUSE_SECONDS = 5.0
"""How often it tries for a lock, and the longest pause in between."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class TenantMigrations:
    """`Migrations` of `http.services`."""

    root: RootSupervisor
    tenants: Tenants
    lock_timeout: str = LOCK_TIMEOUT
    pause: float = PAUSE_SECONDS

    async def run(self, wanted: MigrateTenants, record: Notes, report: Report) -> MigrationReport:
        """Bring tenants up to date with the files as they are now; those that fail keep nobody.

        An end in the middle leaves each tenant as it was or done: the next call goes on. Raises
        MigrationChecksumMismatch, ConfigError and TenantNotFound before anything is done, and
        DatabaseUnavailable when the database goes away.
        """
        spec = await read_spec(self.tenants.spec, self.tenants.snapshot)
        call = _Call(self, wanted, record, report, spec)
        return await call.run()


class _Call:
    """One call: what it found, and what became of that so far."""

    def __init__(
        self,
        service: TenantMigrations,
        wanted: MigrateTenants,
        record: Notes,
        report: Report,
        spec: ProvisionSpec,
    ) -> None:
        self._root = service.root
        self._tenants = service.tenants
        self._service = service
        self._wanted = wanted
        self._record = record
        self._report = report
        self._spec = spec
        self._errands = Errands(service.tenants.shards, anyio.CapacityLimiter(wanted.parallel))
        self._migrated: list[MigratedTenant] = []
        self._failed: list[FailedMigration] = []
        self._up_to_date: list[TenantId] = []
        self._provisioned: set[TenantId] = set()
        self._total = 0

    async def run(self) -> MigrationReport:
        canary = self._wanted.canary and self._root.resolve(self._wanted.canary)
        chosen = await self._chosen(canary or None)
        work = await self._plan(chosen)
        self._total = len(work) + len(self._failed)
        self._tell()
        first = [each for each in work if each.tenant == canary]
        others = [each for each in work if each.tenant != canary]
        if canary and not await self._canary(canary, first):
            return self._told(untouched=len(others))
        if not self._wanted.dry_run:
            self._tenants.spec = self._spec
            self._tenants.trials.clear()
            # The file that kept one in quarantine may be mended so that it lacks nothing now.
            for tenant in self._up_to_date:
                self._heal(tenant)
        await self._all(others)
        return self._told()

    async def _chosen(self, canary: TenantId | None) -> list[TenantId]:
        """Return the tenants that are named, or all that are provisioned; the canary is one."""
        named = {self._root.resolve(name) for name in self._wanted.tenants}
        async with self._tenants.control.acquire() as connection:
            if named:
                named |= {canary} if canary else set()
                known = [await rows.fetch(connection, tenant) for tenant in named]
            else:
                known = await rows.fetch_all(connection)
        self._provisioned = {row.id for row in known if row.state == "provisioned"}
        return sorted(named or self._provisioned | ({canary} if canary else set()))

    async def _plan(self, chosen: Iterable[TenantId]) -> list[Lacking]:
        """Return what each tenant lacks that lacks anything.

        Nothing is done as long as a file is not what was applied: restore it first.
        """
        ledgers = await self._ledgers(chosen)
        work: list[Lacking] = []
        away = {each.tenant for each in self._failed}
        for tenant in chosen:
            if tenant in away:
                continue
            if tenant in self._provisioned and tenant not in ledgers:
                self._fail(tenant, _gone(tenant))
                continue
            try:
                found = lacking(tenant, ledgers.get(tenant), self._spec)
            except MigrationChecksumMismatch:
                raise
            except TenantError as error:
                self._fail(tenant, error)
            else:
                if found.files or tenant not in ledgers:
                    work.append(found)
                else:
                    self._up_to_date.append(tenant)
        return work

    async def _ledgers(self, chosen: Iterable[TenantId]) -> dict[TenantId, Ledgers]:
        """Return the ledgers of those that have one: for each database there is one errand."""
        shards = self._tenants.shards
        places: dict[Target, list[TenantRow]] = {}
        for tenant in chosen:
            row = self._tenants.remembered(tenant) or await shards.row(tenant)
            with self._shard_of([row]):
                if row.shard == CONTROL_SHARD or await shards.is_there(row):
                    places.setdefault(shards.target_of(row), []).append(row)
        found: dict[TenantId, Ledgers] = {}
        for rows_there in places.values():
            with self._shard_of(rows_there):
                async with self._errands.connection(
                    "migration", rows_there[0], lock_timeout="10s"
                ) as connection:
                    found |= await read_ledgers(connection, [row.id for row in rows_there])
        return found

    @contextmanager
    def _shard_of(self, tenants: Sequence[TenantRow]) -> Iterator[None]:
        """Note that tenants can not be migrated whose shard is away; the others go on."""
        try:
            yield
        except (DatabaseUnavailable, DatabaseRefused) as error:
            if tenants[0].shard == CONTROL_SHARD:
                raise
            for row in tenants:
                self._fail(row.id, error)

    async def _canary(self, canary: TenantId, work: Sequence[Lacking]) -> bool:
        """Migrate the canary; only then the others are made from the files as they are now.

        Return whether it is well; it may have failed before, as its shard is away.
        """
        for each in work:
            if not self._wanted.dry_run:
                self._tenants.trials[canary] = self._spec
            await self._one(each)
        return not any(each.tenant == canary for each in self._failed)

    async def _all(self, work: Iterable[Lacking]) -> None:
        ends: list[InsulaError] = []
        async with anyio.create_task_group() as group:

            async def one(each: Lacking) -> None:
                try:
                    await self._one(each)
                except InsulaError as error:
                    row = self._tenants.remembered(each.tenant)
                    if row is not None and row.shard != CONTROL_SHARD:
                        self._fail(each.tenant, error)
                        return
                    # Not this tenant's: the others would meet it as well.
                    ends.append(error)
                    group.cancel_scope.cancel()

            for each in work:
                group.start_soon(one, each)
        if ends:
            raise ends[0]

    async def _one(self, work: Lacking) -> None:
        """Migrate one tenant. What its files do wrong is noted; what ends all of it is raised."""
        began = anyio.current_time()
        try:
            untried = await self._with_retries(work)
        except LockNotHad as error:
            self._fail(work.tenant, await self._who_holds(work.tenant, error))
        except (TenantError, TenantHeld, TenantRemoved) as error:
            self._fail(work.tenant, error)
        except DRIVER_ERRORS as error:
            self._fail(work.tenant, InsulaError(str(error) or type(error).__name__))
        else:
            self._migrated.append(
                MigratedTenant(
                    tenant=work.tenant,
                    files=work.files,
                    untried=untried,
                    seconds=anyio.current_time() - began,
                )
            )
            if not self._wanted.dry_run:
                log.info("tenant.migrated", tenant=work.tenant, files=work.files)
                self._heal(work.tenant)
        self._tell()

    async def _with_retries(self, work: Lacking) -> list[str]:
        """Try until the locks are had, or often enough; return what a dry run can not try."""
        patient = AsyncRetrying(
            retry=retry_if_exception_type(LockNotHad),
            stop=stop_after_attempt(TRIES),
            wait=wait_random_exponential(
                multiplier=self._service.pause / 8, max=self._service.pause
            ),
            reraise=True,
        )
        if self._wanted.dry_run:
            return await patient(self._rehearse, work)
        async with self._record.of(work.tenant, "tenant.migrate", ", ".join(work.files)):
            await patient(self._migrate, work)
        return []

    async def _migrate(self, work: Lacking) -> None:
        timeout = self._service.lock_timeout
        row = await self._tenants.shards.row(work.tenant)
        async with self._errands.pair("migration", row, lock_timeout=timeout) as (control, server):
            await self._tenants.migrate(control, server, work.tenant, lock_timeout=timeout)

    async def _who_holds(self, tenant: TenantId, error: LockNotHad) -> LockNotHad:
        """Return the error with the sessions that hold the tenant's tables now."""
        row = await self._tenants.shards.row(tenant)
        async with self._errands.connection("migration", row, lock_timeout="2s") as connection:
            found = await holders(connection, tenant)
        if not found:
            return error
        return LockNotHad(
            f"{error}; held by {', '.join(found)}", hint=error.hint, data={"holders": found}
        )

    async def _rehearse(self, work: Lacking) -> list[str]:
        timeout = self._service.lock_timeout
        row = await self._tenants.shards.row(work.tenant)
        async with self._errands.pair("migration", row, lock_timeout=timeout) as (control, server):
            trial = rehearsal(
                server, work.tenant, self._spec, lock_timeout=timeout, control=control
            )
            async with trial as left:
                return Lacking(tenant=work.tenant, engine=(), app=left).files

    def _fail(self, tenant: TenantId, error: InsulaError) -> None:
        self._failed.append(
            FailedMigration(
                tenant=tenant, code=error.code, detail=str(error), hint=error.hint, data=error.data
            )
        )
        if not self._wanted.dry_run:
            log.error("tenant.not_migrated", tenant=tenant, code=error.code, error=str(error))
        if isinstance(error, MigrationFailed) and not self._wanted.dry_run:
            self._quarantine(tenant)

    def _quarantine(self, tenant: TenantId) -> None:
        """Have the tenant start anew: it meets the same error, and quarantine is what follows."""
        slot = self._root.slots.get(tenant)
        if slot is not None and slot.state not in AT_REST:
            slot.ask_to_stop(Stop.RENEW)
        else:
            self._root.wake(tenant)

    def _heal(self, tenant: TenantId) -> None:
        """Let a tenant that is in quarantine try again now."""
        slot = self._root.slots.get(tenant)
        if slot is not None:
            probe_now(self._root, slot)

    def _tell(self) -> None:
        failed = len(self._failed)
        phase = "trying" if self._wanted.dry_run else "migrating"
        self._report(
            Progress(
                phase=f"{phase}, {failed} failed" if failed else phase,
                done=len(self._migrated) + failed,
                total=self._total,
                unit="tenants",
            )
        )

    def _told(self, *, untouched: int = 0) -> MigrationReport:
        return MigrationReport(
            dry_run=self._wanted.dry_run,
            migrated=sorted(self._migrated, key=lambda each: each.tenant),
            failed=sorted(self._failed, key=lambda each: each.tenant),
            up_to_date=len(self._up_to_date),
            untouched=untouched,
        )


def _gone(tenant: TenantId) -> SchemaConflict:
    """Return why a tenant is not simply made anew, without its data."""
    return SchemaConflict(
        tenant,
        f"tenant {tenant!r} was provisioned, and its schema is not there",
        hint="restore it from a backup, or delete the tenant",
    )
