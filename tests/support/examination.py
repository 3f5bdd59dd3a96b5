"""What the doctor finds of an installation of a test's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import structs

from orchestrator.lifecycle.doctor.examine import Examination, examine
from orchestrator.model.findings import Finding
from orchestrator.model.progress import unheard
from orchestrator.store.connect import Connection
from orchestrator.store.shards import Shards
from tests.support.database import Database


async def findings(
    database: Database,
    *,
    login: Connection | None = None,
    shards: Shards | None = None,
    **known: Any,
) -> list[Finding]:
    """Examine it under a login, the admin's if none is given; `known` is what to examine it as."""
    usual = Examination(
        role_prefix=database.role_prefix,
        app_migrations=(),
        max_awake=10,
        state_dir=Path("/nowhere"),
        database="",
        door=database.target,
    )
    examination = structs.replace(usual, **known)
    connection = login or await database.connect()
    return (await examine(connection, examination, unheard, shards=shards)).findings
