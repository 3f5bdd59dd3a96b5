"""Makes a tenant of an archive: all of it, with its row in the registry, or nothing."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Sequence
from typing import BinaryIO, TypeAlias
from uuid import uuid4

import anyio.to_thread
import msgspec

from orchestrator.archive.container import ArchiveReader
from orchestrator.archive.manifest import LedgerEntry, Manifest, Runs
from orchestrator.lifecycle.arrival import make_way, mark, settle
from orchestrator.lifecycle.provision import ProvisionSpec, provision_filled
from orchestrator.lifecycle.sealing import keys_of_arrival, payload_keys
from orchestrator.lifecycle.transfer.load import Loaded, load
from orchestrator.lifecycle.transfer.reseal import resealed
from orchestrator.model.errors import (
    ArchiveForeign,
    ArchiveInvalid,
    InvalidTenantId,
    KeyErased,
    TenantExists,
    TenantNotFound,
)
from orchestrator.model.ids import CONTROL_SHARD, TenantId, parse_tenant_id, schema_of
from orchestrator.model.progress import Progress, Report
from orchestrator.store.connect import Connection, translated
from orchestrator.store.control import tenants
from orchestrator.store.control.keys import Holder
from orchestrator.store.control.tenants import Made, TenantRow
from orchestrator.store.migrate import Applied, pending

WAIT_FOR_ROWS = "SET LOCAL idle_in_transaction_session_timeout = 0"
"""The registry's transaction has nothing to do while the rows are written."""

FREE = ("registered", "removed", "archived")
"""What the row of a tenant may be for an archive to take its place: there is nothing of it."""

Admit: TypeAlias = Callable[[Connection], Awaitable[None]]
"""Refuses, in the transaction that makes the tenant, an id or alias that another one has."""


class Vacancy(msgspec.Struct, frozen=True):
    """What takes the place: the holder of its keys, and which passwords its logins will have."""

    holder: Holder
    rotation: int


class Restoring(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be made of an archive: as which tenant, declared how, where, with which runs.

    `limits` are those that `insula.submit` obeys, as JSON; None for none.
    """

    tenant: TenantId
    declaration: str
    runs: Runs
    admit: Admit
    shard: str = CONTROL_SHARD
    limits: str | None = None


async def verified(
    file: BinaryIO, spec: ProvisionSpec, *, foreign: bool, report: Report
) -> ArchiveReader:
    """Read all of an archive before anything is made of it, and return it.

    Raises ArchiveInvalid, ArchiveTooNew, ArchiveForeign unless `foreign`, and SchemaVersionAhead
    or MigrationChecksumMismatch when this installation has not the migrations that were applied.
    """
    archive = await anyio.to_thread.run_sync(ArchiveReader, file)
    manifest = archive.manifest
    if not foreign:
        _check_origin(archive, spec)
    _check_names(manifest, role_prefix=spec.role_prefix)
    pending(_applied(manifest.engine), spec.engine_migrations, owner=manifest.tenant)
    pending(_applied(manifest.app), spec.app_migrations, owner=manifest.tenant)
    sizes, done = archive.check(), 0
    while (size := await anyio.to_thread.run_sync(next, sizes, None)) is not None:
        done += size
        report(Progress("verify", done, manifest.bytes, "bytes"))
    return archive


async def restore(
    control: Connection,
    server: Connection,
    archive: ArchiveReader,
    wanted: Restoring,
    spec: ProvisionSpec,
    *,
    report: Report,
) -> Loaded:
    """Make the tenant over `server`, and wake it when it has runs to go on.

    `control` leads to the registry; where that is the same connection, all is one transaction. Else
    the registry is written to, and its names are kept from others, before the tenant's database
    ends its own, and an end between the two leaves a marked copy that `arrival.clear` knows.
    Raises TenantExists, RestoreFailed, SchemaConflict, RoleConflict and what the database says,
    with nothing made.
    """
    tenant, apart = wanted.tenant, server is not control
    loaded: list[Loaded] = []

    async def fill(app_role: str) -> None:
        source = await resealed(control, archive, vacancy.holder, spec.key)
        done = await load(
            server, source, tenant, app_role=app_role, runs=wanted.runs, report=report
        )
        loaded.append(done)

    with translated(f"tenant {tenant!r} can not be restored now"):
        vacancy = await _vacancy(control, tenant)
        async with control.transaction(), server.transaction():
            if apart:
                await control.execute(WAIT_FOR_ROWS)
                await make_way(server, tenant)
            await provision_filled(server, tenant, spec, fill, rotation=vacancy.rotation)
            await _take_keys(control, server, vacancy.holder, spec, loaded[0])
            if apart:
                await mark(server, tenant)
            report(Progress("registry"))
            made = _made(archive.manifest, wanted, vacancy, spec, loaded[0])
            await _register(control, made, wanted.admit)
        if apart:
            await settle(server, tenant)
    return loaded[0]


def _made(
    manifest: Manifest, wanted: Restoring, vacancy: Vacancy, spec: ProvisionSpec, loaded: Loaded
) -> Made:
    return Made(
        tenant=wanted.tenant,
        registration=vacancy.holder.registration,
        declaration=wanted.declaration,
        shard=wanted.shard,
        engine_version=len(spec.engine_migrations),
        app_version=len(manifest.app),
        origin=manifest.origin if wanted.tenant == manifest.tenant else None,
        wake=loaded.unfinished > 0,
        limits=wanted.limits,
    )


async def _register(control: Connection, made: Made, admit: Admit) -> None:
    """Note in the registry that the tenant is there; TenantExists when another one is."""
    await admit(control)
    if not await tenants.bring_back(control, made):
        raise taken(await tenants.fetch(control, made.tenant))


async def _take_keys(
    control: Connection,
    server: Connection,
    holder: Holder,
    spec: ProvisionSpec,
    loaded: Loaded,
) -> None:
    """Have what is sealed depend on the tenant's own key; KeyErased when no run could go on."""
    tenant, erased = holder.tenant, await keys_of_arrival(control, server, holder, spec.key)
    if loaded.unfinished and not (await payload_keys(server, tenant)).isdisjoint(erased):
        raise KeyErased(
            tenant,
            f"what the unfinished runs of the archive carry is erased: {loaded.unfinished} of them",
            hint="bring the rest back: --runs finished",
        )


async def refuse_taken(connection: Connection, tenant: TenantId) -> None:
    """Raise TenantExists when there is something of the tenant: before an archive is read."""
    try:
        row = await tenants.fetch(connection, tenant)
    except TenantNotFound:
        return
    if row.state == "archived":
        raise TenantExists(
            tenant,
            f"tenant {tenant!r} is archived",
            hint="bring it back with insula tenant unarchive, or delete it first",
        )
    if row.state not in FREE:
        raise taken(row)


def taken(row: TenantRow) -> TenantExists:
    """Return why an archive can not take the place of a tenant."""
    return TenantExists(
        row.id,
        f"tenant {row.id!r} is being {row.verb}d"
        if row.state == "deleting"
        else f"tenant {row.id!r} is there already",
        hint="name another id (restore: with --as), or delete it first",
    )


async def _vacancy(connection: Connection, tenant: TenantId) -> Vacancy:
    """Return what the archive takes the place of; where nobody is, a new tenant begins."""
    try:
        row = await tenants.fetch(connection, tenant)
    except TenantNotFound:
        return Vacancy(Holder(tenant, uuid4()), rotation=0)
    if row.state not in FREE:
        raise taken(row)
    registration = uuid4() if row.state == "removed" else row.registration
    return Vacancy(Holder(tenant, registration), row.rotation)


def _check_origin(archive: ArchiveReader, spec: ProvisionSpec) -> None:
    manifest = archive.manifest
    if manifest.installation != spec.installation:
        raise ArchiveForeign(
            f"the archive is from another installation, {manifest.installation}",
            hint="what is in it is run as the admin login: give --foreign only when you trust it",
        )
    if not hmac.compare_digest(archive.seal, spec.key.seal(archive.sealed).encode()):
        raise ArchiveInvalid(
            "the archive was changed since this installation wrote it",
            hint="or the installation key is another one since: then --foreign takes it",
        )


def _check_names(manifest: Manifest, *, role_prefix: str) -> None:
    try:
        tenant = parse_tenant_id(manifest.tenant, role_prefix=role_prefix)
    except InvalidTenantId as error:
        raise ArchiveInvalid(f"the archive is of no tenant: {error}") from error
    if manifest.schema != schema_of(tenant):
        raise ArchiveInvalid(f"the archive names {manifest.schema!r} as the schema of {tenant!r}")


def _applied(ledger: Sequence[LedgerEntry]) -> list[Applied]:
    return [Applied(each.number, each.name, each.checksum) for each in ledger]
