"""The node at a glance, and its reload."""

from __future__ import annotations

from typing import Annotated

import structlog
from litestar import Response, get, post
from litestar.background_tasks import BackgroundTask
from litestar.params import QueryParameter

from orchestrator.http.injected import Injected
from orchestrator.http.openapi import problems
from orchestrator.http.services import Services
from orchestrator.http.wire import Accepted
from orchestrator.model.api import ReloadReport, Status

log = structlog.get_logger(__name__)


@get("/v1/status", tags=["node"], responses=problems(503))
async def status(services: Injected) -> Status:
    """Return the node at a glance."""
    return await services.status()


@post("/v1/reload", status_code=200, tags=["node"], responses=problems(403, 422, 503))
async def reload(
    services: Injected,
    wait: Annotated[bool, QueryParameter(description="answer when it is done")] = True,
) -> Response[ReloadReport | Accepted]:
    """Read the configuration again and apply it whole, or not at all."""
    if wait:
        return Response(await services.reload())
    return Response(
        Accepted(see="/v1/status"),
        status_code=202,
        background=BackgroundTask(_reload_unattended, services),
    )


async def _reload_unattended(services: Services) -> None:
    try:
        await services.reload()
    except Exception as error:
        # Nobody waits for the answer, so the log is told.
        log.error("reload.failed", exc_info=error)  # noqa: TRY400 - structlog, the event is the name


ROUTES = (status, reload)
