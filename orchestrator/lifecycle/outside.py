"""Runs one migration of the application outside a transaction, a statement at a time.

For what PostgreSQL refuses to do in one: CREATE INDEX CONCURRENTLY, VACUUM. An end in the middle
leaves what the statements before it have done, and a row in the ledger that says how far it came;
the next call begins the file anew, so each statement has to be one that can be repeated.
"""

from __future__ import annotations

import anyio
import asyncpg

from orchestrator.model.errors import LockNotHad, MigrationFailed
from orchestrator.model.ids import TenantId, schema_of
from orchestrator.store import script, sql
from orchestrator.store.connect import CLOSE_SECONDS, Connection
from orchestrator.store.migrate import Migration, migration_failure

_QUERIES = sql.load(__name__)
CLAIM = _QUERIES["claim"]
SETTINGS = _QUERIES["settings"]
REACH = _QUERIES["reach"]
INVALID_INDEXES = _QUERIES["invalid_indexes"]
END = _QUERIES["end"]
FORGET = _QUERIES["forget"]


class Outside:
    """One such migration of one tenant, on a connection of the admin's."""

    def __init__(self, connection: Connection, tenant: TenantId, migration: Migration) -> None:
        self._connection = connection
        self._tenant = tenant
        self._schema = schema_of(tenant)
        self._migration = migration

    async def claim(self) -> None:
        """Note in the ledger that it begins here, in the caller's transaction.

        Raises LockNotHad while another session, that still lives, is at it.
        """
        file = self._migration
        arguments = (file.number, file.name, file.checksum)
        if await self._connection.fetchval(self._bound(CLAIM), *arguments) is None:
            raise LockNotHad(
                f"{file.file} is being applied to {self._tenant!r} by another session",
                hint="it may take long; look for it in pg_stat_activity",
            )

    async def run(self) -> None:
        """Run the statements; MigrationFailed at the first that fails, those before it stay."""
        try:
            await self._connection.execute(sql.fill(SETTINGS, schema=self._schema))
            for statement in script.statements(self._migration.sql):
                await self._connection.execute(
                    self._bound(REACH), self._migration.number, statement.line
                )
                await self._execute(statement)
        finally:
            await forget(self._connection)

    async def end(self) -> None:
        """Note in the ledger that all of it is done, in the caller's transaction.

        An index that an end in the middle has left half-built is not done: `IF NOT EXISTS` passes
        over it.
        """
        names = [row[0] for row in await self._connection.fetch(INVALID_INDEXES, self._schema)]
        file = self._migration
        if names:
            raise MigrationFailed(
                self._tenant,
                f"{file.file}: the index {', '.join(names)} of {self._schema} is not valid",
                hint="put DROP INDEX CONCURRENTLY IF EXISTS before its CREATE and migrate again",
                data={"file": file.file, "line": None, "position": None, "indexes": names},
            )
        await self._connection.execute(self._bound(END), file.number, file.name, file.checksum)

    async def _execute(self, statement: script.Statement) -> None:
        try:
            await self._connection.execute(statement.text)
        except asyncpg.PostgresError as error:
            raise migration_failure(self._tenant, self._migration, error, at=statement) from error

    def _bound(self, query: str) -> str:
        return sql.bind(query, self._schema)


async def forget(connection: Connection) -> None:
    """Take back what a file has left in its session, which others use next."""
    if connection.is_closed():
        return
    with anyio.move_on_after(CLOSE_SECONDS, shield=True) as deadline:
        await connection.execute(FORGET)
    if deadline.cancelled_caught:
        connection.terminate()
