"""Dead letters: the runs that failed for good, until somebody retries them or gives them up."""

from __future__ import annotations

from litestar import get, post
from litestar.params import FromPath, RawBody

from orchestrator.http import body as bodies
from orchestrator.http.audit import Recorded
from orchestrator.http.injected import Injected
from orchestrator.http.openapi import problems, takes
from orchestrator.http.routes.runs import Cursor, Page
from orchestrator.model.api import DeadReport, DeadSelection, RunPage

SHOWN = 10
"""So many dead letters of one request are named in the audit."""


@get("/v1/tenants/{tenant:str}/dead", tags=["dead letters"], responses=problems(404, 422, 503))
async def list_dead(
    services: Injected, tenant: FromPath[str], limit: Page = 50, cursor: Cursor = None
) -> RunPage:
    """List the runs that failed or were parked as poison and are not discarded, newest first."""
    return await services.dead.read(services.platform.resolve(tenant), limit=limit, cursor=cursor)


@post(
    "/v1/tenants/{tenant:str}/dead/replay",
    status_code=200,
    tags=["dead letters"],
    operation_class=takes(DeadSelection, required=False),
    responses=problems(403, 404, 422, 429, 503),
)
async def replay_dead(
    services: Injected, record: Recorded, tenant: FromPath[str], body: RawBody
) -> DeadReport:
    """Retry dead letters: those named, or the oldest 1,000."""
    wanted = bodies.fit_optional(body, DeadSelection)
    known_as = services.platform.resolve(tenant)
    async with record.of(known_as, "dead.replay", _subject(wanted)):
        return await services.dead.replay(known_as, wanted.runs)


@post(
    "/v1/tenants/{tenant:str}/dead/discard",
    status_code=200,
    tags=["dead letters"],
    operation_class=takes(DeadSelection, required=False),
    responses=problems(403, 404, 422, 503),
)
async def discard_dead(
    services: Injected, record: Recorded, tenant: FromPath[str], body: RawBody
) -> DeadReport:
    """Give dead letters up, those named or the oldest 1,000: they are not listed any more."""
    wanted = bodies.fit_optional(body, DeadSelection)
    known_as = services.platform.resolve(tenant)
    async with record.of(known_as, "dead.discard", _subject(wanted)):
        return await services.dead.discard(known_as, wanted.runs)


def _subject(wanted: DeadSelection) -> str:
    """Return which dead letters are meant, cut when there are many."""
    if wanted.runs is None:
        return "the oldest"
    named = " ".join(map(str, wanted.runs[:SHOWN]))
    return f"{named} and {len(wanted.runs) - SHOWN} more" if len(wanted.runs) > SHOWN else named


ROUTES = (list_dead, replay_dead, discard_dead)
