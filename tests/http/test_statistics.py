"""A tenant in figures, over the API."""

from __future__ import annotations

import httpx

from tests.http.platform import HandMadePlatform
from tests.support.figures import kept_figures


def test_figures_are_answered_and_rows_only_when_they_are_counted(api: httpx.Client) -> None:
    shown = api.get("/v1/tenants/acme-corp/stats").json()
    counted = api.get("/v1/tenants/acme-corp/stats", params={"exact": "true"}).json()

    assert (shown["tenant"], shown["hour"]["p95"], shown["day"]["p50"]) == ("acme_corp", 75.0, None)
    assert (shown["tables"][0]["rows"], counted["tables"][0]["rows"]) == (None, 42)
    assert api.get("/v1/tenants/nobody/stats").status_code == 404


def test_all_tenants_are_answered_as_they_were_last_read(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    platform.add("globex")
    platform.statistics.kept.append(kept_figures("globex", runs=7))

    found = api.get("/v1/stats", params={"sort": "runs", "limit": "1"}).json()

    assert [(each["tenant"], each["runs"], each["age"]) for each in found["tenants"]] == [
        ("globex", 7, 180.0)
    ]
    assert (found["totals"]["tenants"], found["totals"]["read"]) == (2, 1)


def test_an_order_that_there_is_not_is_refused(api: httpx.Client) -> None:
    refused = api.get("/v1/stats", params={"sort": "beauty"})
    none = api.get("/v1/stats", params={"limit": "0"})

    assert (refused.status_code, none.status_code) == (422, 422)
    assert refused.json()["data"]["problems"] == ["`sort`: Invalid enum value 'beauty'"]
