"""Whether the daemon lives, and whether it can work."""

from __future__ import annotations

from litestar import get

from orchestrator.http.injected import Injected
from orchestrator.http.openapi import problems
from orchestrator.http.wire import Health
from orchestrator.model.errors import DatabaseUnavailable, ShuttingDown


@get("/health/live", sync_to_thread=False, tags=["health"])
def live() -> Health:
    """Answer as long as the process turns."""
    return Health(status="live")


@get("/health/ready", tags=["health"], responses=problems(503))
async def ready(services: Injected) -> Health:
    """Answer whether the platform takes work; a sick tenant does not make it false."""
    status = await services.status()
    if status.draining:
        raise ShuttingDown("the daemon drains", retry_after=5.0)
    outage = status.database_outage
    if outage is not None:
        raise DatabaseUnavailable(
            # Not why: the route asks nobody who they are, and the reason may name the server.
            f"the database has not answered since {outage.since:%H:%M:%S} UTC",
            hint="`insula status` tells why",
        )
    return Health(status="ready")


ROUTES = (live, ready)
