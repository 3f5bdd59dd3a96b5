"""Brings what a tenant has used into the control schema, before its own schema goes or moves."""

from __future__ import annotations

from orchestrator.store.connect import Connection
from orchestrator.store.control import usage as told
from orchestrator.store.control.tenants import TenantRow
from orchestrator.store.tenant import usage


async def settle_usage(
    connection: Connection, control: Connection, row: TenantRow, schema: str
) -> None:
    """Tell all that the schema counts, while nobody can write there; done twice it is done once.

    `connection` leads to the schema of the tenant of `row`, `control` to the registry.
    """
    await told.tell(control, row.id, row.registration, await usage.read(connection, schema))
