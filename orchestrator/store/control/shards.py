"""The control schema of a shard: adopting it, copying rows there, fetching wake rows from there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from orchestrator.model.errors import DatabaseRefused
from orchestrator.model.ids import TenantId
from orchestrator.store import sql
from orchestrator.store.connect import Connection
from orchestrator.store.migrate import control_migrations, migrate_control

_QUERIES = sql.load(__name__)
WHOSE = _QUERIES["whose"]
ADOPT = _QUERIES["adopt"]
OF_SHARD = _QUERIES["of_shard"]
OF_TENANTS = _QUERIES["of_tenants"]
COPIED = _QUERIES["copied"]
FORGET = _QUERIES["forget"]
COPY = _QUERIES["copy"]
SUBMISSIONS = _QUERIES["submissions"]
WAKE = _QUERIES["wake"]
FETCHED = _QUERIES["fetched"]

AT_ONCE = 1000


class Owner(msgspec.Struct, frozen=True):
    """Whose a control schema is, as which shard, and what isolates its tenants."""

    installation: UUID
    shard: str
    isolation: str


class Submission(msgspec.Struct, frozen=True):
    """A wake row that `insula.submit` has left on a shard."""

    tenant: TenantId
    submitter: str
    due_at: datetime


async def prepare(connection: Connection, owner: Owner) -> None:
    """Bring the control schema of a shard up to date; one that is new becomes `owner`'s.

    Raises DatabaseRefused when it is another's: a mistaken URL must not make tenants anew.
    """
    async with connection.transaction():
        applied = await migrate_control(connection)
        if applied == len(control_migrations()):
            await connection.execute(ADOPT, *_values(owner))
    found = Owner(*await connection.fetchrow(WHOSE))  # type: ignore[misc]  # it always has its row
    if found != owner:
        raise DatabaseRefused(
            f"the database of shard {owner.shard!r} is {_told(found, owner)}",
            hint=f"check shards.{owner.shard} in the configuration: nothing was changed there",
        )


async def of_shard(control: Connection, shard: str, copied: Sequence[TenantId]) -> str:
    """Return the rows of the shard's tenants, and of those that are `copied` there, as JSON."""
    text: str = await control.fetchval(OF_SHARD, shard, copied)
    return text


async def of_tenants(control: Connection, tenants: Sequence[TenantId]) -> str:
    """Return the rows of these tenants as JSON, for `copy`."""
    text: str = await control.fetchval(OF_TENANTS, tenants)
    return text


async def copied(connection: Connection) -> list[TenantId]:
    """Return the tenants of whose row the shard has a copy."""
    return [row[0] for row in await connection.fetch(COPIED)]


async def copy(connection: Connection, rows: str, *, whatever: bool = False) -> None:
    """Store copies of the registry's `rows`, `whatever` is there or where they are newer."""
    async with connection.transaction():
        await connection.execute(FORGET, rows, whatever)
        await connection.execute(COPY, rows)


async def submissions(connection: Connection) -> list[Submission]:
    """Return at most AT_ONCE wake rows of a shard, the earliest first."""
    return [Submission(*row) for row in await connection.fetch(SUBMISSIONS, AT_ONCE)]


async def wake(control: Connection, found: Sequence[Submission]) -> None:
    """Have the tenants woken for what was found on their shard; done twice it is done once."""
    await control.execute(WAKE, [each.tenant for each in found], [each.due_at for each in found])


async def fetched(connection: Connection, found: Sequence[Submission]) -> None:
    """Take from the shard what was found there and is in the wake index now."""
    await connection.execute(
        FETCHED,
        [each.tenant for each in found],
        [each.submitter for each in found],
        [each.due_at for each in found],
    )


def _values(owner: Owner) -> tuple[object, ...]:
    return owner.installation, owner.shard, owner.isolation


def _told(found: Owner, wanted: Owner) -> str:
    if found.installation != wanted.installation:
        return "another installation's"
    if found.shard != wanted.shard:
        return f"that of shard {found.shard!r}"
    return f"one with isolation = {found.isolation!r}, which can not change"
