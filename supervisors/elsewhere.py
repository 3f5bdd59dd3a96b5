"""Runs that reach a node which is not to serve their tenant.

They are stored in the tenant's tables like those of `insula.submit`, in one statement with a wake
row, and whoever serves the tenant, or will, finds them there.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from orchestrator.engine.intake import Accepted, accept
from orchestrator.engine.submission import beside, by_key
from orchestrator.model.api import Started, StartRun
from orchestrator.model.errors import QuotaExceeded, RunRefused
from orchestrator.model.ids import schema_of
from orchestrator.model.states import RunState
from orchestrator.quota.limits import Usage, counted_span, of_counts
from orchestrator.settings.tenants import TenantConfig
from orchestrator.store.connect import Connection
from orchestrator.store.control import leases, nodes
from orchestrator.store.tenant import submissions
from orchestrator.store.tenant.admission import Allowance, HeldUp, admit
from orchestrator.store.tenant.journal import REFUSED, Known, NewRun, keys_of, known
from supervisors.ground import Ground
from supervisors.preference import Neighbours


class Elsewhere:
    """Knows which tenants are another node's, and leaves runs for it."""

    def __init__(self, ground: Ground, neighbours: Neighbours) -> None:
        self._ground = ground
        self._neighbours = neighbours

    async def owner(self, config: TenantConfig) -> str | None:
        """Return the other node that serves the tenant or is to; None when that is this one."""
        if self._neighbours.alone:
            return None
        async with self._ground.control.acquire() as control:
            holder = await leases.holder(control, config.id)
            self._neighbours.seen(await nodes.live(control))
        if holder is None:
            return self._neighbours.better_for(config.id)
        return None if holder == self._ground.name else holder

    async def submit(self, config: TenantConfig, runs: Sequence[StartRun]) -> list[Started]:
        """Store `runs`, all or none, and tell their tenant's owner; they are durable then.

        Limits are checked by what the tables hold, and once more in the commit: of two nodes that
        accept at the same moment the second counts what the first has added.
        """
        await self._ground.prepare(config.id)
        row = await self._ground.shards.row(config.id)
        async with self._ground.shards.lend(row) as connection:
            return await self._store(connection, config, runs)

    async def _store(
        self, connection: Connection, config: TenantConfig, runs: Sequence[StartRun]
    ) -> list[Started]:
        schema = schema_of(config.id)
        counted = await submissions.count(
            connection,
            schema,
            up_to=config.limits.max_queue_length or 0,
            lately=counted_span(config.limits),
        )
        usage = Usage(queued=counted.queued)
        usage.recall(config.limits, counted.accepted, counted.now)
        fit = partial(
            accept, config=config, registry=self._ground.registry, usage=usage, now=counted.now
        )
        keys = keys_of(runs)
        try:
            accepted: Sequence[Accepted | Started] = fit(runs)
        except QuotaExceeded:
            if not keys:
                raise
            there = by_key(await known(connection, schema, [], keys))
            accepted = beside(there, runs, fit)
        rows = [run.row(epoch=0, now=counted.now) for run in accepted if isinstance(run, Accepted)]
        try:
            stored = iter(await _add(connection, config, rows) if rows else ())
        except HeldUp as held:
            raise held.error from held
        except REFUSED as error:
            raise RunRefused(f"the database refused a run: {error}") from error
        return [run if isinstance(run, Started) else _told(run, next(stored)) for run in accepted]


async def _add(connection: Connection, config: TenantConfig, rows: Sequence[NewRun]) -> list[Known]:
    limits = of_counts(config.limits)
    if limits is None:
        return await submissions.add(connection, config.id, rows)
    async with connection.transaction():
        stored = await submissions.add(connection, config.id, rows)
        new = {run.id for run in stored}
        accepted = [row.accepted for row in rows if row.id in new]
        if accepted:
            allowance = Allowance(config.id, limits)
            await admit(connection, schema_of(config.id), allowance, accepted)
    return stored


def _told(run: Accepted, found: Known) -> Started:
    return Started(id=found.id, state=RunState(found.state), known=found.id != run.id)
