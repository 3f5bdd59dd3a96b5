"""Clears up what came to a database and never became a tenant's: a node died, or a shard did."""

from __future__ import annotations

from dataclasses import dataclass

import anyio
import structlog

from orchestrator.daemon.errands import Errands
from orchestrator.daemon.tenants import Tenants
from orchestrator.lifecycle import arrival
from orchestrator.lifecycle.arrival import Owner
from orchestrator.model.errors import InsulaError, TenantNotFound
from orchestrator.model.ids import CONTROL_SHARD, TenantId
from orchestrator.store.connect import DRIVER_ERRORS
from orchestrator.store.control import databases
from orchestrator.store.control import tenants as rows
from orchestrator.store.control.tenants import TenantRow
from orchestrator.store.shards import Place, Shard

LOOK_SECONDS = 5.0
"""How often it is looked whether verbs have ended, after a start."""

CLEAR_SECONDS = 15.0
"""How long a verb that failed may take to clear up what it has left."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Arrivals:
    """The copies that no registry knows, or not yet: on the shards, and beside the registry."""

    tenants: Tenants
    errands: Errands

    async def resume(self) -> None:
        """Clear up after nodes that died; what a living one is at is left to it."""
        while True:
            if not await self.clear_all():
                return
            await anyio.sleep(LOOK_SECONDS)

    async def clear_all(self) -> bool:
        """Clear up all that nobody is at; return whether there may be more, now or later."""
        busy = False
        for shard in (None, *self.tenants.shards.others.values()):
            if shard is not None and shard.reach.outage is not None:
                busy = True
                continue
            try:
                found = await (self._found_here() if shard is None else self._found(shard))
                for place in found:
                    busy |= await self.clear(place) == "verb"
            except (InsulaError, *DRIVER_ERRORS) as error:
                name = CONTROL_SHARD if shard is None else shard.name
                log.warning("shard.not_cleared", shard=name, error=str(error))
                busy = True
        return busy

    async def clear_now(self, place: Place) -> None:
        """Clear up after a verb of ours that failed; the next start does what can not be done."""
        try:
            with anyio.fail_after(CLEAR_SECONDS, shield=True):
                await self.clear(place)
        except (InsulaError, TimeoutError, *DRIVER_ERRORS) as error:
            log.warning("shard.not_cleared", shard=place.shard, tenant=place.id, error=str(error))

    async def clear(self, place: Place) -> Owner:
        """Drop what is at a place and is nobody's, and return whose it is."""
        shards = self.tenants.shards
        if not await shards.is_there(place):
            return "nobody"
        errand = self.errands.connection("arrival", place, lock_timeout="10s")
        async with errand as server:
            if await databases.is_ready(server):
                spec = self.tenants.spec
                owner = await arrival.clear(server, place.id, spec, lambda: self._owner(place))
            else:
                owner = await self._owner(place)
        if owner == "nobody":
            await shards.drop_database(place, force=False)
            log.info("shard.cleared", shard=place.shard, tenant=place.id)
        return owner

    async def _owner(self, place: Place) -> Owner:
        """Ask the registry, when nobody is in the middle of writing to it, whose a copy is."""
        async with self.tenants.control.acquire() as connection, connection.transaction():
            await rows.lock(connection)
            try:
                return _owner(await rows.fetch(connection, place.id), place.shard)
            except TenantNotFound:
                return "nobody"

    async def _found_here(self) -> list[Place]:
        async with self.tenants.control.acquire() as connection:
            found = await arrival.marked(connection)
        return [Place(tenant, CONTROL_SHARD) for tenant in found]

    async def _found(self, shard: Shard) -> list[Place]:
        async with shard.pool.acquire() as connection:
            if not shard.apart:
                found = await arrival.marked(connection)
            else:
                names = await databases.named(connection, shard.database_prefix)
                found = [TenantId(each.removeprefix(shard.database_prefix)) for each in names]
        async with self.tenants.control.acquire() as connection:
            known = {row.id: row for row in await rows.fetch_all(connection)}
        places = [Place(tenant, shard.name) for tenant in found]
        return [
            each
            for each in places
            if not shard.apart or each.id not in known or not known[each.id].lives_on(each.shard)
        ]


def _owner(row: TenantRow, shard: str) -> Owner:
    if row.state in ("removed", "archived") and row.moved_from != shard:
        return "nobody"
    if row.held_for is not None or not row.usable:
        return "verb"
    if row.lives_on(shard):
        # One that is only registered takes over at its first use what is there.
        return "tenant"
    return "nobody"
