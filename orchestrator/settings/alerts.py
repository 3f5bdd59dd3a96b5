"""When to tell that a tenant has used much of what it may."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from orchestrator.settings.keys import about
from orchestrator.settings.section import Section


class AlertsSection(Section, frozen=True, kw_only=True):
    """Warnings that tenants are near their limits."""

    at: Annotated[
        Annotated[float, Meta(gt=0, le=1)],
        about("the part of a limit that is used when it is told, once in each window", "daemon"),
    ] = 0.8
