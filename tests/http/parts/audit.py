"""The audit of the small platform, in memory."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from orchestrator.model.api import AuditEntry, AuditPage
from orchestrator.model.ids import TenantId
from orchestrator.store.control.audit import Deed


class HandMadeAudit:
    """Entries by number, from 1."""

    def __init__(self) -> None:
        self.refuse: Exception | None = None
        self.entries: list[tuple[str, AuditEntry]] = []

    async def asked(self, deed: Deed) -> int:
        if self.refuse is not None:
            raise self.refuse
        number = len(self.entries) + 1
        entry = AuditEntry(
            number=number,
            at=datetime.now(UTC),
            node="a",
            actor=deed.actor,
            operation=deed.operation,
            subject=deed.subject,
        )
        self.entries.append((deed.tenant, entry))
        return number

    async def answered(self, number: int, outcome: str, detail: str) -> None:
        tenant, entry = self.entries[number - 1]
        ended = msgspec.structs.replace(
            entry, ended_at=datetime.now(UTC), outcome=outcome, detail=detail
        )
        self.entries[number - 1] = tenant, ended

    async def read(self, tenant: TenantId, *, limit: int, cursor: int | None) -> AuditPage:
        found = [
            entry
            for whose, entry in reversed(self.entries)
            if whose == tenant and (cursor is None or entry.number < cursor)
        ]
        page = found[:limit]
        return AuditPage(entries=page, cursor=page[-1].number if len(found) > limit else None)
