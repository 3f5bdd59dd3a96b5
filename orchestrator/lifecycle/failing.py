"""Finds the statement of a migration that has failed where PostgreSQL does not say which."""

from __future__ import annotations

import asyncpg

from orchestrator.store import script, sqlstate
from orchestrator.store.connect import Connection


async def failing_statement(
    connection: Connection, text: str, error: asyncpg.PostgresError
) -> script.Statement | None:
    """Return the statement of `text` that `error` is from; None when it says so or nobody can.

    The server points at a place for what it can not parse, and at none for what fails at run time,
    such as rows that break a constraint. So they are sent again one by one, in the transaction that
    has failed, from its savepoint `insula_file` on. The caller takes the transaction back.
    """
    told = getattr(error, "position", None) is not None or error.sqlstate in sqlstate.NOT_IN_TIME
    if told or connection.is_closed():
        return None
    await connection.execute("ROLLBACK TO SAVEPOINT insula_file")
    for each in script.statements(text):
        try:
            await connection.execute(each.text)
        except asyncpg.PostgresError as again:
            return each if again.sqlstate == error.sqlstate else None
    return None
