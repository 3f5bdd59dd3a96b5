"""The tenants: versions, drift, what is left over, what ails their tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import anyio.to_thread
import msgspec

from orchestrator.lifecycle.arrival import marked
from orchestrator.lifecycle.doctor.drift import (
    Reference,
    build_reference,
    differences,
    read_digests,
    read_objects,
)
from orchestrator.lifecycle.files import parts_in
from orchestrator.lifecycle.ledgers import Begun, Ledgers, lacking, read_ledgers
from orchestrator.lifecycle.provision import ProvisionSpec
from orchestrator.model.errors import InsulaError, TenantError
from orchestrator.model.findings import Finding, Severity
from orchestrator.model.ids import CONTROL_SCHEMA, SCHEMA_PREFIX, TenantId, schema_of
from orchestrator.model.progress import Progress, Report
from orchestrator.store import sql
from orchestrator.store.connect import Connection, Record
from orchestrator.store.control.tenants import TenantRow

_QUERIES = sql.load(__name__)
CONTROL_VERSION = _QUERIES["control_version"]
HAS_CONTROL = _QUERIES["has_control"]
SCHEMAS = _QUERIES["schemas"]
ROLES = _QUERIES["roles"]
INVALID_INDEXES = _QUERIES["invalid_indexes"]
BLOATED = _QUERIES["bloated"]

AT_ONCE = 50
"""Tenants in one look: a backend remembers each table that it has looked at."""


async def control_version(connection: Connection) -> int | None:
    """Return the version of the control schema; None when there is none."""
    if not await connection.fetchval(HAS_CONTROL):
        return None
    version: int = await connection.fetchval(CONTROL_VERSION)
    return version


async def examine_leftovers(
    connection: Connection, rows: Sequence[TenantRow], spec: ProvisionSpec, *, shard: str
) -> list[Finding]:
    """Return schemas and roles of ours that belong to no tenant, and what of a shard is missing.

    A schema that is to be set aside after a move, or is marked as a copy, is known.
    """
    known = {row.schema_name for row in rows if row.lives_on(shard)}
    copied = {schema_of(tenant) for tenant in await marked(connection)}
    schemas = {row[0] for row in await connection.fetch(SCHEMAS)}
    return [
        *(_orphan_schema(schema) for schema in sorted(schemas - known - copied)),
        *await examine_roles(connection, rows, spec),
        *(
            gone(row.id)
            for row in rows
            if row.state == "provisioned" and row.shard == shard and row.schema_name not in schemas
        ),
    ]


async def examine_roles(
    connection: Connection, rows: Sequence[TenantRow], spec: ProvisionSpec
) -> list[Finding]:
    """Return the server's roles of ours that belong to no tenant: shards may share a server."""
    logins = {
        login
        for row in rows
        if row.state != "removed"
        for login in (spec.logins(row.id).engine, spec.logins(row.id).app)
    }
    roles = {row[0] for row in await connection.fetch(ROLES, spec.mark)}
    return [_orphan_role(role) for role in sorted(roles - logins)]


async def examine_unfinished(rows: Sequence[TenantRow], state_dir: Path) -> list[Finding]:
    """Return deletions that have not ended, and files that were not written to their end."""
    return [
        *(_half_deleted(row) for row in rows if row.state == "deleting"),
        *(_partial(file) for file in await anyio.to_thread.run_sync(parts_in, state_dir)),
    ]


async def examine_tables(connection: Connection, tenants: Iterable[TenantId]) -> list[Finding]:
    """Return indexes that are not valid, and tables with many dead rows."""
    schemas = [schema_of(tenant) for tenant in tenants]
    findings = [
        Finding(
            severity=Severity.ERROR,
            check="index.invalid",
            subject=_tenant_of(row["schema"]),
            what=f"index {row['index']} of table {row['table']} is not valid: no query uses it, "
            "and every write keeps it",
            mend=f'DROP INDEX CONCURRENTLY "{row["schema"]}"."{row["index"]}", and build it again',
        )
        for row in await connection.fetch(INVALID_INDEXES, schemas)
    ]
    for row in await connection.fetch(BLOATED, schemas):
        tenant = row["schema"].removeprefix(SCHEMA_PREFIX)
        mend = f"insula tenant maintain {tenant}"
        findings.append(_bloated(row, _tenant_of(row["schema"]), mend))
    return findings


async def examine_catalogs(connection: Connection) -> list[Finding]:
    """Return the server's own tables, and the registry's, with many dead rows.

    Tenants that were made and deleted leave them; whatever changes a tenant reads through them.
    """
    return [
        _bloated(
            row,
            f"schema {row['schema']}",
            f"end what is old of sessions and slots, and VACUUM {row['schema']}.{row['table']}",
        )
        for row in await connection.fetch(BLOATED, ["pg_catalog", CONTROL_SCHEMA])
    ]


def _bloated(row: Record, subject: str, mend: str) -> Finding:
    since = f"since {row['vacuumed']:%Y-%m-%d %H:%M} UTC" if row["vacuumed"] else "ever"
    return Finding(
        severity=Severity.WARNING,
        check="table.bloated",
        subject=subject,
        what=f"table {row['table']} has {row['dead']:,} dead rows and {row['live']:,} others, and "
        f"was not vacuumed {since}",
        mend=mend,
    )


async def examine_versions(
    connection: Connection,
    rows: Sequence[TenantRow],
    spec: ProvisionSpec,
    report: Report,
    *,
    control: Connection | None = None,
) -> list[Finding]:
    """Return what tenants lack of the files, and how they differ from what these make.

    `control` leads to the registry, if `connection` does not.
    """
    tenants = {row.id: row for row in rows}
    ledgers = await read_ledgers(connection, tenants)
    findings: list[Finding] = []
    comparable: dict[tuple[int, int], list[TenantId]] = defaultdict(list)
    for tenant, found in ledgers.items():
        findings += [_begun(tenant, each) for each in found.begun if not each.alive]
        behind = list(_behind(tenants[tenant], found, spec))
        findings += behind
        if all(each.severity is not Severity.ERROR for each in behind):
            comparable[len(found.engine), len(found.app)].append(tenant)
    done = 0
    for (engine, app), group in comparable.items():
        made_from = msgspec.structs.replace(
            spec,
            engine_migrations=spec.engine_migrations[:engine],
            app_migrations=spec.app_migrations[:app],
        )
        try:
            reference = await build_reference(connection, made_from, control=control)
        except InsulaError as error:
            findings.append(_no_reference(error, len(group)))
            continue
        for start in range(0, len(group), AT_ONCE):
            report(Progress("comparing schemas", done, len(tenants), "tenants"))
            some = group[start : start + AT_ONCE]
            findings += await _drift(connection, some, reference, spec.role_prefix)
            done += len(some)
    report(Progress("comparing schemas", len(tenants), len(tenants), "tenants"))
    return findings


async def _drift(
    connection: Connection, tenants: Sequence[TenantId], reference: Reference, prefix: str
) -> list[Finding]:
    digests = await read_digests(connection, tenants, prefix)
    other = [tenant for tenant in tenants if digests.get(tenant) != reference.digest]
    if not other:
        return []
    objects = await read_objects(connection, other, prefix)
    return [
        finding for tenant in other for finding in differences(tenant, objects[tenant], reference)
    ]


def _behind(row: TenantRow, ledgers: Ledgers, spec: ProvisionSpec) -> Iterator[Finding]:
    tenant = row.id
    try:
        lacks = lacking(tenant, ledgers, spec)
    except TenantError as error:
        yield Finding(
            severity=Severity.ERROR,
            check=f"migration.{error.code}",
            subject=f"tenant {tenant}",
            what=str(error),
            mend=error.hint,
        )
        return
    if lacks.files:
        # A schema that was restored by hand: its row says that nothing is left to do.
        older = row.engine_version > len(ledgers.engine) or row.app_version > len(ledgers.app)
        then = "and the registry says it has it" if older else "and gets it before it is next used"
        yield Finding(
            severity=Severity.WARNING if older else Severity.NOTICE,
            check="migration.behind",
            subject=f"tenant {tenant}",
            what=f"it lacks {', '.join(lacks.files)}, {then}",
            mend=f"insula migrate --tenant {tenant}" if older else "insula migrate",
        )


def _begun(tenant: TenantId, begun: Begun) -> Finding:
    where = f" at the statement of line {begun.line}" if begun.line else ""
    return Finding(
        severity=Severity.ERROR,
        check="migration.interrupted",
        subject=f"tenant {tenant}",
        what=f"migration {begun.number:04}_{begun.name} began at {begun.at:%Y-%m-%d %H:%M:%S %Z} "
        f"and stopped{where}; what stands before it is done",
        mend=f"insula migrate --tenant {tenant} begins the file anew",
    )


def _no_reference(error: InsulaError, tenants: int) -> Finding:
    return Finding(
        severity=Severity.ERROR,
        check="drift.no_reference",
        subject="migrations",
        what=f"{tenants} tenants can not be compared, since no new one could be made: {error}",
        mend=error.hint,
    )


def _orphan_schema(schema: str) -> Finding:
    return Finding(
        severity=Severity.WARNING,
        check="schema.orphan",
        subject=f"schema {schema}",
        what="it has tables of ours, and no tenant is registered for it",
        mend=f"insula tenant create {schema.removeprefix(SCHEMA_PREFIX)} takes it back, or drop it",
    )


def _orphan_role(role: str) -> Finding:
    return Finding(
        severity=Severity.WARNING,
        check="role.orphan",
        subject=f"role {role}",
        what="it has our mark, and no tenant is registered for it",
        mend=f'DROP OWNED BY "{role}" in each database, and DROP ROLE "{role}"',
    )


def gone(tenant: TenantId) -> Finding:
    """Return that the tables of a tenant are not where they should be."""
    return Finding(
        severity=Severity.ERROR,
        check="schema.gone",
        subject=f"tenant {tenant}",
        what=f"it was provisioned, and its schema {schema_of(tenant)} is not there",
        mend=f"restore it from a backup, or delete the tenant: insula tenant delete {tenant}",
    )


def _half_deleted(row: TenantRow) -> Finding:
    return Finding(
        severity=Severity.WARNING,
        check="tenant.deleting",
        subject=f"tenant {row.id}",
        what=f"it is being {row.verb}d since {row.removed_at:%Y-%m-%d %H:%M:%S} UTC",
        mend=f"the next node to start ends that, or {row.again}",
    )


def _partial(file: Path) -> Finding:
    return Finding(
        severity=Severity.WARNING,
        check="file.partial",
        subject=f"file {file}",
        what="it was not written to its end, unless a daemon is at it now",
        mend="remove it",
    )


def _tenant_of(schema: str) -> str:
    return f"tenant {schema.removeprefix(SCHEMA_PREFIX)}"
