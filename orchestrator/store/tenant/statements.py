"""SQL as task and application code write it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.store.connect import Connection, Record


class Statements:
    """What may be asked of one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def fetch(self, query: str, *args: object) -> list[Record]:
        """Return all rows."""
        return await self._connection.fetch(query, *args)

    async def fetchrow(self, query: str, *args: object) -> Record | None:
        """Return the first row, or None."""
        return await self._connection.fetchrow(query, *args)

    async def fetchval(self, query: str, *args: object) -> Any:
        """Return the first column of the first row, or None."""
        return await self._connection.fetchval(query, *args)

    async def execute(self, query: str, *args: object) -> str:
        """Run a statement and return its status, such as `INSERT 0 1`."""
        status: str = await self._connection.execute(query, *args)
        return status

    async def executemany(self, query: str, args: Iterable[Sequence[object]]) -> None:
        """Run a statement once for each set of arguments."""
        await self._connection.executemany(query, args)

    async def copy_records(
        self, table: str, *, records: Iterable[Sequence[object]], columns: Sequence[str]
    ) -> str:
        """COPY `records` into `table` and return the status."""
        status: str = await self._connection.copy_records_to_table(
            table, records=records, columns=list(columns)
        )
        return status
