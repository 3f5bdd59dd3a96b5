"""What can be done to a run: cancelled, paused, retried, repeated, and sent a signal."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Response, post
from litestar.params import FromPath, HeaderParameter, PathParameter, RawBody

from orchestrator.engine.control import Verb
from orchestrator.http import body as bodies
from orchestrator.http.audit import Recorded
from orchestrator.http.injected import Injected
from orchestrator.http.openapi import problems, takes, takes_json
from orchestrator.http.routes.runs import run_id
from orchestrator.http.wire import Accepted
from orchestrator.model.api import NAME_CHARACTERS, ChangedRun, ChangeRun, RepeatRun, Started
from orchestrator.model.text import LINE

SignalKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description="the signal's key; the same key is the same signal, delivered once",
        required=False,
        min_length=1,
        max_length=NAME_CHARACTERS,
    ),
]
SignalName = Annotated[str, PathParameter(min_length=1, max_length=NAME_CHARACTERS, pattern=LINE)]


@post(
    "/v1/tenants/{tenant:str}/runs/{run:str}/{verb:str}",
    status_code=200,
    tags=["runs"],
    operation_class=takes(ChangeRun, required=False),
    responses=problems(403, 404, 409, 422, 429, 503),
)
async def change_run(
    services: Injected,
    record: Recorded,
    tenant: FromPath[str],
    run: FromPath[str],
    verb: FromPath[Verb],
    body: RawBody,
) -> ChangedRun:
    """Cancel, pause, resume or retry a run. It is durable when this answers."""
    change = bodies.fit_optional(body, ChangeRun)
    known_as, id = services.platform.resolve(tenant), run_id(run)
    async with record.of(known_as, f"run.{verb}", id):
        state = await services.platform.change_run(known_as, id, verb, reason=change.reason)
    return ChangedRun(id=id, state=state)


@post(
    "/v1/tenants/{tenant:str}/runs/{run:str}/repeat",
    tags=["runs"],
    operation_class=takes(RepeatRun, required=False),
    responses=problems(403, 404, 409, 422, 429, 503),
)
async def repeat_run(
    services: Injected,
    record: Recorded,
    tenant: FromPath[str],
    run: FromPath[str],
    body: RawBody,
) -> Response[Started]:
    """Start a new run with the input of this one: as a whole, or from a task on."""
    wanted = bodies.fit_optional(body, RepeatRun)
    known_as, id = services.platform.resolve(tenant), run_id(run)
    async with record.of(known_as, "run.repeat", id):
        started = await services.platform.repeat_run(known_as, id, wanted.task)
    where = f"/v1/tenants/{known_as}/runs/{started.id}"
    return Response(started, headers={"Location": where})


@post(
    "/v1/tenants/{tenant:str}/runs/{run:str}/signals/{name:str}",
    status_code=202,
    tags=["runs"],
    operation_class=takes_json(),
    responses=problems(403, 404, 409, 422, 429, 503),
)
async def send_signal(
    services: Injected,
    tenant: FromPath[str],
    run: FromPath[str],
    name: SignalName,
    body: RawBody,
    idempotency_key: SignalKey = None,
) -> Accepted:
    """Send a run a signal, with any JSON as its payload. It is durable when this answers."""
    payload: Any = bodies.read(body) if body.strip() else None
    known_as, id = services.platform.resolve(tenant), run_id(run)
    await services.platform.send_signal(known_as, id, name, payload, key=idempotency_key)
    return Accepted(see=f"/v1/tenants/{known_as}/runs/{id}")


ROUTES = (change_run, repeat_run, send_signal)
