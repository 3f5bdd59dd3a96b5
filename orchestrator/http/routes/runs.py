"""Runs of a tenant."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import anyio
import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, HeaderParameter, QueryParameter, RawBody

from orchestrator.http import body as bodies
from orchestrator.http.injected import Injected
from orchestrator.http.moments import in_utc
from orchestrator.http.openapi import problems, takes_runs
from orchestrator.http.services import Platform
from orchestrator.http.wire import StartedRuns
from orchestrator.model.api import (
    NAME_CHARACTERS,
    RunPage,
    RunView,
    Started,
    StartRun,
    StartRuns,
)
from orchestrator.model.errors import InvalidRequest, TenantArchived
from orchestrator.model.fit import fit
from orchestrator.model.ids import TenantId
from orchestrator.model.states import RunState
from orchestrator.model.text import LINE
from orchestrator.store.tenant.runs import RunFilter

LONGEST_WAIT = 60.0
FIRST_LOOK, SLOWEST_LOOK = 0.02, 0.5
"""Seconds between two looks at a run that someone waits for: soon at first, then ever slower."""

Key = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description="the run's key; the same key gives the same run again",
        required=False,
    ),
]
States = Annotated[
    list[RunState] | None,
    QueryParameter(
        name="state", description="only in that state; may be given again", required=False
    ),
]
"""Named otherwise in the route: `state` is a word of Litestar's."""

OfWorkflow = Annotated[
    str | None,
    QueryParameter(
        pattern=LINE, max_length=NAME_CHARACTERS, description="only of that one", required=False
    ),
]
Page = Annotated[int, QueryParameter(ge=1, le=1000, description="runs on a page")]
Cursor = Annotated[
    UUID | None, QueryParameter(description="the `cursor` of the page before", required=False)
]
Since = Annotated[
    datetime | None, QueryParameter(description="runs created since, with offset", required=False)
]
Wait = Annotated[
    float, QueryParameter(ge=0, le=LONGEST_WAIT, description="seconds to wait for the end")
]


@post(
    "/v1/tenants/{tenant:str}/runs",
    tags=["runs"],
    operation_class=takes_runs(),
    responses=problems(403, 404, 422, 429, 503),
)
async def start_runs(
    services: Injected, tenant: FromPath[str], body: RawBody, idempotency_key: Key = None
) -> Response[Started | StartedRuns]:
    """Start one run, or `{"runs": […]}`: all or none. 201, or 200 when every key was known."""
    content = bodies.read(body)
    several = isinstance(content, dict) and "runs" in content
    runs = _several(content, idempotency_key) if several else [_one(content, idempotency_key)]
    try:
        known_as = services.platform.resolve(tenant)
    except TenantArchived as error:
        services.use(TenantId(error.tenant))
        raise
    started = await services.platform.start_runs(known_as, runs)
    status = 200 if all(each.known for each in started) else 201
    if several:
        return Response(StartedRuns(runs=started), status_code=status)
    where = f"/v1/tenants/{known_as}/runs/{started[0].id}"
    return Response(started[0], status_code=status, headers={"Location": where})


@get("/v1/tenants/{tenant:str}/runs", tags=["runs"], responses=problems(404, 422, 503))
async def list_runs(  # noqa: PLR0913 - one parameter for each of the query's
    services: Injected,
    tenant: FromPath[str],
    in_states: States = None,
    workflow: OfWorkflow = None,
    since: Since = None,
    limit: Page = 50,
    cursor: Cursor = None,
) -> RunPage:
    """List runs, newest first."""
    states = tuple(in_states) if in_states else None
    wanted = RunFilter(
        states=states, workflow=workflow, since=in_utc("since", since), limit=limit, cursor=cursor
    )
    return await services.platform.read_runs(services.platform.resolve(tenant), wanted)


@get("/v1/tenants/{tenant:str}/runs/{run:str}", tags=["runs"], responses=problems(404, 422, 503))
async def show_run(
    request: Request[Any, Any, Any],
    services: Injected,
    tenant: FromPath[str],
    run: FromPath[str],
    wait: Wait = 0,
) -> RunView:
    """Show everything about one run; with `wait` not before it has finished or the time is over."""
    known_as = services.platform.resolve(tenant)
    view = await services.platform.read_run(known_as, run_id(run))
    if wait and not view.state.finished:
        closing: anyio.Event = request.app.state.closing
        view = await _finished(services.platform, known_as, view, wait=wait, closing=closing)
    return view


async def _finished(
    platform: Platform, tenant: TenantId, view: RunView, *, wait: float, closing: anyio.Event
) -> RunView:
    end = anyio.current_time() + wait
    pause = FIRST_LOOK
    # A daemon that closes answers with what there is, and the client asks its successor.
    while not (view.state.finished or closing.is_set()) and anyio.current_time() < end:
        # Only the pause is cut short, never a look: that one is a query of the tenant's.
        with anyio.move_on_after(min(pause, end - anyio.current_time())):
            await closing.wait()
        view = await platform.read_run(tenant, view.id)
        pause = min(pause * 1.5, SLOWEST_LOOK)
    return view


def _one(content: Any, key: str | None) -> StartRun:
    run = fit(content, StartRun)
    if key is None or key == run.key:
        return run
    if run.key is not None:
        raise InvalidRequest("`$.key`: it differs from the Idempotency-Key header")
    return msgspec.structs.replace(run, key=key)


def _several(content: Any, key: str | None) -> list[StartRun]:
    if key is not None:
        raise InvalidRequest(
            "the Idempotency-Key header is for one run", hint="give each run its own `key`"
        )
    return fit(content, StartRuns).runs


def run_id(text: str) -> UUID:
    """Return the run that a path names; InvalidRequest when it can not be one."""
    try:
        return UUID(text)
    except ValueError:
        raise InvalidRequest(f"{text!r} is not a run id", hint="a run id is a UUID") from None


ROUTES = (start_runs, list_runs, show_run)
