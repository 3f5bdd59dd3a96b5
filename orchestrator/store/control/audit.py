"""Who did what to a tenant, and what came of it: a table that is only added to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from orchestrator.store import sql
from orchestrator.store.connect import Connection

_QUERIES = sql.load(__name__)
ASK = _QUERIES["ask"]
ANSWER = _QUERIES["answer"]
NOTE = _QUERIES["note"]
PAGE = _QUERIES["page"]
ARCHIVED_BY = _QUERIES["archived_by"]


class Deed(msgspec.Struct, frozen=True):
    """What somebody wants to do: `operation` is like `tenant.pause`, `subject` a run or a name.

    `tenant` may not exist: it is written down as it was asked for.
    """

    tenant: str
    actor: str
    operation: str
    subject: str = ""


class Stored(msgspec.Struct, frozen=True):
    """An entry with its answer, `interrupted` when its node is gone without one.

    No `outcome` as long as the node lives: it is under way, or its end could not be written.
    """

    number: int
    at: datetime
    node: str
    actor: str
    operation: str
    subject: str
    ended_at: datetime | None
    outcome: str | None
    detail: str


async def ask(connection: Connection, node: str, deed: Deed) -> int:
    """Note what is about to be done; return the number to answer."""
    number: int = await connection.fetchval(
        ASK, deed.tenant, node, deed.actor, deed.operation, deed.subject
    )
    return number


async def answer(connection: Connection, number: int, outcome: str, detail: str = "") -> None:
    """Note what came of it: `done`, or the code of an error and its sentence."""
    await connection.execute(ANSWER, number, outcome, detail)


async def note(connection: Connection, node: str, deeds: Sequence[Deed]) -> None:
    """Note what is done in the transaction that `connection` is in, and only with that."""
    if deeds:
        columns = [[getattr(deed, name) for deed in deeds] for name in Deed.__struct_fields__]
        await connection.execute(NOTE, node, *columns)


async def page(
    connection: Connection, tenant: str, *, limit: int, before: int | None = None
) -> list[Stored]:
    """Return a tenant's entries, newest first, those with a number below `before`."""
    return [Stored(*row) for row in await connection.fetch(PAGE, tenant, before, limit)]


async def archived_by(connection: Connection, tenant: str) -> str | None:
    """Return the node that wrote the archive of a tenant last, as far as that is known."""
    found: str | None = await connection.fetchval(ARCHIVED_BY, tenant)
    return found
