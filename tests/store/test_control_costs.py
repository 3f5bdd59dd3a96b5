"""However many tenants are declared and asleep, nobody reads through them to serve the few."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from orchestrator.model.ids import TenantId
from orchestrator.quota.alerts import WINDOWS
from orchestrator.store.control import (
    configuration,
    figures,
    leases,
    pauses,
    schedules,
    tenants,
    transitions,
    wake,
)
from tests.store.tenant.costs import cost
from tests.support.database import Database

DECLARED = 20_000
AWAKE = 3
NODE = UUID(int=1)
ONE = TenantId("t_777")
MANY = f"""
    INSERT INTO insula.tenant (id, source, declaration, schema_name)
    SELECT 't_' || n, 'file', '{{}}', 'tenant_t_' || n FROM generate_series(1, {DECLARED}) AS n;
    INSERT INTO insula.node (id, name, expires_at)
    VALUES ('{NODE}', 'a', now() + interval '1 hour');
    INSERT INTO insula.lease (tenant, node, epoch)
    SELECT 't_' || n, CASE WHEN n <= {AWAKE} THEN '{NODE}'::uuid END, 1
    FROM generate_series(1, {DECLARED}) AS n;
    INSERT INTO insula.wake (tenant, due_at, reason)
    SELECT 't_' || n, now() + interval '1 day', 'timer' FROM generate_series(1, {DECLARED}) AS n;
    INSERT INTO insula.transition (registration, at, node, state, reason)
    SELECT t.registration, now(), 'a', 'dormant', 'idle'
    FROM generate_series(1, {DECLARED}) AS n JOIN insula.tenant AS t ON t.id = 't_' || n % 100;
    INSERT INTO insula.figures (tenant, read_at) SELECT id, now() FROM insula.tenant;
    ANALYZE insula.tenant, insula.lease, insula.wake, insula.transition, insula.figures
"""

NODES: dict[str, tuple[str, tuple[Any, ...], int]] = {
    "due": (wake.DUE, (100, [], NODE, True, wake.OVERDUE), 0),
    "consume": (wake.CONSUME, ([ONE], NODE), 4),
    "orphans": (leases.ORPHANS, (NODE, True, ["t_1", "t_2", "t_3"]), AWAKE),
    "claim": (leases.CLAIM, (ONE, NODE, True), 10),
    "release": (leases.RELEASE, ("t_1", NODE, 1, None, "[]"), 3),
    "fetch": (tenants.FETCH, (ONE,), 1),
    "changed": (tenants.FETCH_CHANGED, ("9223372036854775807",), 0),
    "paused": (pauses.ALL_PAUSED, (), 0),
    "touch": (configuration.TOUCH, ([ONE], ["a hash"]), 3),
    "remind": (schedules.REMIND, ([ONE], ["2099-01-01"]), 2),
    "figures": (figures.TAKE, ("1 minute",), 0),
    "written": (transitions.WRITTEN, (ONE, 20, [*WINDOWS], [*WINDOWS.values()]), 24),
}
"""What a node asks while it serves, and how many rows each may read."""


async def test_what_a_node_asks_does_not_depend_on_how_many_tenants_sleep(
    database: Database,
) -> None:
    admin = await database.connect()
    await admin.execute(MANY)

    for name, (query, args, rows) in NODES.items():
        spent = await cost(admin, query, *args)
        assert spent.rows <= rows, (name, spent)
        assert spent.pages <= rows + 40, (name, spent)
