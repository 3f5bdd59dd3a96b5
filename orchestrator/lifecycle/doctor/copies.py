"""Copies of tenants: what moves keep until they are confirmed, and what verbs have left."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from orchestrator.lifecycle.arrival import ARRIVING
from orchestrator.lifecycle.move import kept_schema
from orchestrator.model.findings import Finding, Severity
from orchestrator.model.ids import SCHEMA_PREFIX
from orchestrator.store import sql
from orchestrator.store.connect import Connection
from orchestrator.store.control.tenants import TenantRow

_QUERIES = sql.load(__name__)
COPIES = _QUERIES["copies"]


async def examine_copies(
    connection: Connection, rows: Sequence[TenantRow], *, shard: str
) -> list[Finding]:
    """Return the copies of tenants in a database of the shard: kept, unfinished, nobody's.

    What a verb is at now is not told.
    """
    kept = {kept_schema(row.id): row for row in rows if row.moved_from == shard}
    quiet = {row.schema_name for row in rows if row.held_for is not None or row.lives_on(shard)}
    findings = []
    for schema, said in await connection.fetch(COPIES, ARRIVING):
        if schema in kept:
            findings.append(_kept(kept[schema], said))
        elif not schema.startswith(SCHEMA_PREFIX):
            findings.append(_orphan(schema))
        elif schema not in quiet:
            findings.append(_unfinished(schema, said))
    return findings


def examine_databases(
    there: Collection[str], rows: Iterable[TenantRow], prefix: str, *, shard: str
) -> list[Finding]:
    """Return what is wrong with the databases that tenants of a shard have of their own."""
    held = {prefix + row.id for row in rows if row.held_for is not None}
    known = {prefix + row.id: row for row in rows if row.lives_on(shard)}
    return [_orphan_database(name) for name in sorted(set(there) - set(known) - held)]


def _kept(row: TenantRow, said: str) -> Finding:
    return Finding(
        severity=Severity.NOTICE,
        check="move.unconfirmed",
        subject=f"tenant {row.id}",
        what=f"it lives on shard {row.shard}, and {row.moved_from} keeps a copy of before its move"
        + (f": {said}" if said else ""),
        mend=f"insula tenant move {row.id} --confirm drops it, --back returns to it",
    )


def _unfinished(schema: str, said: str) -> Finding:
    return Finding(
        severity=Severity.WARNING,
        check="copy.unfinished",
        subject=f"schema {schema}",
        what=said,
        mend="the next node that starts drops it; or move, restore or clone the tenant there again",
    )


def _orphan(schema: str) -> Finding:
    return Finding(
        severity=Severity.WARNING,
        check="schema.orphan",
        subject=f"schema {schema}",
        what="it was kept after a move, and no tenant knows of it",
        mend=f'DROP SCHEMA "{schema}" CASCADE',
    )


def _orphan_database(name: str) -> Finding:
    return Finding(
        severity=Severity.WARNING,
        check="database.orphan",
        subject=f"database {name}",
        what="it has the name of a tenant's own, and no tenant lives in it",
        mend=f'the next node that starts drops a copy; DROP DATABASE "{name}" the rest',
    )
