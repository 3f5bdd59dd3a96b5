"""How routes describe themselves in OpenAPI: their bodies, and the errors they may answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema

from orchestrator.http.errors import PROBLEM
from orchestrator.model.api import Problem, StartRun, StartRuns

_MEANING = {
    401: "No valid token; over the control socket none is needed",
    403: "Not allowed, or the tenant is disabled",
    404: "No such tenant, run or workflow",
    409: "The present state forbids it",
    422: "Bad input; `data.problems` has every error with its path",
    429: "A quota or a full mailbox; see Retry-After",
    503: "Not now; see Retry-After",
}


def problems(*statuses: int) -> Mapping[int, ResponseSpec]:
    """Return the error answers of a route, for its `responses`."""
    return {
        status: ResponseSpec(
            Problem, generate_examples=False, description=_MEANING[status], media_type=PROBLEM
        )
        for status in statuses
    }


def takes(shape: type[msgspec.Struct], *, required: bool = True) -> type[Operation]:
    """Return the `operation_class` of a route whose body is a `shape`.

    The routes read their bodies themselves (`http.body`), so that is told here.
    """
    return _operation(_schema(shape), required=required)


def takes_runs() -> type[Operation]:
    """Return that of the route that starts runs: one, or several."""
    one, several = _schema(StartRun), _schema(StartRuns)
    several["properties"]["runs"]["items"] = one
    return _operation({"oneOf": [one, several]})


def takes_json() -> type[Operation]:
    """Return that of a route whose body is any JSON, or none."""
    return _operation({}, required=False)


def _operation(schema: dict[str, Any], *, required: bool = True) -> type[Operation]:
    # Litestar renders a plain mapping as it is.
    media = OpenAPIMediaType(schema=cast("Schema", schema))
    body = RequestBody(content={"application/json": media}, required=required)

    @dataclass
    class WithBody(Operation):
        def __post_init__(self) -> None:
            self.request_body = body

    return WithBody


def _schema(shape: type[msgspec.Struct]) -> dict[str, Any]:
    _, components = msgspec.json.schema_components([shape])
    schema: dict[str, Any] = components[shape.__name__]
    return schema
