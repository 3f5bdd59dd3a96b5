"""Takes schemas that exist under management."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from orchestrator.daemon.errands import Errands
from orchestrator.daemon.tenants import Tenants, read_spec
from orchestrator.lifecycle.adoption import OnShard, adopt
from orchestrator.model.adoption import AdoptionReport, AdoptSchema
from orchestrator.model.errors import AdoptionRefused
from orchestrator.model.ids import TenantId
from orchestrator.store.control.shards import Owner
from orchestrator.store.control.tenants import TenantRow

LOCK_TIMEOUT = "5s"
"""How long it waits for tables that the application uses: all that comes waits behind it."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class TenantAdoption:
    """`Adoption` of `http.services`."""

    tenants: Tenants
    errands: Errands

    async def run(self, tenant: TenantId, wanted: AdoptSchema) -> AdoptionReport:
        """Make the schema that of a registered tenant that has none yet; AdoptionRefused."""
        shards = self.tenants.shards
        row = await shards.row(tenant)
        shards.check(row.shard)
        if not await shards.is_there(row):
            reason = (
                f"there is no database {shards.own_database(row)!r}: make it on the server of "
                f"shard {row.shard!r}, owned by the admin login, with the schema in it"
            )
            raise AdoptionRefused(tenant, wanted.schema, [reason])
        report = await self._adopt(row, wanted)
        if not wanted.dry_run:
            await shards.make_ready(row, self.tenants.spec.installation)
            await self.tenants.refresh()
            await shards.tell(row)
            log.info("tenant.adopted", tenant=tenant, schema=wanted.schema, at=report.at)
        return report

    async def _adopt(self, row: TenantRow, wanted: AdoptSchema) -> AdoptionReport:
        spec = await read_spec(self.tenants.spec, self.tenants.snapshot)
        shard = self.tenants.shards.of(row.shard)
        pair = self.errands.pair("adoption", row, lock_timeout=LOCK_TIMEOUT)
        async with pair as (control, server):
            elsewhere = None
            if shard is not None:
                owner = Owner(spec.installation, shard.name, shard.isolation)
                elsewhere = OnShard(control, owner)
            return await adopt(
                server, row.id, wanted, spec, lock_timeout=LOCK_TIMEOUT, on_shard=elsewhere
            )
