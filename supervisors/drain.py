"""Waiting for the tenants of a node to come to rest, for as long as one after the other does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio

from orchestrator.engine.pulse import Pulse
from orchestrator.model.ids import TenantId

LET_GO_SECONDS = 10.0
"""How long connections and leases may take to be given back, after the time that runs have."""

Tell = Callable[[int, int], None]
"""Takes how many tenants have come to rest, and of how many."""


def tell_nobody(_done: int, _total: int) -> None:
    """Keep the progress to oneself."""


async def all_at_rest(
    unsettled: Callable[[], Sequence[TenantId]], moved: Pulse, *, runs_have: float, tell: Tell
) -> Sequence[TenantId]:
    """Return when all are at rest, or those that are not after their time.

    `runs_have` is the time of what runs, in seconds. Whenever a tenant comes to rest the others
    have the time to let go anew: a crowd takes as long as it needs, and one that hangs does not
    take longer than it would alone. `moved` beats when a tenant may have come to rest.
    """
    left = total = len(unsettled())
    with anyio.move_on_after(runs_have + LET_GO_SECONDS) as bound:
        while left:
            await moved.wait()
            before, left = left, len(unsettled())
            if left < before:
                bound.deadline = max(bound.deadline, anyio.current_time() + LET_GO_SECONDS)
                tell(total - left, total)
    return unsettled()
