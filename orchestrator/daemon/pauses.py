"""What is paused: of a tenant that is awake its engine knows, of others what was told last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import anyio
import structlog

from orchestrator.daemon.attention import MOST
from orchestrator.model.api import TenantPause, TenantSummary
from orchestrator.model.errors import Unavailable
from orchestrator.store.connect import ControlPool
from orchestrator.store.control import pauses
from orchestrator.store.tenant.runs import Pause
from supervisors.slot import Slot
from supervisors.standing import Standing

ANSWER_SECONDS = 2.0
"""How long the database may take to say it, before it stays unsaid."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ToldPauses:
    """Reads what the owners of all tenants have told, in one query."""

    control: ControlPool
    standing: Standing

    async def of_all(self) -> Mapping[str, list[TenantPause]] | None:
        """Return them by tenant; None when the database does not answer."""
        if self.standing.outage is not None:
            return None
        try:
            with anyio.fail_after(ANSWER_SECONDS):
                async with self.control.acquire() as connection:
                    found = await pauses.all_paused(connection)
        except (Unavailable, TimeoutError) as error:
            log.warning("tenants.pauses_not_read", error=str(error))
            return None
        return {each.tenant: shown(each.pauses) for each in found}


def with_told(
    summary: TenantSummary, told: Mapping[str, list[TenantPause]] | None
) -> list[TenantPause] | None:
    """Return what is paused of one tenant: as its engine here says, and else as it was told."""
    if summary.pauses is not None or told is None:
        return summary.pauses
    return told.get(summary.id, [])


def paused_in(
    slots: Iterable[Slot], told: Mapping[str, list[TenantPause]] | None
) -> tuple[int | None, list[str]]:
    """Return how many tenants are paused, wholly or in part, and the first of them by id.

    How many is not known without what was `told`; those awake are named all the same.
    """
    found: list[str] = sorted(
        slot.config.id
        for slot in slots
        if (pauses_of(slot) if slot.engine is not None else (told or {}).get(slot.config.id))
    )
    return None if told is None else len(found), found[:MOST]


def pauses_of(slot: Slot) -> list[TenantPause] | None:
    """Return what is paused of a tenant that is awake here; None of another one."""
    return None if slot.engine is None else shown(slot.engine.pauses)


def shown(stored: Iterable[Pause]) -> list[TenantPause]:
    """Return pauses as the API shows them."""
    return [
        TenantPause(workflow=each.workflow or None, since=each.since, reason=each.reason)
        for each in stored
    ]
