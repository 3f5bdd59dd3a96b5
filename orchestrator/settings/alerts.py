"""When to tell that a tenant has used much of what it may."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from orchestrator.settings.keys import about
from orchestrator.settings.section import Section


class AlertsSection(Section, frozen=True, kw_only=True):
    """Warnings that tenants are near their limits."""

    percent: Annotated[
        Annotated[int, Meta(ge=1, le=100)],
        about(
            "a tenant that has used so much of a limit is told in the log, once in each window",
            "daemon",
        ),
    ] = 80
