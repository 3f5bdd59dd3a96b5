"""What is done to many tenants, or to a schema, over the client."""

from __future__ import annotations

from orchestrator.client.client import Client
from orchestrator.model.migration import MigrateTenants
from orchestrator.model.progress import Progress
from tests.http.serving import Served


async def test_tenants_are_migrated_with_word_of_how_many_are_done(served: Served) -> None:
    told: list[Progress] = []

    async with Client(served.unix) as client:
        wanted = MigrateTenants(tenants=["acme_corp", "broken"])
        report = await client.migrate(wanted, told.append)
        adopted = await client.tenant("acme_corp").lifecycle.adopt("legacy", at=3, dry_run=True)

    assert [each.tenant for each in report.migrated] == ["acme_corp"]
    assert [each.tenant for each in report.failed] == ["broken"]
    assert {each.total for each in told} == {2}
    assert (adopted.at, adopted.dry_run) == (3, True)
