"""Files in the state directory that were begun: who deletes a tenant writes them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anyio.to_thread
import structlog

from orchestrator.daemon.archives import tenant_in
from orchestrator.lifecycle.files import drop_parts, parts_in
from orchestrator.model.ids import TenantId
from orchestrator.store.connect import ControlPool
from orchestrator.store.control import tenants as rows

log = structlog.get_logger(__name__)


async def drop_parts_of(state_dir: Path, tenant: TenantId) -> None:
    """Delete those of a tenant that is erased; a failure is no tenant's."""
    try:
        await anyio.to_thread.run_sync(drop_parts, state_dir, f"{tenant}-")
    except OSError as error:
        log.warning("tenant.files_left", tenant=tenant, error=str(error))


async def drop_dead_parts(state_dir: Path, control: ControlPool) -> None:
    """Delete the files that a process began here and left: another node ended what it was at.

    Only who deletes a tenant writes such a file, while the row says so.
    """
    parts = await anyio.to_thread.run_sync(parts_in, state_dir)
    if not parts:
        return
    async with control.acquire() as connection:
        begun = {row.id for row in await rows.deleting(connection)}
    try:
        for part in parts:
            if tenant_in(part) not in begun:
                await anyio.to_thread.run_sync(partial(part.unlink, missing_ok=True))
    except OSError as error:
        log.warning("tenant.files_left", error=str(error))
