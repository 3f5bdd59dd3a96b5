"""Gives a tenant another id: its schema, its logins and every row that knows it by the old one.

One transaction does all of it: an end at any moment leaves the old tenant or the new one. Where the
registry is another database than the tenant's, it goes first, and keeps the tenant quiet until
`complete` has found that the tenant's own database has followed, or had it follow.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import msgspec

from orchestrator.lifecycle.holders import change_errors
from orchestrator.lifecycle.provision import ProvisionSpec, lock_tenant, make
from orchestrator.lifecycle.removal import has_schema, unfinished
from orchestrator.model.errors import RoleConflict, SchemaConflict, TenantInUse
from orchestrator.model.ids import TenantId, quote_identifier, schema_of
from orchestrator.store import sql
from orchestrator.store.connect import Connection
from orchestrator.store.control import holds, keys, tenants
from orchestrator.store.control.holds import Hold
from orchestrator.store.control.keys import Holder
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
MOVE_SUBMISSIONS = _QUERIES["move_submissions"]
SEND_AWAY = _QUERIES["send_away"]

GO_ON = "let them go on under the new id"
"""What becomes of unfinished runs when the renaming is forced."""

Naming = Callable[[Connection], AbstractAsyncContextManager[str]]
"""Yields the declaration under the new id; nobody else takes its names within the transaction."""


class Renaming(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of one tenant. Unless it is `forced`, it must have no unfinished runs.

    `database` is what its own one will be called, if it has one. `note` writes into the transaction
    that the tenant came to its new id.
    """

    hold: Hold
    new: TenantId
    forced: bool
    naming: Naming
    database: str | None = None
    note: Callable[[Connection], Awaitable[None]]


async def rename(
    connection: Connection,
    wanted: Renaming,
    spec: ProvisionSpec,
    *,
    control: Connection | None = None,
) -> None:
    """Rename the tenant of `wanted.hold`, which no node serves.

    `control` leads to the registry, if `connection` does not; then the tenant stays held until
    `complete`. Raises TenantInUse, TenantHeld when the hold is not in force any more, TenantExists,
    SchemaConflict or RoleConflict for what is taken, and what the database says: then all is as it
    was, unless the tenant's own database died after the registry had been written to.
    """
    with change_errors(wanted.hold.tenant, "rename"):
        await _Rename(connection, wanted, spec, control or connection).run()


async def complete(
    control: Connection, server: Connection, old: TenantId, row: TenantRow, spec: ProvisionSpec
) -> None:
    """Rename what the tenant of `row` still has under its `old` id in its own database."""
    own = _SchemaAndLogins(server, old, row.id, spec)
    with change_errors(old, "rename"):
        async with server.transaction():
            await lock_tenant(server, row.id, spec, control=control)
            if await has_schema(server, old) and not await has_schema(server, row.id):
                await own.rename()
            if await has_schema(server, row.id):
                await make(server, row.id, spec, rotation=row.rotation, control=control)
        await own.send_away()


class _Rename:
    """One call of `rename`."""

    def __init__(
        self, server: Connection, wanted: Renaming, spec: ProvisionSpec, control: Connection
    ) -> None:
        self._server = server
        self._control = control
        self._wanted = wanted
        self._spec = spec
        self._old = wanted.hold.tenant
        self._new = wanted.new
        self._apart = server is not control
        self._own = _SchemaAndLogins(server, self._old, self._new, spec)

    async def run(self) -> None:
        # The inner one ends first: it is the registry that a tenant on a shard goes by.
        async with (
            self._server.transaction(),
            self._control.transaction(),
            self._alone() as declaration,
        ):
            await self._rename(declaration)
        await self._own.send_away()

    async def _rename(self, declaration: str) -> None:
        row = await tenants.fetch(self._control, self._old)
        await self._own.check_free(self._wanted.database)
        made = await has_schema(self._server, self._old)
        if made:
            await self._own.rename()
        await self._control.execute(sql.fill(MOVE_ROWS, old=self._old, new=self._new))
        holder = Holder(self._old, row.registration)
        await keys.rename(self._control, holder, self._new, self._spec.key)
        renamed = await tenants.rename(
            self._control, row, self._new, declaration, pending=self._apart
        )
        if self._apart:
            await self._server.execute(sql.fill(MOVE_SUBMISSIONS, old=self._old, new=self._new))
        if made:
            # New passwords, since they are made from the names, and settings with the schema's.
            await make(
                self._server,
                self._new,
                self._spec,
                rotation=renamed.rotation,
                control=self._control,
            )
        await self._wanted.note(self._control)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[str]:
        """Wait for whoever is at the tenant; only then keep others from the registry."""
        await lock_tenant(self._server, self._old, self._spec, control=self._control)
        if await has_schema(self._server, self._old):
            await self._server.execute(sql.fill(HOLD_RUNS, schema=schema_of(self._old)))
        if not self._wanted.forced and (left := await unfinished(self._server, self._old)):
            raise TenantInUse(self._old, left, forced=GO_ON)
        async with self._wanted.naming(self._control) as declaration:
            await holds.keep(self._control, self._wanted.hold)
            yield declaration


class _SchemaAndLogins:
    """What a tenant has in its own database under its id: a schema, and two logins."""

    def __init__(
        self, connection: Connection, old: TenantId, new: TenantId, spec: ProvisionSpec
    ) -> None:
        self._connection = connection
        self._old = old
        self._new = new
        self._schema = schema_of(old)
        self._renamed = schema_of(new)
        before, after = spec.logins(old), spec.logins(new)
        self._roles = {before.engine: after.engine, before.app: after.app}

    async def send_away(self) -> None:
        """End the sessions that logged in under the old name."""
        await self._connection.fetchval(SEND_AWAY, [*self._roles.values()])

    async def check_free(self, database: str | None) -> None:
        """Raise SchemaConflict or RoleConflict for a name that somebody else has."""
        names = [*self._roles.values()]
        found = await self._connection.fetch(TAKEN, self._renamed, names, database)
        for (what,) in found:
            conflict = RoleConflict if what.startswith("role") else SchemaConflict
            raise conflict(
                self._new,
                f"the {what} exists already, and tenant {self._new!r} would need it",
                hint="choose another id, or rename what is there",
            )

    async def rename(self) -> None:
        """Rename all of it, in a transaction of the caller's; SchemaConflict."""
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
