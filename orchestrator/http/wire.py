"""The structs that only this API has; what clients share with it is in `orchestrator.model.api`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from orchestrator.model.api import BATCH, Started, StartRun, Wire


class StartRuns(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /v1/tenants/{id}/runs` with several runs; all are accepted, or none."""

    runs: Annotated[list[StartRun], Meta(min_length=1, max_length=BATCH)]


class StartedRuns(Wire, frozen=True, kw_only=True):
    """The accepted runs, in the order of the request."""

    runs: list[Started]


class Health(Wire, frozen=True, kw_only=True):
    """Answer of the health routes."""

    status: str


class Accepted(Wire, frozen=True, kw_only=True):
    """A request that is carried out after the answer; `see` is the route with its outcome."""

    status: str = "accepted"
    see: str
