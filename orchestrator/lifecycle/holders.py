"""Who holds what of a tenant is not had, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import asyncpg

from orchestrator.model.errors import SchemaConflict
from orchestrator.model.ids import TenantId, schema_of
from orchestrator.store import sql, sqlstate
from orchestrator.store.connect import Connection, Record, translated

_QUERIES = sql.load(__name__)
HOLDERS = _QUERIES["holders"]
IN_THE_WAY = _QUERIES["in_the_way"]


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


async def in_the_way(connection: Connection, login: str) -> list[str]:
    """Return the sessions that those of a login wait for, each in words."""
    return [_words(row) for row in await connection.fetch(IN_THE_WAY, login)]


def _words(row: Record) -> str:
    since = f" since {row['since']:%H:%M:%S} UTC" if row["since"] else ""
    name = row["application_name"] or "no name"
    return f"process {row['pid']} ({row['usename']}, {name}, {row['state']}{since})"
