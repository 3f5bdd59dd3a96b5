"""Everything that a database holds: as COPY writes it, and as it stands on the disk."""

from __future__ import annotations

import io

from orchestrator.store.connect import Connection

_TABLES = """
SELECT quote_ident(nspname) || '.' || quote_ident(relname)
FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace
WHERE relkind = 'r' AND NOT starts_with(nspname, 'pg_') AND nspname <> 'information_schema'
ORDER BY 1
"""


async def dump(connection: Connection) -> str:
    """Return all rows of all tables; bytes are decoded as far as they are text."""
    found = io.BytesIO()
    for (table,) in await connection.fetch(_TABLES):
        found.write(f"{table}\n".encode())
        await connection.copy_from_query(f"SELECT * FROM {table}", output=found)
    text = found.getvalue().decode()
    # bytea is written in hexadecimal, which would hide what is in it.
    held = [bytes.fromhex(each.split()[0]) for each in text.split("\\\\x")[1:]]
    return text + b"\n".join(held).decode("utf-8", "replace")


async def in_file(connection: Connection, table: str, value: bytes) -> bool:
    """Return whether any eight bytes of `value` stand in the file of a table, dead rows and all.

    `connection` is a superuser's.
    """
    await connection.execute("CHECKPOINT")
    file: bytes = await connection.fetchval(
        "SELECT pg_read_binary_file(pg_relation_filepath($1::text::regclass))", table
    )
    return any(value[at : at + 8] in file for at in range(0, len(value), 8))
