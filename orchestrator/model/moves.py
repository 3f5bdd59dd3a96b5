"""Moving a tenant to another database, as it goes over the wire."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from orchestrator.model.api import Wire
from orchestrator.model.text import LINE


class MoveTenant(Wire, frozen=True, kw_only=True):
    """Body of `POST /v1/tenants/{id}/move`: exactly one of `to`, `confirm` and `back`.

    Unfinished runs keep a tenant, after `wait` seconds in which they may end; unless `force`, with
    which they go on at the target. To go `back` with force gives up what was done since.
    """

    to: Annotated[str, Meta(min_length=1, max_length=200, pattern=LINE)] | None = None
    confirm: bool = False
    back: bool = False
    force: bool = False
    wait: Annotated[float, Meta(ge=0, le=86_400)] = 0.0

    def __post_init__(self) -> None:
        """Raise ValueError unless exactly one thing is wanted."""
        if [self.to is not None, self.confirm, self.back].count(True) != 1:
            raise ValueError("has exactly one of to, confirm and back")


class MovedTenant(Wire, frozen=True, kw_only=True):
    """Where a tenant is now; `kept_on` is the shard that keeps a copy of before, if one does.

    `tables` and `rows` were compared on both sides; there are none when nothing was copied.
    """

    tenant: str
    shard: str
    kept_on: str | None = None
    tables: int = 0
    rows: int = 0
