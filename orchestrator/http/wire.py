"""The structs that only this API has; what clients share with it is in `orchestrator.model.api`."""

from __future__ import annotations

from orchestrator.model.api import Started, Wire


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
