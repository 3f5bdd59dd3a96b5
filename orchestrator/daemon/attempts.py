"""Which attempt at a task a task of the event loop runs, for those who look from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from orchestrator.model.ids import TenantId
from supervisors.slot import Slot


class Attempt(msgspec.Struct, frozen=True):
    """An attempt under way."""

    tenant: TenantId
    run: UUID
    task: str

    @property
    def fields(self) -> dict[str, str]:
        """What the log says of it."""
        return {"tenant": self.tenant, "run": str(self.run), "task": self.task}


def attempt_of(slots: Mapping[TenantId, Slot], task: asyncio.Task[Any] | None) -> Attempt | None:
    """Return the attempt that `task` runs, if it runs one; from any thread."""
    # The loop may change what another thread reads: it is copied first.
    for tenant, slot in list(slots.items()) if task is not None else ():
        found = slot.engine.attempt_of(task) if slot.engine is not None and task else None
        if found is not None:
            return Attempt(tenant, *found)
    return None
