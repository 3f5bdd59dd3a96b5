"""All tenants in figures, through the async client; the command line uses its twin."""

from __future__ import annotations

from orchestrator import Client
from tests.http.platform import HandMadePlatform
from tests.http.serving import Served
from tests.support.figures import kept_figures


async def test_all_tenants_are_asked_for_in_figures(
    platform: HandMadePlatform, served: Served
) -> None:
    platform.add("globex")
    platform.statistics.kept.append(kept_figures("globex", runs=7))

    async with Client(served.unix) as client:
        found = await client.stats(sort="runs", limit=1)

    assert [(each.tenant, each.runs) for each in found.tenants] == [("globex", 7)]
    assert found.totals.tenants == 2
