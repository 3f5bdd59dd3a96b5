"""The audit of the tenants, over the control connections."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import msgspec
import structlog

from orchestrator.model.api import AuditEntry, AuditPage
from orchestrator.model.errors import Unavailable
from orchestrator.model.ids import TenantId
from orchestrator.store.connect import DRIVER_ERRORS, Connection, ControlPool
from orchestrator.store.control import audit
from orchestrator.store.control.audit import Deed
from supervisors.refusals import database_away
from supervisors.standing import Standing

ANSWER_SECONDS = 5.0
"""How long an outcome may take to be written; the operation is done by then."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class TenantAudit:
    """`Audit` of `http.services`."""

    control: ControlPool
    node: str
    standing: Standing

    async def asked(self, deed: Deed) -> int:
        """Note what is about to be done; DatabaseUnavailable when it can not be noted."""
        async with self._connection() as connection:
            return await audit.ask(connection, self.node, deed)

    async def note(self, connection: Connection, deed: Deed) -> None:
        """Note what is done in the transaction that `connection` is in, and only with that."""
        await audit.note(connection, self.node, [deed])

    async def answered(self, number: int, outcome: str, detail: str) -> None:
        """Note what came of it. Without the database it stays open: what was done is done."""
        try:
            with anyio.fail_after(ANSWER_SECONDS, shield=True):
                async with self.control.acquire() as connection:
                    await audit.answer(connection, number, outcome, detail)
        except (Unavailable, *DRIVER_ERRORS) as error:
            log.warning("audit.not_answered", number=number, outcome=outcome, error=str(error))

    async def read(self, tenant: TenantId, *, limit: int, cursor: int | None) -> AuditPage:
        """Return a page of entries, newest first; DatabaseUnavailable when nobody can tell."""
        async with self._connection() as connection:
            found = await audit.page(connection, tenant, limit=limit + 1, before=cursor)
        entries = [AuditEntry(**msgspec.structs.asdict(each)) for each in found[:limit]]
        more = len(found) > limit
        return AuditPage(entries=entries, cursor=entries[-1].number if more else None)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """Lend one; who is known to be silent is not waited for."""
        if self.standing.outage is not None:
            raise database_away(self.standing.outage)
        async with self.control.acquire() as connection:
            yield connection
