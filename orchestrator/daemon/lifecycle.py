"""The verbs that change a whole tenant: update, disable, enable, rotate credentials, delete."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import structlog
from msgspec import structs

from orchestrator.daemon.archives import ARCHIVES, TenantArchives
from orchestrator.daemon.audit import TenantAudit
from orchestrator.daemon.copies import at, drop_arrived_copies, drop_kept_copy
from orchestrator.daemon.errands import Errands
from orchestrator.daemon.holds import Holds
from orchestrator.daemon.parts import drop_dead_parts, drop_parts_of
from orchestrator.daemon.renaming import finish
from orchestrator.daemon.retrial import try_again
from orchestrator.daemon.tenants import Tenants
from orchestrator.daemon.wiping import KeyWiping
from orchestrator.http.audit import Record
from orchestrator.lifecycle.removal import TAKE_ALONG, Removed, Whole, remove, unfinished
from orchestrator.lifecycle.rename import GO_ON, Renaming, rename
from orchestrator.model.api import (
    DeletedTenant,
    ErasedTenant,
    RenameTenant,
    RotatedCredentials,
    UpdateTenant,
)
from orchestrator.model.archives import ArchivedTenant
from orchestrator.model.errors import (
    ArchiveInvalid,
    CopyKept,
    DeclaredInFile,
    InsulaError,
    InvalidRequest,
    RemovalIncomplete,
    SchemaConflict,
    StorageFailed,
    TenantInUse,
    TenantNotFound,
    ToolMissing,
)
from orchestrator.model.ids import CONTROL_SHARD, TenantId, parse_tenant_id
from orchestrator.model.progress import Progress, Report, unheard
from orchestrator.store.connect import DRIVER_ERRORS, ControlPool
from orchestrator.store.control import keys
from orchestrator.store.control import tenants as rows
from orchestrator.store.control.audit import Deed
from orchestrator.store.control.keys import Holder
from orchestrator.store.control.tenants import TenantRow
from orchestrator.store.shards import Place, is_ready
from orchestrator.store.tenant.login import try_login
from supervisors.root import RootSupervisor

LOOK_SECONDS = 0.2
"""How often it is looked whether runs have finished."""

log = structlog.get_logger(__name__)

_KEEP_NOTHING = ("purge", "erase")
_EVENTS = {"archive": "tenant.archived", "erase": "tenant.erased"}
_NOTHING_DROPPED = (TenantInUse, SchemaConflict, StorageFailed, ToolMissing, ArchiveInvalid)


@dataclass(frozen=True)
class TenantLifecycle:
    """`Lifecycle` of `http.services`."""

    root: RootSupervisor
    control: ControlPool
    tenants: Tenants
    audit: TenantAudit
    errands: Errands
    state_dir: Path
    holds: Holds
    archives: TenantArchives
    wiping: KeyWiping

    async def update(self, tenant: TenantId, request: UpdateTenant) -> None:
        """Change the declaration of a tenant that was registered at run time."""
        await self.tenants.update(tenant, request)
        log.info("tenant.updated", tenant=tenant)

    async def disable(self, tenant: TenantId, reason: str) -> None:
        """Let the tenant take no work, whatever its file says, until it is enabled."""
        async with self.control.acquire() as connection:
            await rows.disable(connection, tenant, reason)
        await self.tenants.refresh()
        log.info("tenant.disabled", tenant=tenant, reason=reason)

    async def enable(self, tenant: TenantId) -> None:
        """Let the tenant work again, also one in quarantine, which tries again at once.

        Raises DeclaredInFile when it is its file that disables it, and what `try_again` does.
        """
        config = self.tenants.snapshot.tenants.get(tenant)
        if config is not None and not config.enabled:
            raise DeclaredInFile(
                tenant,
                f"tenant {tenant!r} is disabled by the file that declares it",
                hint="set enabled = true there and reload",
            )
        async with self.control.acquire() as connection:
            await rows.enable(connection, tenant)
        await self.tenants.refresh()
        registered = self.tenants.registered.get(tenant)
        if registered is not None and not registered.enabled:
            await self.tenants.update(tenant, UpdateTenant(set={"enabled": True}))
        slot = self.root.slots.get(tenant)
        if slot is not None:
            await try_again(self.root, slot)
        log.info("tenant.enabled", tenant=tenant)

    async def rotate_credentials(self, tenant: TenantId) -> RotatedCredentials:
        """Give the tenant's two logins new passwords; sessions go on, on all nodes.

        Whoever logs in with the old one reads the new one and comes again.
        """
        row = await self.tenants.rotate(tenant)
        before = self.tenants.spec.logins(tenant, row.rotation - 1)
        login = before.as_app(self.tenants.shards.target_of(row))
        old_password = await try_login(login, name="insula rotation")
        log.info("tenant.credentials_rotated", tenant=tenant, rotation=row.rotation)
        return RotatedCredentials(
            tenant=tenant,
            rotation=row.rotation,
            roles=[before.app, before.engine],
            old_password=old_password,
        )

    async def rename(
        self, tenant: TenantId, wanted: RenameTenant, *, by: str, report: Report = unheard
    ) -> TenantId:
        """Give a tenant another id, and return it; `by` is for the audit.

        Unfinished runs keep it, unless it is forced: they go on afterwards. Done again it is done.
        Raises InvalidTenantId, DeclaredInFile, TenantExists, TenantInUse, SchemaConflict,
        RoleConflict or TenantHeld with everything as it was before.
        """
        new = parse_tenant_id(wanted.to, role_prefix=self.tenants.spec.role_prefix)
        if new == tenant:
            await self._there(tenant)
            return new
        await self._refuse_kept(tenant)
        self.tenants.refuse_to_rename(tenant, new)
        if not wanted.force:
            await self.idle(tenant, wanted.wait, report, forced=GO_ON)
        deed = Deed(new, by, "tenant.rename", f"from {tenant}")
        report(Progress("waiting for its nodes to let go"))
        async with self.holds.of(tenant, "rename", becomes=new) as hold:
            row = await self._refuse_kept(tenant)  # until here it may have moved
            await self.tenants.shards.tell(row)
            report(Progress("renaming its schema and logins"))
            renaming = Renaming(
                hold=hold,
                new=new,
                forced=wanted.force,
                naming=partial(self.tenants.renaming, tenant=tenant, new=new, alias=wanted.alias),
                database=self.tenants.shards.own_database(Place(new, row.shard)),
                note=partial(self.audit.note, deed=deed),
            )
            await self._rename(row, renaming)
        log.info("tenant.renamed", tenant=tenant, to=new)
        return new

    async def delete(
        self,
        name: str,
        *,
        keep: bool,
        force: bool = False,
        wait: float = 0.0,
        report: Report = unheard,
    ) -> DeletedTenant:
        """Drop a tenant with all its data; what its finished runs were is kept in a file if wanted.

        Without `force` unfinished runs keep it, after `wait` seconds in which they may end. Once
        begun it is finished, by the next node to start if this one dies. Raises DeclaredInFile,
        TenantInUse, SchemaConflict or StorageFailed with everything as it was before.
        """
        row = await self._find(name)
        if row.state == "removed":
            raise TenantNotFound(row.id)
        self.tenants.shards.check(row.shard)
        if not force:
            await self.idle(row.id, wait, report)
        return await self._delete(row.id, "keep" if keep else "purge", force=force, report=report)

    async def erase(
        self, name: str, *, force: bool = False, wait: float = 0.0, report: Report = unheard
    ) -> ErasedTenant:
        """Delete a tenant, if it is not yet, and destroy its keys, in one transaction with its row.

        What was ever sealed for it is lost then, in all archives. As resumable as `delete`, and
        raises the same. Where nobody is, the keys of all former tenants of the id are destroyed;
        TenantNotFound when there is none.
        """
        row = await self._find(name)
        if row.state == "removed":
            former = await self.erase_former(row.id)
            if not former.keys:
                raise TenantNotFound(row.id)
            await drop_parts_of(self.state_dir, row.id)
            return former
        self.tenants.shards.check(row.shard)
        if not force:
            await self.idle(row.id, wait, report)
        gone = await self._delete(row.id, "erase", force=force, report=report)
        async with self.control.acquire() as connection:
            erased = await keys.erased(connection, Holder(row.id, row.registration))
        return ErasedTenant(
            tenant=row.id,
            schema=gone.schema,
            roles=gone.roles,
            keys=erased.keys,
            former_keys=erased.former,
            left=gone.left,
        )

    async def erase_former(self, tenant: TenantId) -> ErasedTenant:
        """Destroy the keys of all former tenants of an id; whoever has it now keeps all it has.

        TenantNotFound when nobody ever had it.
        """
        await self.tenants.shards.row(tenant)
        async with self.control.acquire() as connection:
            destroyed = await keys.erase_former(connection, tenant)
        await self.wiping.attempt()
        log.info("tenant.former_erased", tenant=tenant, keys=destroyed)
        return ErasedTenant(tenant=tenant, schema=None, roles=[], keys=destroyed)

    async def _delete(
        self, tenant: TenantId, results: str, *, force: bool, report: Report
    ) -> DeletedTenant:
        """Mark the tenant as being deleted, and delete it; `results` is for its row."""
        with anyio.CancelScope(shield=True):
            async with self.control.acquire() as connection:
                row = await rows.mark_deleting(connection, tenant, results, forced=force)
            removed = await self._finish(row, report)
        kept = removed.results
        if results == "keep" and row.archive is not None:
            kept = Path(row.archive)
        return _view(tenant, structs.replace(removed, results=kept))

    async def archive(
        self,
        tenant: TenantId,
        *,
        force: bool = False,
        wait: float = 0.0,
        report: Report = unheard,
    ) -> ArchivedTenant:
        """Write the tenant into a file of the state directory, and drop it as `delete` does.

        Its row stays, and tells of the file. As resumable as `delete`. Raises InvalidRequest for a
        tenant that has no tables, and what `delete` does but for DeclaredInFile: a file may go on
        to declare it.
        """
        async with self.control.acquire() as connection:
            row = await rows.fetch(connection, tenant)
        if row.state in ("removed", "archived"):
            raise rows.unfit(row)
        if row.provisioned_at is None:
            raise InvalidRequest(f"tenant {tenant!r} was never used: there is nothing to archive")
        self.tenants.shards.check(row.shard)
        if not force:
            await self.idle(tenant, wait, report, forced=TAKE_ALONG)
        with anyio.CancelScope(shield=True):
            async with self.control.acquire() as connection:
                row = await rows.mark_deleting(connection, tenant, "archive", forced=force)
            try:
                removed = await self._finish(row, report)
            except TenantNotFound:  # somebody else was first: is it archived, or deleted?
                async with self.control.acquire() as connection:
                    raise rows.unfit(await rows.fetch(connection, tenant)) from None
        return ArchivedTenant(tenant=tenant, file=str(removed.results), rows=removed.rows_kept)

    async def resume(self) -> None:
        """Finish the deletions that a node has begun and not ended."""
        try:
            async with self.control.acquire() as connection:
                begun = await rows.deleting(connection)
            for row in begun:
                await self._resume(row)
            await drop_dead_parts(self.state_dir, self.control)
        except (InsulaError, *DRIVER_ERRORS) as error:
            log.error("tenant.deletions_not_resumed", error=str(error))  # noqa: TRY400 - no bug

    async def _resume(self, row: TenantRow) -> None:
        record = Record(self.audit, "insula")
        deed = ("tenant.delete", f"results {row.results}, resumed")
        if row.results == "archive":
            deed = ("tenant.archive", "resumed")
        elif row.results == "erase":
            deed = ("tenant.erase", "resumed")
        try:
            async with record.of(row.id, *deed):
                await self._finish(row)
        except TenantNotFound:
            log.info("tenant.deletion_finished_elsewhere", tenant=row.id)
        except (InsulaError, *DRIVER_ERRORS) as error:
            # It stays marked: the next start, or the operator who deletes it again, goes on.
            log.error("tenant.deletion_not_finished", tenant=row.id, error=str(error))  # noqa: TRY400 - no bug

    async def _finish(self, row: TenantRow, report: Report = unheard) -> Removed:
        report(Progress("waiting for its nodes to let go"))
        await self.tenants.refresh()
        what = f"being {row.verb}d ({row.again} goes on where this stops)"
        await self.holds.until_let_go(row.id, what)
        try:
            removed = await self._remove(row, report)
        except _NOTHING_DROPPED:
            async with self.control.acquire() as connection:
                await rows.unmark_deleting(connection, row)
            await self.tenants.refresh()
            raise
        if row.results == "erase":
            await self.wiping.attempt()
            await drop_parts_of(self.state_dir, row.id)
        if row.id in self.tenants.snapshot.tenants:
            # A file has declared it meanwhile: it begins anew.
            await self.tenants.publish()
        await self.tenants.refresh()
        log.info(
            _EVENTS.get(row.results or "", "tenant.deleted"),
            tenant=row.id,
            roles=removed.roles,
            runs_kept=removed.runs_kept,
        )
        return removed

    async def _remove(self, row: TenantRow, report: Report) -> Removed:
        """Drop what the tenant has; on a shard that comes first, and its tombstone last."""
        shards, removed = self.tenants.shards, Removed()
        await drop_kept_copy(self.tenants, self.errands, row)
        await drop_arrived_copies(self.tenants, self.errands, row)
        left = await self._drop_archive(row)
        if await is_ready(shards, row):
            async with self.errands.pair("deletion", row, lock_timeout="10s") as (control, server):
                removed = await remove(
                    server,
                    row,
                    self.tenants.spec,
                    archive=self._archive(row),
                    whole=self._whole(row, report),
                    report=report,
                    control=control,
                )
        if row.shard != CONTROL_SHARD:
            await shards.drop_database(row)
            async with self.control.acquire() as control:
                await rows.bury(control, row.id, self._kept_whole(row, removed))
        return structs.replace(removed, left=left)

    async def _drop_archive(self, row: TenantRow) -> Path | None:
        """Delete the file of an archived tenant of which nothing is kept: it has all that was.

        Returns it when it is not on this node, for somebody to delete it where it is.
        """
        if row.archive is None:
            return None
        path = Path(row.archive)
        if row.results not in _KEEP_NOTHING:
            await self.archives.retain(path)
            return None
        try:
            await anyio.to_thread.run_sync(path.unlink)
        except FileNotFoundError:
            log.warning("tenant.archive_not_here", tenant=row.id, file=row.archive)
            return path
        except OSError as error:
            raise StorageFailed(
                f"the archive {row.archive} can not be deleted: {error.strerror or error}"
            ) from error
        return None

    async def _find(self, name: str) -> TenantRow:
        """Return the row of the tenant of that id or alias, also when its deletion has begun.

        What is not served any more has its id alone. Raises TenantNotFound, and DeclaredInFile for
        one that no verb may delete.
        """
        try:
            tenant = self.root.resolve(name)
        except TenantNotFound:
            tenant = parse_tenant_id(name)
        if tenant in self.tenants.snapshot.tenants:
            raise DeclaredInFile(
                tenant,
                f"tenant {tenant!r} is declared in a file, so a reload would make it anew",
                hint=f"take [tenants.{tenant}] out of its file, reload, and delete it then",
            )
        return await self.tenants.shards.row(tenant)

    async def _rename(self, row: TenantRow, wanted: Renaming) -> None:
        """Rename the tenant in the registry, and in its own database, as far as it has one."""
        place = row if await is_ready(self.tenants.shards, row) else at(row, CONTROL_SHARD)
        async with self.errands.pair("renaming", place, lock_timeout="10s") as (control, server):
            await rename(server, wanted, self.tenants.spec, control=control)
        await finish(self.tenants, wanted.new)

    async def _there(self, tenant: TenantId) -> TenantRow:
        row = await self.tenants.shards.row(tenant)
        if not row.usable:
            raise rows.unfit(row)
        return row

    async def _refuse_kept(self, tenant: TenantId) -> TenantRow:
        row = await self._there(tenant)
        if row.moved_from is not None:
            raise CopyKept(tenant, row.moved_from)
        return row

    async def idle(
        self, tenant: TenantId, wait: float, report: Report, *, forced: str = "drop them"
    ) -> None:
        """Wait for its unfinished runs, so many seconds; TenantInUse when there are any then."""
        first = left = await self._unfinished(tenant)
        with anyio.move_on_after(wait):
            while left:
                report(Progress("waiting for its runs", max(0, first - left), first, "runs"))
                await anyio.sleep(LOOK_SECONDS)
                left = await self._unfinished(tenant)
        if left:
            raise TenantInUse(tenant, left, forced=forced)

    async def _unfinished(self, tenant: TenantId) -> int:
        async with self.tenants.shards.tenant(tenant) as (_, connection):
            return 0 if connection is None else await unfinished(connection, tenant)

    def _kept_whole(self, row: TenantRow, removed: Removed) -> str | None:
        """Return the file that all of the tenant is in, also if a call before dropped it.

        RemovalIncomplete when it is on another node: a tombstone would be all that is left.
        """
        path = self._archive(row)
        if path is None or row.results != "archive":
            return None
        if removed.schema is None and not path.exists():
            raise RemovalIncomplete(
                row.id,
                f"tenant {row.id!r} is dropped, and the file with all that it had is not here",
                hint="start the node that began to archive it, which ends that"
                f" (`insula tenant delete {row.id} --purge` gives the tenant up)",
            )
        return str(path)

    def _whole(self, row: TenantRow, report: Report) -> Whole | None:
        if row.results != "archive":
            return None
        return lambda path: self.archives.store(row, path, report)

    def _archive(self, row: TenantRow) -> Path | None:
        """Return the file in which something of the tenant is kept."""
        if row.results in _KEEP_NOTHING:
            return None
        # By the moment at which the deletion began: one that is resumed writes the same file.
        assert row.removed_at is not None  # noqa: S101 - so is every row that is marked
        name = f"{row.id}-{row.removed_at:%Y%m%dT%H%M%S.%fZ}"
        if row.results == "archive":
            return self.state_dir / ARCHIVES / f"{name}.tar"
        return self.state_dir / "results" / f"{name}.jsonl.gz"


def _view(tenant: TenantId, removed: Removed) -> DeletedTenant:
    return DeletedTenant(
        tenant=tenant,
        schema=removed.schema,
        roles=removed.roles,
        runs_kept=removed.runs_kept,
        results=None if removed.results is None else str(removed.results),
        left=None if removed.left is None else str(removed.left),
    )
