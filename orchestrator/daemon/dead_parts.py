"""Files that a process of this node began and left when it died."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anyio.to_thread
import structlog

from orchestrator.daemon.archives import tenant_in
from orchestrator.lifecycle.files import parts_in
from orchestrator.store.connect import ControlPool
from orchestrator.store.control import tenants

log = structlog.get_logger(__name__)


async def drop_dead_parts(control: ControlPool, state_dir: Path) -> None:
    """Delete the files below `state_dir` that were begun, and that nobody is at any more.

    Only who deletes a tenant writes such a file, while the tenant's row says so; another node may
    have ended that since. Raises what the database says.
    """
    parts = await anyio.to_thread.run_sync(parts_in, state_dir)
    if not parts:
        return
    async with control.acquire() as connection:
        begun = {row.id for row in await tenants.deleting(connection)}
    try:
        for part in parts:
            if tenant_in(part) not in begun:
                await anyio.to_thread.run_sync(partial(part.unlink, missing_ok=True))
    except OSError as error:
        log.warning("files.left", directory=str(state_dir), error=str(error))
