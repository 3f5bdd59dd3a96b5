"""What is said when the tables of a tenant are not had, and who holds them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import asyncpg

from orchestrator.model.errors import SchemaConflict
from orchestrator.model.ids import TenantId, schema_of
from orchestrator.store import sql, sqlstate
from orchestrator.store.connect import Connection, Record, translated

HOLDERS = sql.load(__name__)["holders"]


async def holders(connection: Connection, tenant: TenantId) -> list[str]:
    """Return the sessions that hold a table of the tenant now, each in words."""
    return [_words(row) for row in await connection.fetch(HOLDERS, schema_of(tenant))]


def look_for_holders(verb: str) -> str:
    """Return the hint to a `verb` that others have kept from the tables."""
    return f"somebody holds its tables: see pg_locks and pg_prepared_xacts, and {verb} it again"


@contextmanager
def change_errors(tenant: TenantId, verb: Literal["move", "rename"]) -> Iterator[None]:
    """Raise SchemaConflict for tables that are not had in time, and what `translated` does."""
    with translated(f"tenant {tenant!r} can not be {verb}d now"):
        try:
            yield
        except asyncpg.PostgresError as error:
            if error.sqlstate not in sqlstate.NOT_IN_TIME:
                raise
            why = " ".join(str(error).split())
            sentence = f"tenant {tenant!r} can not be {verb}d: {why}"
            raise SchemaConflict(tenant, sentence, hint=look_for_holders(verb)) from error


def _words(row: Record) -> str:
    since = f" since {row['since']:%H:%M:%S} UTC" if row["since"] else ""
    name = row["application_name"] or "no name"
    return f"process {row['pid']} ({row['usename']}, {name}, {row['state']}{since})"
