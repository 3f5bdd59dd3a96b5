"""What the configuration says of tenants that nobody uses."""

from __future__ import annotations

from typing import Annotated

from orchestrator.settings.duration import Duration
from orchestrator.settings.keys import about
from orchestrator.settings.section import Section


class ArchiveSection(Section, frozen=True, kw_only=True):
    """What becomes of tenants that nobody uses."""

    after: Annotated[
        Duration | None,
        about(
            "a tenant that was not used for so long is archived: written into a file of the state"
            " directory, and dropped",
            "live",
            least="1h",
            most="36500d",
            absent="no tenant is archived by itself",
            example="90d",
        ),
    ] = None
    restore_on_use: Annotated[
        bool, about("true: the next run of an archived tenant brings it back", "live")
    ] = False
