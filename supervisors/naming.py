"""Takes a node's name: whoever had it before us must be dead."""

from __future__ import annotations

import anyio
import structlog

from orchestrator.model.errors import NodeNameInUse
from orchestrator.store.connect import Connection
from orchestrator.store.control import nodes

LOCK_SECONDS = 5.0
"""How long PostgreSQL may take to notice that the process before us is gone."""

LOCK_PAUSE = 0.05

log = structlog.get_logger(__name__)


async def claim_name(connection: Connection, name: str, *, patience: float) -> bool:
    """Take the name's lock for the life of `connection`; return whether we have it.

    A session that the server has not noticed to be dead may keep the lock for hours, and so may
    anybody out of spite. Then the rows tell: without a row that is alive, nobody serves under the
    name. A row that expires within `patience` seconds is waited for. Raises NodeNameInUse.
    """
    if await nodes.lock(connection, name):
        return True
    if ended := await nodes.end_strangers(connection, name):
        log.warning("node.lock_freed", name=name, tenant_sessions_ended=ended)
    first = await nodes.last_sign(connection, name)
    began = anyio.current_time()
    while not await nodes.lock(connection, name):
        waited = anyio.current_time() - began
        if waited >= LOCK_SECONDS:
            last = await nodes.last_sign(connection, name)
            if last is None:
                holder = await nodes.holder(connection, name)
                log.warning("node.lock_is_stale", name=name, holder=str(holder))
                return False
            if last != first or waited >= LOCK_SECONDS + patience:
                raise await _in_use(connection, name)
        await anyio.sleep(LOCK_PAUSE)
    return True


async def _in_use(connection: Connection, name: str) -> NodeNameInUse:
    holder = await nodes.holder(connection, name)
    return NodeNameInUse(
        f"another daemon serves this database as node {name!r}: {holder}",
        hint="give each daemon its own [node] name",
    )
