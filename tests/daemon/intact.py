"""What holds of an installation whenever nobody is at work: all is as the registry says."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asyncpg import Record

from orchestrator.store.connect import Connection

OF_OURS = (
    "SELECT pid FROM pg_stat_activity WHERE datname = ANY ($1)"
    " AND application_name LIKE 'insula %' AND application_name <> 'insula test' AND "
)
SESSIONS = OF_OURS + "true"
IDLE = OF_OURS + "state = 'idle in transaction'"
WAITING = OF_OURS + "wait_event_type = 'Lock'"
BEGUN = """
SELECT count(*) FROM insula.audit AS asked WHERE number > $1 AND answers IS NULL
AND NOT EXISTS (SELECT FROM insula.audit AS answer WHERE answer.answers = asked.number)
"""
ROWS = "SELECT id, state, shard, moved_from, held_for, archive FROM insula.tenant ORDER BY id"
SCHEMAS = "SELECT nspname::text FROM pg_namespace WHERE nspname ~ '^(tenant|moved)_'"
ROLES = "SELECT rolname::text FROM pg_roles WHERE starts_with(rolname, $1)"


@dataclass
class Installation:
    """A control database, a shard and the files of a daemon; its roles begin with `prefix`."""

    control: Connection
    shard: Connection
    directory: Path
    prefix: str

    async def sessions(self, query: str) -> set[int]:
        """Return the sessions of ours in both databases that `query` asks for."""
        name = "SELECT current_database()::text"
        names = [await each.fetchval(name) for each in (self.control, self.shard)]
        return {pid for (pid,) in await self.control.fetch(query, names)}

    async def begun(self, since: int) -> int:
        """Return how many entries of the audit after number `since` have no answer."""
        found: int = await self.control.fetchval(BEGUN, since)
        return found

    async def last_entry(self) -> int:
        """Return the number of the audit's last entry."""
        found: int = await self.control.fetchval(
            "SELECT coalesce(max(number), 0) FROM insula.audit"
        )
        return found

    async def faults(self) -> list[str]:
        """Return what does not fit together: rows, schemas, roles, files, sessions."""
        rows = await self.control.fetch(ROWS)
        schemas = {
            (shard, name)
            for shard, connection in (("control", self.control), ("eu", self.shard))
            for (name,) in await connection.fetch(SCHEMAS)
        }
        roles = {name for (name,) in await self.control.fetch(ROLES, self.prefix)}
        found = [each for row in rows for each in self._faults_of(row, schemas, roles)]
        for row in rows:
            schemas -= {(row["shard"], f"tenant_{row['id']}")}
            schemas -= {(row["moved_from"], f"moved_{row['id']}")}
            roles -= self._logins(row["id"])
        found += [f"nobody's: {each}" for each in (*sorted(schemas), *sorted(roles))]
        found += [f"file {each}" for each in self._files(rows)]
        if await self.sessions(IDLE):
            found.append("a session is idle in its transaction")
        return found

    def _faults_of(self, row: Record, schemas: set[tuple[str, str]], roles: set[str]) -> list[str]:
        there = (row["shard"], f"tenant_{row['id']}") in schemas
        logins = len(self._logins(row["id"]) & roles)
        wanted = {(row["state"] == "provisioned", 2 * (row["state"] == "provisioned"))}
        if row["state"] == "registered":
            wanted.add((True, 2))  # the row is the last to know
        at_rest = row["state"] != "deleting" and row["held_for"] is None
        if at_rest and (there, logins) in wanted:
            return []
        return [
            f"{row['id']} is {row['state']}: schema {there}, {logins} logins, {row['held_for']}"
        ]

    def _logins(self, tenant: str) -> set[str]:
        return {f"{self.prefix}{kind}_{tenant}" for kind in "ea"}

    def _files(self, rows: Sequence[Record]) -> list[Path]:
        archives = {Path(row["archive"]) for row in rows if row["archive"] is not None}
        every = [Path(at) / name for at, _, names in os.walk(self.directory) for name in names]
        there = {path for path in every if path.parent.name == "archives"}
        parts = {path for path in every if path.suffix in {".part", ".new"}}
        return sorted((there ^ archives) | parts)
