"""The registry of tenants in the control schema."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Literal
from uuid import UUID

import msgspec

from orchestrator.model.errors import TenantArchived, TenantExists, TenantHeld, TenantNotFound
from orchestrator.model.ids import CONTROL_SHARD, TenantId, schema_of
from orchestrator.store import sql
from orchestrator.store.connect import Connection

_QUERIES = sql.load(__name__)
INSTALLATION = _QUERIES["installation"]
LOCK = _QUERIES["lock"]
DECLARE = _QUERIES["declare"]
REGISTER = _QUERIES["register"]
FETCH = _QUERIES["fetch"]
FETCH_ALL = _QUERIES["fetch_all"]
HORIZON = _QUERIES["horizon"]
FETCH_CHANGED = _QUERIES["fetch_changed"]
MARK_PROVISIONED = _QUERIES["mark_provisioned"]
REDECLARE = _QUERIES["redeclare"]
DISABLE = _QUERIES["disable"]
ENABLE = _QUERIES["enable"]
MARK_DELETING = _QUERIES["mark_deleting"]
UNMARK_DELETING = _QUERIES["unmark_deleting"]
ROTATE = _QUERIES["rotate"]
DELETING = _QUERIES["deleting"]
STILL_DELETING = _QUERIES["still_deleting"]
IS_REMOVED = _QUERIES["is_removed"]
MOVE = _QUERIES["move"]
FORGET_KEPT = _QUERIES["forget_kept"]
UNEARTH = _QUERIES["unearth"]
RENAME = _QUERIES["rename"]
LEAVE_TOMBSTONE = _QUERIES["leave_tombstone"]
BURY = _QUERIES["bury"]
BRING_BACK = _QUERIES["bring_back"]
INACTIVE = _QUERIES["inactive"]


class TenantRow(msgspec.Struct, frozen=True):
    """One tenant of the registry; the order is the query's.

    `registration` tells it from a former tenant of its id: what outlives a deletion is kept by it.
    `declaration` is JSON text, and so are the `limits` of which `insula.submit` knows.
    """

    id: TenantId
    source: str
    declaration: str
    schema_name: str
    state: str
    engine_version: int
    app_version: int
    rotation: int
    fingerprint: str | None
    created_at: datetime
    provisioned_at: datetime | None
    last_active_at: datetime | None
    disabled_at: datetime | None
    disabled_because: str
    results: str | None
    removed_at: datetime | None
    forced: bool
    held_for: str | None
    held_at: datetime | None
    shard: str
    origin: str | None
    moved_from: str | None
    archive: str | None
    registration: UUID
    limits: str | None

    @property
    def usable(self) -> bool:
        """False once it is being deleted, or was removed or archived."""
        return self.state not in ("deleting", "removed", "archived")

    @property
    def verb(self) -> Literal["delete", "erase", "archive"]:
        """What is being done to a tenant that is being deleted."""
        match self.results:
            case "erase" | "archive":
                return self.results
            case _:
                return "delete"

    @property
    def again(self) -> str:
        """The command that goes on with that."""
        return f"insula tenant {self.verb} {self.id}"

    def lives_on(self, shard: str) -> bool:
        """Tell whether the tenant, or what is kept of it after a move, is on the shard."""
        return self.state not in ("removed", "archived") and shard in (self.shard, self.moved_from)


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant that was made of an archive; it is to `wake` when it has something to do.

    `registration` is that of the row which it takes the place of, or a new one: its keys were made
    for it. `limits` are those that `insula.submit` obeys, as JSON; None for none.
    """

    tenant: TenantId
    registration: UUID
    declaration: str
    shard: str
    engine_version: int
    app_version: int
    origin: str | None
    wake: bool
    limits: str | None


async def installation_id(connection: Connection) -> UUID:
    """Return the id of this installation, which marks the roles that belong to it."""
    found: UUID = await connection.fetchval(INSTALLATION)
    return found


async def lock(connection: Connection) -> None:
    """Let no other node change the registry before this transaction ends."""
    await connection.execute(LOCK)


async def declare(
    connection: Connection,
    declarations: Iterable[tuple[TenantId, str]],
    *,
    shards: Mapping[TenantId, str] = MappingProxyType({}),
) -> None:
    """Note the tenants that the configuration files declare, each with its JSON.

    `shards` says where those without tables will have them, if not beside the control schema.
    One statement for all of them; a tenant that the files no longer name keeps its row.
    """
    pairs = sorted(declarations)
    async with connection.transaction():
        await lock(connection)
        await connection.execute(
            DECLARE,
            [tenant for tenant, _ in pairs],
            [declaration for _, declaration in pairs],
            [schema_of(tenant) for tenant, _ in pairs],
            [shards.get(tenant, CONTROL_SHARD) for tenant, _ in pairs],
        )


async def register(
    connection: Connection, tenant: TenantId, declaration: str, *, shard: str = CONTROL_SHARD
) -> TenantRow:
    """Add a tenant at run time; raises TenantExists."""
    async with connection.transaction():
        await lock(connection)
        row = await connection.fetchrow(REGISTER, tenant, declaration, schema_of(tenant), shard)
    if row is None:
        raise _exists(await fetch(connection, tenant))
    return TenantRow(*row)


def _exists(known: TenantRow) -> TenantExists | TenantArchived:
    tenant = known.id
    if known.state == "archived":
        return TenantArchived(tenant)
    if known.state == "deleting":
        return TenantExists(
            tenant,
            f"tenant {tenant!r} is being {known.verb}d",
            hint=f"wait for it; {known.again} goes on, should that have stopped",
        )
    if known.state == "removed":
        return TenantExists(
            tenant,
            f"tenant {tenant!r} is being renamed, and its shard has not done so yet",
            hint="wait for it: it goes on as soon as the shard answers",
        )
    if known.source == "file":
        return TenantExists(
            tenant,
            f"tenant {tenant!r} was declared in a file before, and keeps its schema and data",
            hint=f"to have it back, declare [tenants.{tenant}] in a file and reload",
        )
    return TenantExists(
        tenant,
        f"tenant {tenant!r} exists already",
        hint=f"see `insula tenant show {tenant}`",
    )


async def fetch(connection: Connection, tenant: TenantId) -> TenantRow:
    """Return one tenant; raises TenantNotFound."""
    row = await connection.fetchrow(FETCH, tenant)
    if row is None:
        raise TenantNotFound(tenant)
    return TenantRow(*row)


def unfit(row: TenantRow) -> TenantNotFound | TenantHeld | TenantArchived:
    """Return why nothing can be done to a tenant that is held, or is not `usable`."""
    if row.usable and row.held_for is not None:
        return TenantHeld(row.id, row.held_for)
    if row.state == "archived":
        return TenantArchived(row.id)
    since = row.removed_at if row.state == "deleting" else None
    return TenantNotFound(row.id, deleting_since=since, verb=row.verb, again=row.again)


async def fetch_all(connection: Connection) -> list[TenantRow]:
    """Return every tenant by id, the removed ones too."""
    return [TenantRow(*row) for row in await connection.fetch(FETCH_ALL)]


async def horizon(connection: Connection) -> str:
    """Return the mark below which every change is in what is read from now on."""
    found: str = await connection.fetchval(HORIZON)
    return found


async def fetch_changed(connection: Connection, since: str) -> list[TenantRow]:
    """Return the tenants that were changed at or after the mark `since`, a `horizon` of before."""
    return [TenantRow(*row) for row in await connection.fetch(FETCH_CHANGED, since)]


async def mark_provisioned(
    connection: Connection,
    tenant: TenantId,
    *,
    engine_version: int,
    app_version: int,
    fingerprint: str,
) -> None:
    """Note what has been made for a tenant; raises TenantNotFound."""
    arguments = (tenant, engine_version, app_version, fingerprint)
    if await connection.fetchval(MARK_PROVISIONED, *arguments) is None:
        raise TenantNotFound(tenant)


async def rotate(connection: Connection, tenant: TenantId) -> int:
    """Raise the rotation from which the passwords of a tenant's logins are derived; return it.

    Whoever asks at once waits for the end of the transaction. Raises TenantNotFound or TenantHeld.
    """
    rotation: int | None = await connection.fetchval(ROTATE, tenant)
    if rotation is None:
        raise unfit(await fetch(connection, tenant))
    return rotation


async def redeclare(
    connection: Connection, tenant: TenantId, declaration: str, *, shard: str = CONTROL_SHARD
) -> None:
    """Store another declaration of a tenant that was registered at run time; TenantNotFound."""
    if await connection.fetchval(REDECLARE, tenant, declaration, shard) is None:
        raise TenantNotFound(tenant)


async def disable(connection: Connection, tenant: TenantId, because: str) -> None:
    """Let the tenant take no work until it is enabled; TenantNotFound."""
    if await connection.fetchval(DISABLE, tenant, because) is None:
        raise TenantNotFound(tenant)


async def enable(connection: Connection, tenant: TenantId) -> None:
    """Take a disabling back; TenantNotFound."""
    if await connection.fetchval(ENABLE, tenant) is None:
        raise TenantNotFound(tenant)


async def mark_deleting(
    connection: Connection, tenant: TenantId, results: str, *, forced: bool = False
) -> TenantRow:
    """Note that the tenant's data are being dropped; TenantHeld, or TenantNotFound without any.

    `results`, keep, purge, archive or erase, says what becomes of its runs. Unless it is
    `forced`, it must have no others. An erasure that was begun stays one, and what is being
    deleted, or is archived, is not archived.
    """
    row = await connection.fetchrow(MARK_DELETING, tenant, results, forced)
    if row is None:
        raise unfit(await fetch(connection, tenant))
    return TenantRow(*row)


async def unmark_deleting(connection: Connection, row: TenantRow) -> None:
    """Take back the deletion of `row`, which has dropped nothing yet."""
    await connection.execute(UNMARK_DELETING, row.id, row.removed_at)


async def deleting(connection: Connection) -> list[TenantRow]:
    """Return the tenants whose deletion has begun and not ended, by id."""
    return [TenantRow(*row) for row in await connection.fetch(DELETING)]


async def is_still_deleting(connection: Connection, row: TenantRow) -> bool:
    """Return whether the deletion of `row` has not ended."""
    found: bool = await connection.fetchval(STILL_DELETING, row.id, row.removed_at)
    return found


async def move(connection: Connection, tenant: TenantId, shard: str, *, kept: str | None) -> None:
    """Have the tenant live on `shard` from now on; a copy is `kept` on another. TenantNotFound."""
    if await connection.fetchval(MOVE, tenant, shard, kept) is None:
        raise TenantNotFound(tenant)


async def forget_kept(connection: Connection, tenant: TenantId) -> None:
    """Note that nothing is kept any more where the tenant has moved from."""
    await connection.execute(FORGET_KEPT, tenant)


async def is_removed(connection: Connection, tenant: TenantId) -> bool:
    """Return whether the tenant is being deleted, or was."""
    found: bool = await connection.fetchval(IS_REMOVED, tenant)
    return found


async def rename(
    connection: Connection,
    row: TenantRow,
    new: TenantId,
    declaration: str,
    *,
    pending: bool = False,
) -> TenantRow:
    """Give the tenant of `row` another id, which may be a tombstone's, and return its row.

    It stays held while that is `pending` on its shard: see `renames`. A tombstone stays under the
    old one. Raises TenantExists.
    """
    buried: int | None = await connection.fetchval(UNEARTH, new)
    known = await connection.fetchrow(FETCH, new)
    if known is not None:
        raise _exists(TenantRow(*known))
    values = (row.id, new, schema_of(new), declaration, buried or 0, pending)
    found = await connection.fetchrow(RENAME, *values)
    if found is None:
        raise TenantNotFound(row.id)
    await connection.execute(LEAVE_TOMBSTONE, row.id, row.schema_name, row.rotation + 1, new)
    return TenantRow(*found)


async def bury(connection: Connection, tenant: TenantId, archive: str | None) -> None:
    """Make the row of a tenant that was dropped a tombstone, or tell in which file it is."""
    await connection.execute(BURY, tenant, archive)


async def bring_back(connection: Connection, made: Made) -> bool:
    """Note a tenant that was made of an archive; False when there was one already.

    A row that was only registered keeps what it says. TenantExists for the former id of a tenant
    whose shard has yet to rename it, TenantNotFound for one that was deleted meanwhile.
    """
    values = (made.tenant, made.declaration, schema_of(made.tenant))
    versions = (made.engine_version, made.app_version)
    rest = (made.wake, made.origin, made.shard, made.limits, made.registration)
    if await connection.fetchval(BRING_BACK, *values, *versions, *rest) is not None:
        return True
    known = await fetch(connection, made.tenant)
    if known.state == "removed":
        if known.registration == made.registration:
            raise TenantNotFound(made.tenant)
        raise _exists(known)
    return False


async def inactive(connection: Connection, after: timedelta) -> list[TenantId]:
    """Return the tenants that were not used for so long, and have nothing to do."""
    return [each[0] for each in await connection.fetch(INACTIVE, after)]
