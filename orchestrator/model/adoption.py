"""What crosses the API about a schema that becomes a tenant."""

from __future__ import annotations

from typing import Annotated

import msgspec

from orchestrator.model.api import Wire


class AdoptSchema(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /v1/tenants/{id}/adopt`: the schema, and which migrations it has already.

    `at` is the number of the last of them; left out, the schema has to be what they make.
    """

    schema: Annotated[str, msgspec.Meta(min_length=1, max_length=63)]
    at: Annotated[int, msgspec.Meta(ge=0)] | None = None
    dry_run: bool = False


class AdoptionReport(Wire, frozen=True, kw_only=True):
    """What was done, or would be.

    `at` is the last migration that the schema has, and `differences` how it differs from what the
    migrations up to there make. `obstacles` stand in the way, of a dry run alone: otherwise they
    are an error. `notices` are for somebody to know.
    """

    tenant: str
    schema: str
    becomes: str
    dry_run: bool
    at: int = 0
    plan: list[str] = msgspec.field(default_factory=list)
    obstacles: list[str] = msgspec.field(default_factory=list)
    notices: list[str] = msgspec.field(default_factory=list)
    differences: list[str] = msgspec.field(default_factory=list)
