"""What is called the same in two tenants is each tenant's own, down to the login."""

from __future__ import annotations

import pytest

from tests.supervisors.nodes import Node, running_node, snapshot
from tests.support.database import Database

LOGINS = """
    SELECT DISTINCT usename::text FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE $1 ORDER BY 1
"""


async def output(node: Node, tenant: str) -> str:
    """Return what the only run of a tenant came to."""
    await node.until_finished(tenant, 1)
    found: str = await node.sql(f"SELECT output #>> '{{}}' FROM tenant_{tenant}.wf_run")
    return found


@pytest.mark.requirement("T5.login")
async def test_the_same_workflow_and_key_are_each_tenants_own_under_its_own_logins(
    database: Database,
) -> None:
    async with running_node(database, snapshot(["acme", "globex"])) as node:
        await node.sql("CREATE TABLE public.wf_run ()")
        started = [await node.submit(each, "who", key="2013-01") for each in ("acme", "globex")]

        for tenant in ("acme", "globex"):
            logins = database.logins(tenant)
            told = await output(node, tenant)
            assert told == f"{logins.app} {logins.app} {{tenant_{tenant}}}"
            async with node.control.acquire() as admin:
                seen = [row[0] for row in await admin.fetch(LOGINS, f"insula % {tenant}")]
            assert logins.engine in seen
            assert set(seen) <= {logins.engine, logins.app}

    assert len({each.id for each in started}) == 2
