"""Takes a tenant's schema from one database to another, and keeps the old one until told not to.

What happens here on one side is one transaction, so an end at any moment leaves the tenant where
its row says that it is: the row changes when the copy is whole and compared. What may be left then
has a name or a mark by which the next call knows it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from orchestrator.archive.container import ArchiveReader
from orchestrator.lifecycle.arrival import (
    ARRIVING,
    HAS_SCHEMA,
    MARKED,
    drop_copy,
    make_way,
    mark,
    note,
)
from orchestrator.lifecycle.holders import change_errors
from orchestrator.lifecycle.provision import ProvisionSpec, provision_filled
from orchestrator.lifecycle.transfer.dump import BEGINS_ANEW
from orchestrator.lifecycle.transfer.dump import TABLES as COLUMNS
from orchestrator.lifecycle.transfer.load import load
from orchestrator.model.errors import MoveFailed
from orchestrator.model.ids import TenantId, quote_identifier, schema_of
from orchestrator.model.progress import Progress, Report
from orchestrator.store import sql
from orchestrator.store.connect import Connection
from orchestrator.store.control.tenants import TenantRow

_QUERIES = sql.load(__name__)
TABLES = _QUERIES["tables"]
LOCK = _QUERIES["lock"]
RENAME = _QUERIES["rename"]
SETTINGS = _QUERIES["settings"]

_OWNED = frozenset({"wf_run"})
"""Tables whose rows say which owner has them in memory; nobody has after a move."""


class Compared(msgspec.Struct, frozen=True):
    """How many tables and rows were the same on both sides."""

    tables: int
    rows: int


def kept_schema(tenant: TenantId) -> str:
    """Return the name that the schema of a tenant has where it is kept after a move."""
    return f"moved_{tenant}"


@asynccontextmanager
async def still(connection: Connection, tenant: TenantId, schema: str) -> AsyncIterator[None]:
    """Keep everybody from writing into a schema while the block runs, in one transaction.

    Whoever writes already is waited for; SchemaConflict when that takes too long. MoveFailed when
    nothing is there: a confirmation that was killed has dropped what was kept.
    """
    with change_errors(tenant, "move"):
        async with connection.transaction():
            await connection.execute(SETTINGS)
            tables = [row[0] for row in await connection.fetch(TABLES, schema)]
            if not tables:
                raise MoveFailed(tenant, f"nothing of tenant {tenant!r} is there as {schema!r}")
            locks = [sql.fill(LOCK, schema=schema, table=table) for table in tables]
            await connection.execute("\n".join(locks))
            yield


async def fill(
    connection: Connection,
    archive: ArchiveReader,
    row: TenantRow,
    spec: ProvisionSpec,
    *,
    report: Report,
) -> None:
    """Make the tenant of an archive where nothing of it is, but perhaps a copy that was given up.

    All of it or nothing, and marked as a copy that is not the tenant's yet.
    """

    async def copy(app_role: str) -> None:
        await load(connection, archive, row.id, app_role=app_role, runs="all", report=report)

    with change_errors(row.id, "move"):
        async with connection.transaction():
            await make_way(connection, row.id)
            await provision_filled(connection, row.id, spec, copy, rotation=row.rotation)
            await mark(connection, row.id)


async def compare(
    source: Connection,
    target: Connection,
    tenant: TenantId,
    schemas: tuple[str, str],
    report: Report,
) -> Compared:
    """Compare the tables of both sides, in transactions of the caller's; MoveFailed if they differ.

    Number and contents of the rows, whatever their order. The fence is each side's own, and what is
    unlogged is left out.
    """
    found = [
        await connection.fetch(COLUMNS, schema)
        for connection, schema in zip((source, target), schemas, strict=True)
    ]
    names = [{name: columns for name, _, columns in each} for each in found]
    if names[0] != names[1]:
        raise MoveFailed(tenant, f"the tables of tenant {tenant!r} are not the same on both sides")
    rows = 0
    kept = [name for name, unlogged, _ in found[0] if not unlogged and name not in BEGINS_ANEW]
    for number, name in enumerate(kept):
        report(Progress("comparing", number, len(kept), "tables"))
        sums = [
            await connection.fetchrow(_sums(schema, name, names[0][name]))
            for connection, schema in zip((source, target), schemas, strict=True)
        ]
        if sums[0] is None or sums[0] != sums[1]:
            raise MoveFailed(
                tenant,
                f"table {name!r} of tenant {tenant!r} is not the same on both sides",
                data={"table": name},
            )
        rows += sums[0]["rows"]
    return Compared(len(kept), rows)


async def set_aside(connection: Connection, tenant: TenantId) -> None:
    """Give the schema that the tenant does not live in any more the name under which it is kept."""
    with change_errors(tenant, "move"):
        async with connection.transaction():
            if await _rename(connection, schema_of(tenant), kept_schema(tenant)):
                await note(connection, kept_schema(tenant), "kept")


async def bring_back(connection: Connection, tenant: TenantId) -> None:
    """Give the schema that was kept its name back; nobody uses it before the row says so."""
    with change_errors(tenant, "move"):
        async with connection.transaction():
            if await _rename(connection, kept_schema(tenant), schema_of(tenant)):
                await note(connection, schema_of(tenant), None)


async def drop_kept(connection: Connection, tenant: TenantId, spec: ProvisionSpec) -> None:
    """Drop what is kept of a tenant that lives elsewhere, and its logins if they are not in use.

    Roles are the server's: where the tenant lives in another database of it, they stay.
    """
    with change_errors(tenant, "move"):
        async with connection.transaction():
            await drop_copy(connection, tenant, spec, kept_schema(tenant))


async def drop_arrived(connection: Connection, tenant: TenantId, spec: ProvisionSpec) -> bool:
    """Drop a copy that was begun and never became the tenant's; return whether nothing is left.

    A schema without the mark of such a copy stays.
    """
    schema = schema_of(tenant)
    with change_errors(tenant, "move"):
        async with connection.transaction():
            if not await connection.fetchval(HAS_SCHEMA, schema):
                return True
            if not await connection.fetchval(MARKED, schema, ARRIVING):
                return False
            await drop_copy(connection, tenant, spec, schema)
            return True


async def _rename(connection: Connection, schema: str, renamed: str) -> bool:
    there = await connection.fetchval(HAS_SCHEMA, schema)
    if not there or await connection.fetchval(HAS_SCHEMA, renamed):
        return False
    await connection.execute(sql.fill(RENAME, schema=schema, renamed=renamed))
    return True


def _sums(schema: str, table: str, columns: list[str]) -> str:
    """Return the query for a number of rows, and a sum of what they hold that no order changes."""
    named = [each for each in columns if table not in _OWNED or each != "epoch"]
    row = f"ROW({', '.join(f't.{quote_identifier(each)}' for each in named)})::text"
    qualified = f"{quote_identifier(schema)}.{quote_identifier(table)}"
    return (
        f"SELECT count(*) AS rows, coalesce(sum(hashtextextended({row}, 0)::numeric), 0) AS sum "  # noqa: S608 - quoted
        f"FROM ONLY {qualified} AS t"
    )
