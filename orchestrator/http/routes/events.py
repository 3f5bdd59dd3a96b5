"""The events of a run: a part of the list, or all of them as they happen."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, HeaderParameter, QueryParameter
from litestar.response import ServerSentEvent

from orchestrator.http.follow import EVENT_STREAM, Follower, as_messages, while_valid
from orchestrator.http.injected import Injected
from orchestrator.http.openapi import problems
from orchestrator.http.peer import holder_of
from orchestrator.http.routes.runs import run_id
from orchestrator.model.api import EventView

JSON = "application/json"

After = Annotated[
    int, QueryParameter(ge=-1, le=2**31 - 2, description="only events with a higher number")
]
LastEventId = Annotated[
    int | None,
    HeaderParameter(
        name="Last-Event-ID",
        description="as `after`, which it goes before; a browser sends it when it connects again",
        required=False,
        ge=-1,
        le=2**31 - 2,
    ),
]


@get(
    "/v1/tenants/{tenant:str}/runs/{run:str}/events",
    tags=["runs"],
    responses={
        200: ResponseSpec(list[EventView], generate_examples=False, description="A part, in order"),
        204: ResponseSpec(None, description="To a follower: the run has finished, that was all"),
        **problems(404, 422, 503),
    },
)
async def list_events(
    request: Request[Any, Any, Any],
    services: Injected,
    tenant: FromPath[str],
    run: FromPath[str],
    after: After = -1,
    last_event_id: LastEventId = None,
) -> Response[Any]:
    """List the next events of a run; with `Accept: text/event-stream` follow them to its end."""
    known_as, id = services.platform.resolve(tenant), run_id(run)
    seen = after if last_event_id is None else last_event_id
    if request.accept.best_match([JSON, EVENT_STREAM]) != EVENT_STREAM:
        return Response(await services.platform.read_events(known_as, id, seen))
    follower = Follower(services.platform, known_as, id, seen, request.app.state)
    if await follower.begin():
        events, holder = follower.events(), holder_of(request)
        if holder is not None:
            events = while_valid(events, services.tokens, holder)
        return ServerSentEvent(as_messages(events))
    return Response(None, status_code=204)


ROUTES = (list_events,)
