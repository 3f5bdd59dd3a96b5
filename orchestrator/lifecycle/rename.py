"""Gives a tenant another id: its schema, its logins and every row that knows it by the old one.

One transaction does all of it: an end at any moment leaves the old tenant or the new one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import asyncpg
import msgspec

from orchestrator.lifecycle.provision import ProvisionSpec, lock_tenant, make
from orchestrator.lifecycle.removal import has_schema, unfinished
from orchestrator.model.errors import RoleConflict, SchemaConflict, TenantInUse
from orchestrator.model.ids import TenantId, quote_identifier, schema_of
from orchestrator.store import sql
from orchestrator.store.connect import Connection, translated
from orchestrator.store.control import holds, keys, tenants
from orchestrator.store.control.holds import Hold
from orchestrator.store.control.tenants import TenantRow

_QUERIES = sql.load(__name__)
HOLD_RUNS = _QUERIES["hold_runs"]
TAKEN = _QUERIES["taken"]
BOUND_TO_NAME = _QUERIES["bound_to_name"]
RENAME_SCHEMA = _QUERIES["rename_schema"]
RENAME_ROLE = _QUERIES["rename_role"]
ENGINE_FUNCTIONS = _QUERIES["engine_functions"]
SEARCH_PATHS = _QUERIES["search_paths"]
MOVE_ROWS = _QUERIES["move_rows"]
SEND_AWAY = _QUERIES["send_away"]

GO_ON = "let them go on under the new id"
"""What becomes of unfinished runs when the renaming is forced."""

_LOCKED = "somebody holds its tables: see pg_locks and pg_prepared_xacts, and rename it again"
_NOT_NOW = frozenset({"55P03", "57014", "40P01"})

Naming = Callable[[Connection], AbstractAsyncContextManager[str]]
"""Yields the declaration under the new id; nobody else takes its names within the transaction."""


class Renaming(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of one tenant. Unless it is `forced`, it must have no unfinished runs.

    `note` writes into the transaction that the tenant came to its new id.
    """

    hold: Hold
    new: TenantId
    forced: bool
    naming: Naming
    note: Callable[[Connection], Awaitable[None]]


async def rename(connection: Connection, wanted: Renaming, spec: ProvisionSpec) -> None:
    """Rename the tenant of `wanted.hold`, which no node serves.

    Raises TenantInUse, TenantHeld when the hold is not in force any more, TenantExists,
    SchemaConflict or RoleConflict for what is taken, and what the database says: then all is as it
    was.
    """
    tenant = wanted.hold.tenant
    with translated(f"tenant {tenant!r} can not be renamed now"):
        try:
            await _Rename(connection, wanted, spec).run()
        except asyncpg.PostgresError as error:
            if error.sqlstate not in _NOT_NOW:
                raise
            why = " ".join(str(error).split())
            sentence = f"tenant {tenant!r} can not be renamed: {why}"
            raise SchemaConflict(tenant, sentence, hint=_LOCKED) from error


class _Rename:
    """One call of `rename`."""

    def __init__(self, connection: Connection, wanted: Renaming, spec: ProvisionSpec) -> None:
        self._connection = connection
        self._wanted = wanted
        self._spec = spec
        self._old = wanted.hold.tenant
        self._new = wanted.new
        self._schema = schema_of(self._old)
        self._renamed = schema_of(self._new)
        before, after = spec.logins(self._old), spec.logins(self._new)
        self._roles = {before.engine: after.engine, before.app: after.app}

    async def run(self) -> None:
        async with self._connection.transaction(), self._alone() as declaration:
            row = await tenants.fetch(self._connection, self._old)
            await self._check_free()
            made = await has_schema(self._connection, self._old)
            if made:
                await self._rename_what_is_there()
            renamed = await self._move(row, declaration)
            if made:
                # New passwords, since they are made from the names, and settings with the schema's.
                await make(self._connection, self._new, self._spec, rotation=renamed.rotation)
            await self._wanted.note(self._connection)
        await self._connection.fetchval(SEND_AWAY, [*self._roles.values()])

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[str]:
        """Wait for whoever is at the tenant; only then keep others from the registry."""
        await lock_tenant(self._connection, self._old, self._spec)
        if await has_schema(self._connection, self._old):
            await self._connection.execute(sql.fill(HOLD_RUNS, schema=self._schema))
        if not self._wanted.forced and (left := await unfinished(self._connection, self._old)):
            raise TenantInUse(self._old, left, forced=GO_ON)
        async with self._wanted.naming(self._connection) as declaration:
            await holds.keep(self._connection, self._wanted.hold)
            yield declaration

    async def _check_free(self) -> None:
        found = await self._connection.fetch(TAKEN, self._renamed, [*self._roles.values()])
        for (what,) in found:
            conflict = SchemaConflict if what.startswith("schema") else RoleConflict
            raise conflict(
                self._new,
                f"the {what} exists already, and tenant {self._new!r} would need it",
                hint="choose another id, or rename what is there",
            )

    async def _rename_what_is_there(self) -> None:
        await self._check_functions()
        names = {"schema": self._schema, "renamed": self._renamed}
        await self._connection.execute(sql.fill(RENAME_SCHEMA, **names))
        for role, renamed in self._roles.items():
            await self._connection.execute(sql.fill(RENAME_ROLE, role=role, renamed=renamed))
        # The text of a function has the schema's name in it.
        before, after = (f"{quote_identifier(each)}." for each in names.values())
        for (text,) in await self._connection.fetch(ENGINE_FUNCTIONS, self._renamed):
            await self._connection.execute(text.replace(before, after))
        for (change,) in await self._connection.fetch(SEARCH_PATHS, self._schema, self._renamed):
            await self._connection.execute(change)

    async def _check_functions(self) -> None:
        found = [each[0] for each in await self._connection.fetch(BOUND_TO_NAME, self._schema)]
        if found:
            raise SchemaConflict(
                self._old,
                f"functions of tenant {self._old!r} name its schema: {', '.join(found)}",
                hint="write them without it: the search path leads there",
                data={"functions": found},
            )

    async def _move(self, row: TenantRow, declaration: str) -> TenantRow:
        await self._connection.execute(sql.fill(MOVE_ROWS, old=self._old, new=self._new))
        await keys.rename(self._connection, self._old, self._new, self._spec.key)
        return await tenants.rename(self._connection, row, self._new, declaration)
