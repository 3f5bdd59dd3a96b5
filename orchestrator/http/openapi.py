"""How routes describe themselves in OpenAPI: their bodies, and the errors they may answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema

from orchestrator.http.errors import PROBLEM
from orchestrator.model.adoption import AdoptSchema
from orchestrator.model.api import (
    ChangeRun,
    CreateTenant,
    DeadSelection,
    DisableTenant,
    Problem,
    RenameTenant,
    RepeatRun,
    SetPause,
    StartRun,
    StartRuns,
    UpdateTenant,
)
from orchestrator.model.migration import MigrateTenants
from orchestrator.model.moves import MoveTenant
from orchestrator.model.secrets import PutSecret
from orchestrator.model.tokens import CreateAdminToken, CreateToken

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


def _schema(shape: type[msgspec.Struct]) -> dict[str, Any]:
    _, components = msgspec.json.schema_components([shape])
    schema: dict[str, Any] = components[shape.__name__]
    return schema


def _body(schema: dict[str, Any], *, required: bool = True) -> RequestBody:
    # The routes read their bodies themselves (`http.body`), so the schema is told here; Litestar
    # renders a plain mapping as it is.
    media = OpenAPIMediaType(schema=cast("Schema", schema))
    return RequestBody(content={"application/json": media}, required=required)


def _start_body() -> RequestBody:
    one, several = _schema(StartRun), _schema(StartRuns)
    several["properties"]["runs"]["items"] = one
    return _body({"oneOf": [one, several]})


@dataclass
class StartOperation(Operation):
    """`POST …/runs`: one run, or several."""

    def __post_init__(self) -> None:
        self.request_body = _start_body()


@dataclass
class CreateOperation(Operation):
    """`POST /v1/tenants`."""

    def __post_init__(self) -> None:
        self.request_body = _body(_schema(CreateTenant))


@dataclass
class UpdateOperation(Operation):
    """`PATCH /v1/tenants/{id}`."""

    def __post_init__(self) -> None:
        self.request_body = _body(_schema(UpdateTenant))


@dataclass
class DisableOperation(Operation):
    """`POST /v1/tenants/{id}/disable`."""

    def __post_init__(self) -> None:
        self.request_body = _body(_schema(DisableTenant), required=False)


@dataclass
class SecretOperation(Operation):
    """`PUT /v1/tenants/{id}/secrets/{name}`."""

    def __post_init__(self) -> None:
        self.request_body = _body(_schema(PutSecret))


@dataclass
class AdminTokenOperation(Operation):
    """`POST /v1/tokens`."""

    def __post_init__(self) -> None:
        self.request_body = _body(_schema(CreateAdminToken), required=False)


@dataclass
class TokenOperation(Operation):
    """`POST /v1/tenants/{id}/tokens`."""

    def __post_init__(self) -> None:
        self.request_body = _body(_schema(CreateToken), required=False)


@dataclass
class RenameOperation(Operation):
    """`POST /v1/tenants/{id}/rename`."""

    def __post_init__(self) -> None:
        self.request_body = _body(_schema(RenameTenant))


@dataclass
class MoveOperation(Operation):
    """`POST /v1/tenants/{id}/move`."""

    def __post_init__(self) -> None:
        self.request_body = _body(_schema(MoveTenant))


@dataclass
class PauseOperation(Operation):
    """`POST /v1/tenants/{id}/pause` and `…/resume`."""

    def __post_init__(self) -> None:
        self.request_body = _body(_schema(SetPause), required=False)


@dataclass
class ChangeOperation(Operation):
    """`POST …/runs/{run}/{verb}`."""

    def __post_init__(self) -> None:
        self.request_body = _body(_schema(ChangeRun), required=False)


@dataclass
class RepeatOperation(Operation):
    """`POST …/runs/{run}/repeat`."""

    def __post_init__(self) -> None:
        self.request_body = _body(_schema(RepeatRun), required=False)


@dataclass
class SignalOperation(Operation):
    """`POST …/runs/{run}/signals/{name}`: any JSON."""

    def __post_init__(self) -> None:
        self.request_body = _body({}, required=False)


@dataclass
class DeadOperation(Operation):
    """`POST …/dead/replay` and `…/dead/discard`."""

    def __post_init__(self) -> None:
        self.request_body = _body(_schema(DeadSelection), required=False)


@dataclass
class AdoptOperation(Operation):
    """`POST /v1/tenants/{id}/adopt`."""

    def __post_init__(self) -> None:
        self.request_body = _body(_schema(AdoptSchema))


@dataclass
class MigrateOperation(Operation):
    """`POST /v1/migrate`."""

    def __post_init__(self) -> None:
        self.request_body = _body(_schema(MigrateTenants), required=False)
