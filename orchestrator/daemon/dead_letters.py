"""What the API can do to runs that failed for good: list them, retry them, give them up."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import anyio

from orchestrator.daemon.platform import of_tenant
from orchestrator.engine import views
from orchestrator.engine.control import Verb
from orchestrator.model.api import BATCH, DeadReport, RefusedRun, RunPage
from orchestrator.model.errors import InsulaError, RunConflict, RunError
from orchestrator.model.ids import TenantId, schema_of
from orchestrator.store.shards import Shards
from orchestrator.store.tenant import dead
from supervisors.root import RootSupervisor

AT_ONCE = 16
"""Retries that wait for the supervisor together: far fewer than its mailbox holds."""


@dataclass(frozen=True)
class TenantDeadLetters:
    """The dead letters of every tenant: read in their tables, retried by its owner."""

    root: RootSupervisor
    shards: Shards

    async def read(self, tenant: TenantId, *, limit: int, cursor: UUID | None) -> RunPage:
        """Return a page of dead letters, newest first."""
        async with of_tenant(self.root, self.shards, tenant) as connection:
            if connection is None:
                return RunPage(runs=[])
            listed = await dead.page(connection, schema_of(tenant), limit=limit, cursor=cursor)
        return views.page_of(listed, limit)

    async def replay(self, tenant: TenantId, runs: list[UUID] | None) -> DeadReport:
        """Retry dead letters, these or the oldest of all, from the tasks that failed.

        A run that can not be retried is reported and the others go on; any other error ends it, and
        what was retried until then stays so.
        """
        wanted = await self._wanted(tenant, runs)
        done: set[UUID] = set()
        refused: list[RefusedRun] = []
        broken: list[InsulaError] = []
        pending = iter(wanted)

        async def work() -> None:
            for run in pending:
                try:
                    await self.root.change_run(tenant, run, Verb.RETRY, "replayed")
                    done.add(run)
                except RunError as error:
                    refused.append(RefusedRun(run=run, code=error.code, detail=str(error)))
                except InsulaError as error:
                    broken.append(error)
                if broken:
                    return

        async with anyio.create_task_group() as group:
            for _ in range(AT_ONCE):
                group.start_soon(work)
        if broken:
            raise broken[0]
        in_order = [run for run in wanted if run in done]
        return DeadReport(done=in_order, refused=refused, left=await self._left(tenant))

    async def discard(self, tenant: TenantId, runs: list[UUID] | None) -> DeadReport:
        """Mark dead letters, these or the oldest of all, so that they are not listed any more."""
        wanted = await self._wanted(tenant, runs)
        done: set[UUID] = set()
        async with of_tenant(self.root, self.shards, tenant) as connection:
            if wanted and connection is not None:
                done.update(await dead.discard(connection, schema_of(tenant), wanted))
        refused = [
            RefusedRun(run=run, code=RunConflict.code, detail=f"run {run} is no dead letter")
            for run in wanted
            if run not in done
        ]
        in_order = [run for run in wanted if run in done]
        return DeadReport(done=in_order, refused=refused, left=await self._left(tenant))

    async def _wanted(self, tenant: TenantId, runs: list[UUID] | None) -> list[UUID]:
        """Return what is to be changed, each run once."""
        if runs is not None:
            return list(dict.fromkeys(runs))
        async with of_tenant(self.root, self.shards, tenant) as connection:
            if connection is None:
                return []
            return await dead.oldest(connection, schema_of(tenant), BATCH)

    async def _left(self, tenant: TenantId) -> int:
        async with of_tenant(self.root, self.shards, tenant) as connection:
            if connection is None:
                return 0
            return await dead.count(connection, schema_of(tenant))
