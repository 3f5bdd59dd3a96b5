"""What a tenant's runs cost while other tenants want the node's slots as well."""

from __future__ import annotations

from orchestrator.engine.slots import NodeSlots, TenantSlots
from orchestrator.engine.turns import QUANTUM_SECONDS
from orchestrator.model.api import StartRun
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import job
from tests.engine.live import House, Options, serving

SLOTS = 128
RUNS = 96


class Rival:
    """A tenant with always more to start."""

    def __init__(self, node: NodeSlots) -> None:
        self.slots: TenantSlots = node.tenant(limit=None, weight=1, wake=self.take)

    def take(self) -> None:
        """Start as much as may start."""
        while self.slots.take():
            pass

    def end(self) -> None:
        """End all that is under way; who is first in the line begins."""
        for _ in range(self.slots.used):
            self.slots.give_back(2 * QUANTUM_SECONDS)


@job("brief")
async def brief(ctx: Context) -> None:
    """Return at once."""


async def test_short_tasks_share_flushes_while_other_tenants_wait(house: House) -> None:
    node = NodeSlots(SLOTS)
    rivals = [Rival(node) for _ in range(2 * SLOTS)]
    for rival in rivals:
        rival.take()
    async with serving(house, brief, options=Options(slots=node)) as live:
        await live.submit_all([StartRun(workflow="brief")] * RUNS)
        while live.engine.busy:
            for rival in rivals:
                rival.end()
            await live.engine.changed.wait()
        assert live.flushes <= RUNS / 4
