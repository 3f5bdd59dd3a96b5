"""Wakes dormant tenants that have something to do.

By the wake index, and those that a dead node left.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Protocol

import anyio
import anyio.abc
import structlog

from orchestrator.model.clock import until_next
from orchestrator.model.errors import Unavailable
from orchestrator.model.ids import TenantId
from orchestrator.store.connect import DRIVER_ERRORS, Connection
from orchestrator.store.control import leases, nodes, wake
from supervisors.decide import Failure, classify
from supervisors.ground import Ground
from supervisors.preference import Neighbours
from supervisors.slot import Slot

POLL_SECONDS = 0.25
ORPHAN_TURNS = 8
"""Every so many polls, leases of dead nodes are looked for, and tenants to be handed over.

A node that is alone looks for others no more often; who has company looks at each poll, because
what a node that retires leaves is to be taken at once.
"""

FAILED_SECONDS = 2.0

log = structlog.get_logger(__name__)


class Wakeable(Protocol):
    """The root, as the waker sees it."""

    @property
    def unwakeable(self) -> list[TenantId]: ...
    @property
    def served(self) -> list[TenantId]: ...
    @property
    def slots(self) -> Mapping[TenantId, Slot]: ...
    def serves(self, tenant: TenantId) -> bool: ...
    def hand_over(self) -> None: ...
    def wake(self, tenant: TenantId) -> bool: ...
    def probe(self) -> None: ...


class Waker:
    """Polls one indexed query for all tenants together.

    Level-triggered: what one turn misses the next sees. A tenant that another node is better for
    is left to that one at first, and taken when that one did not.
    """

    def __init__(self, root: Wakeable, ground: Ground, neighbours: Neighbours) -> None:
        self._root = root
        self._ground = ground
        self._neighbours = neighbours
        self._passed_over: set[TenantId] = set()
        self._strangers: set[TenantId] = set()

    async def run(
        self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Look for due tenants for ever.

        The first look, which includes orphans, ends before this is ready.
        """
        pause = await self._turn(orphans=True)
        task_status.started()
        for turn in count(1):
            await anyio.sleep(until_next(pause, self._ground.clock.monotonic()))
            pause = await self._turn(orphans=turn % ORPHAN_TURNS == 0)

    async def _turn(self, *, orphans: bool) -> float:
        """Look once, unless the keeper has found that nobody can; return the seconds to rest."""
        if self._ground.standing.outage is not None:
            return POLL_SECONDS
        try:
            await self._look(orphans=orphans)
        except (Unavailable, *DRIVER_ERRORS) as error:
            if classify(error) is Failure.CRASH:
                raise
            log.warning("wake.database_unavailable", error=str(error))
            self._ground.standing.doubt()
            return FAILED_SECONDS
        return POLL_SECONDS

    async def _look(self, *, orphans: bool) -> None:
        self._root.probe()
        async with self._ground.control.acquire() as control:
            if orphans or not self._neighbours.alone:
                self._neighbours.seen(await nodes.live(control))
            left = await self._orphans(control) if orphans else []
            asleep = [*self._root.unwakeable, *self._strangers]
            found = await wake.due(
                control, self._ground.node, asleep=asleep, steady=self._ground.standing.steady
            )
            # Tenants that no file declares any more keep their rows, which must not fill the batch.
            strangers = {*self._strangers, *(each.tenant for each in found)}
            self._strangers = {each for each in strangers if each not in self._root.slots}
            due = [each.tenant for each in found if each.overdue or self._ours(each.tenant)]
            for tenant in left:
                self._root.wake(tenant)
            awake = [tenant for tenant in due if self._root.wake(tenant)]
            if awake:
                await wake.consume(control, self._ground.node, awake)
            # Told again: what was left between their look and the deletion has no row any more.
            for tenant in awake:
                self._root.wake(tenant)

    async def _orphans(self, control: Connection) -> list[TenantId]:
        """Return the orphans to take now; the others are left to their best node for a turn."""
        self._root.hand_over()
        found = await leases.orphans(
            control,
            self._ground.node,
            steady=self._ground.standing.steady,
            served=self._root.served,
        )
        taken = [t for t in found if t in self._passed_over or self._ours(t)]
        self._passed_over = {*found} - {*taken}
        return taken

    def _ours(self, tenant: TenantId) -> bool:
        return self._root.serves(tenant) or self._neighbours.better_for(tenant) is None
