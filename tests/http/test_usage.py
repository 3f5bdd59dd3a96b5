"""Usage over the API, and through both clients."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

from orchestrator.client.client import Client
from orchestrator.client.sync import SyncClient
from tests.http.parts.usage import COUNTED, FIRST
from tests.http.serving import Served

RANGE = {"from": FIRST.isoformat(), "to": (FIRST + timedelta(days=3)).isoformat()}


@pytest.mark.requirement("T9.export")
def test_what_a_tenant_used_is_answered_and_not_of_one_that_never_was(api: httpx.Client) -> None:
    shown = api.get("/v1/tenants/acme_corp/usage", params=RANGE | {"by": "hour"}).json()

    assert (shown["exact"], shown["rows"][0]["task_ms"]) == (True, 1200)
    assert shown["alerts"][0]["quota"] == "max_runs_per_day"
    assert api.get("/v1/tenants/nobody/usage").status_code == 404


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"from": "2026-01-31T00:00:00"}, "needs its offset"),
        ({"from": RANGE["to"], "to": RANGE["from"]}, "before"),
        ({"from": "0001-01-01T00:00:00+23:00"}, "no time of UTC"),
        ({"to": "9999-12-31T23:59:59-23:00"}, "no time of UTC"),
        ({"by": "week"}, "week"),
        ({"limit": "0"}, "limit"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused(
    api: httpx.Client, query: dict[str, str], sentence: str
) -> None:
    answer = api.get("/v1/usage", params=query)

    assert answer.status_code == 422
    assert sentence in answer.text


def test_the_first_month_of_all_has_no_month_before_it(api: httpx.Client) -> None:
    assert api.get("/v1/usage", params={"to": "0001-01-02T00:00:00Z"}).json()["rows"] == []


async def test_both_clients_follow_the_pages(served: Served) -> None:
    span = {"since": FIRST, "until": FIRST + timedelta(days=3)}
    async with Client(served.unix) as client:
        rows = [row async for row in client.usage.all(**span)]  # type: ignore[arg-type]
        one = await client.usage.tenant("acme_corp", **span)  # type: ignore[arg-type]

    assert [row.starts_at for row in rows] == [FIRST, FIRST + timedelta(days=1)]
    assert one.rows == [COUNTED]


def test_the_sync_client_follows_them_too(served: Served) -> None:
    with SyncClient(served.unix) as client:
        rows = list(client.usage.all(since=FIRST, until=FIRST + timedelta(days=3)))
        assert len(rows) == 2
        assert client.usage.tenant("acme_corp", since=FIRST).rows == [COUNTED]
