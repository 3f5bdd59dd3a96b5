"""Errors at the HTTP edge: each becomes a problem body with the status of its class."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.exceptions import ValidationException as ParameterError
from litestar.params import ParameterKwarg

from orchestrator.http.status import status_of
from orchestrator.model import errors
from orchestrator.model.api import MAX_BODY, Problem
from orchestrator.model.errors import InsulaError, InvalidRequest

log = structlog.get_logger(__name__)

PROBLEM = "application/problem+json"

GONE = "client disconnected prematurely"
"""What the framework says of a caller that goes away in the middle of a body: it calls it ours."""

QUOTA_PAUSE = 60.0
"""Seconds to wait at a quota that does not know when it frees (a queue length, a payload size)."""


def problem_of(request: Request[Any, Any, Any], error: Exception) -> Problem:
    """Return what the caller is told of an error; what nobody expected is for the log."""
    status = status_of(error) if isinstance(error, InsulaError) else _UNEXPECTED.status
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("http.failed", method=request.method, path=request.url.path, exc_info=error)
    if not isinstance(error, InsulaError):
        return _UNEXPECTED
    return Problem(
        title=_title(status),
        status=status,
        code=error.code,
        detail=str(error),
        hint=error.hint,
        data=error.data,
    )


def on_insula_error(request: Request[Any, Any, Any], error: InsulaError) -> Response[bytes]:
    """Answer an error of ours."""
    problem = problem_of(request, error)
    headers = _retry_after(error, problem.status) | _challenge(problem.status)
    return _answer(problem, headers=headers)


def on_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Answer what the framework refused: no such route, a wrong method, a body too long."""
    if isinstance(error, ParameterError):
        return on_insula_error(request, _parameter_error(request, error))
    status = error.status_code
    if error.detail == GONE:
        log.info("http.caller_gone", method=request.method, path=request.url.path)
        return _answer(problem_of(request, InvalidRequest("the body did not come to its end")))
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return on_any_error(request, error)
    detail, hint = error.detail, ""
    if status in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}:
        detail = f"there is no {request.method} {request.url.path}"
        hint = "the routes are listed at /schema/openapi.json"
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        detail = f"the body is larger than {MAX_BODY // 2**20} MiB"
        hint = "keep large data elsewhere, and give the run a reference to it"
    problem = Problem(
        title=_title(status), status=status, code=InvalidRequest.code, detail=detail, hint=hint
    )
    return _answer(problem, headers=dict(error.headers or {}))


def on_any_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer an error nobody expected: the log has it all, the caller only that it is there."""
    return _answer(problem_of(request, error))


def _parameter_error(request: Request[Any, Any, Any], error: ParameterError) -> InvalidRequest:
    # A parameter may be called otherwise in our code than in the request.
    fields = request.route_handler.parsed_fn_signature.parameters.values()
    sent_as = {
        field.name: field.kwarg_definition.name
        for field in fields
        if isinstance(field.kwarg_definition, ParameterKwarg) and field.kwarg_definition.name
    }
    extra = error.extra if isinstance(error.extra, list) else []
    problems = [
        f"`{sent_as.get(each.get('key'), each.get('key', '?'))}`: {each.get('message', '')}"
        for each in extra
    ]
    return InvalidRequest("; ".join(problems) or error.detail, data={"problems": problems})


def _retry_after(error: InsulaError, status: int) -> dict[str, str]:
    if status not in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        return {}
    otherwise = QUOTA_PAUSE if isinstance(error, errors.QuotaExceeded) else 1.0
    seconds = float(error.data.get("retry_after") or otherwise)
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


def _challenge(status: int) -> dict[str, str]:
    return (
        {"WWW-Authenticate": 'Bearer realm="insula"'} if status == HTTPStatus.UNAUTHORIZED else {}
    )


def _title(status: int) -> str:
    return HTTPStatus(status).phrase


_UNEXPECTED = Problem(
    title=_title(HTTPStatus.INTERNAL_SERVER_ERROR),
    status=HTTPStatus.INTERNAL_SERVER_ERROR,
    code=InsulaError.code,
    detail="the daemon met an error that it did not expect",
    hint="the daemon's log has the details",
)


def _answer(problem: Problem, *, headers: dict[str, str] | None = None) -> Response[bytes]:
    # `data` may hold whatever an error was given; what JSON has no word for becomes its text.
    return Response(
        msgspec.json.encode(problem, enc_hook=str),
        status_code=problem.status,
        headers=headers or {},
        media_type=PROBLEM,
    )
