"""What tenants are to be served as, and what they were served as last: a hash of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from orchestrator.model.ids import TenantId
from orchestrator.store import sql
from orchestrator.store.connect import Connection

_QUERIES = sql.load(__name__)
COMPARE = _QUERIES["compare"]
NOTE = _QUERIES["note"]
LIMIT = _QUERIES["limit"]
LEAVE_OUT = _QUERIES["leave_out"]
TOUCH = _QUERIES["touch"]
HASHES = _QUERIES["hashes"]

Hashes = Mapping[TenantId, str]


class Before(msgspec.Struct, frozen=True):
    """What the registry has of a tenant that is declared otherwise now; null when it has none."""

    id: TenantId
    source: str | None
    state: str | None
    hash: str | None
    undeclared: bool

    @property
    def new(self) -> bool:
        """Whether there was no such tenant, or not any more."""
        return self.state in (None, "removed")


async def compare(
    connection: Connection, hashes: Hashes, source: Literal["file", "api"]
) -> list[Before]:
    """Return those of the tenants that `source` declares otherwise than the registry has it."""
    arguments = ([*hashes], [*hashes.values()], source)
    return [Before(*row) for row in await connection.fetch(COMPARE, *arguments)]


async def note(connection: Connection, hashes: Hashes) -> None:
    """Note what these tenants are to be served as."""
    if hashes:
        await connection.execute(NOTE, [*hashes], [*hashes.values()])


async def limit(connection: Connection, limits: Mapping[TenantId, str | None]) -> bool:
    """Note the limits of these tenants that `insula.submit` obeys, as JSON; tell if any differ."""
    return bool(await connection.fetch(LIMIT, [*limits], [*limits.values()]))


async def leave_out(connection: Connection, declared: Iterable[TenantId]) -> list[TenantId]:
    """Note which tenants no file declares any more; return those that one did until now."""
    return [row[0] for row in await connection.fetch(LEAVE_OUT, [*declared])]


async def touch(connection: Connection, hashes: Hashes) -> None:
    """Note that these tenants have just been active, and what each was served as."""
    await connection.execute(TOUCH, [*hashes], [*hashes.values()])


async def hashes(connection: Connection, tenant: TenantId) -> tuple[str | None, str | None]:
    """Return what a tenant is to be served as, and what it was served as last."""
    row = await connection.fetchrow(HASHES, tenant)
    return (None, None) if row is None else (row[0], row[1])
